//! QEMU's schema, as `qmp!` looks names up in it.
//!
//! [`table`] is what it is made of, [`own`] adds the user's QEMU to it. What a name means in its place is not decided
//! here, but in `resolve`.

#[cfg(test)]
pub(super) mod live;
mod own;
pub(super) mod table;

use std::ffi::OsString;
use std::sync::OnceLock;

use self::own::Own;
use self::table::model::{Type, TypeId};
use self::table::text::{self, Lines};

/// Made by `cargo xtask schema`.
const TABLE: &str = include_str!("table.txt");

/// A table in use. Of its lines, those that are needed are read, once.
pub(super) struct Schema {
    lines: Lines<'static>,
    types: Vec<OnceLock<Type>>,
    pub(super) own: Own,
}

/// A command or an event of the schema.
pub(super) struct Entry<'s> {
    /// Its spelling on the wire.
    pub(super) name: &'s str,
    /// The type of its arguments or of its data: an object.
    pub(super) takes: TypeId,
    versions: u64,
}

impl Schema {
    /// The table that this build uses.
    pub(super) fn current() -> &'static Schema {
        static CURRENT: OnceLock<Schema> = OnceLock::new();
        CURRENT.get_or_init(|| Self::with(std::env::var_os(own::VARIABLE)))
    }

    /// The table that a value of `QEMU_TEST_SCHEMA` makes.
    pub(super) fn with(variable: Option<OsString>) -> Schema {
        let (text, own) = own::extend(TABLE, variable);
        let lines = Lines::find(text).expect("a table that this crate or `cargo xtask schema` has written");
        let types = lines.types().iter().map(|_| OnceLock::new()).collect();
        Self { lines, types, own }
    }

    /// The commands that are written like `name` as identifiers: mostly one.
    pub(super) fn commands(&self, name: &str) -> Vec<Entry<'_>> {
        entries(self.lines.commands(), name)
    }

    pub(super) fn events(&self, name: &str) -> Vec<Entry<'_>> {
        entries(self.lines.events(), name)
    }

    pub(super) fn command_names(&self) -> impl Iterator<Item = &str> {
        self.lines.commands().iter().copied().map(text::first)
    }

    pub(super) fn event_names(&self) -> impl Iterator<Item = &str> {
        self.lines.events().iter().copied().map(text::first)
    }

    pub(super) fn get(&self, id: TypeId) -> &Type {
        self.types[id].get_or_init(|| text::read_type(self.lines.types()[id]))
    }

    /// The properties of a device; `None` for one that the table does not know.
    pub(super) fn device(&self, driver: &str) -> Option<Vec<&str>> {
        let mut lines = Lines::named(self.lines.devices(), driver).iter();
        let line = lines.find(|line| text::first(line) == driver)?;
        let groups = Lines::numbers(line).flat_map(|group| self.lines.group(group));
        Some(groups.collect())
    }

    /// The properties of all devices, some more than once.
    pub(super) fn properties(&self) -> impl Iterator<Item = &str> {
        self.lines.properties()
    }

    /// All versions of the table: `7.2.22 and 10.0.2`.
    pub(super) fn versions(&self) -> String {
        list(self.lines.sources().map(text::first))
    }

    /// The versions that have a command: `10.0.2, not 7.2.22`.
    pub(super) fn known_in(&self, entry: &Entry<'_>) -> String {
        let versions = |has| {
            let sources = self.lines.sources().map(text::first).enumerate();
            list(sources.filter_map(move |(index, version)| {
                ((entry.versions >> index & 1 == 1) == has).then_some(version)
            }))
        };
        let (with, without) = (versions(true), versions(false));
        if without.is_empty() {
            return with;
        }
        format!("{with}, not {without}")
    }
}

fn entries<'s>(lines: &'s [&'static str], name: &str) -> Vec<Entry<'s>> {
    let entry = |line: &&'s str| {
        let (versions, takes) = Lines::call(line);
        Entry {
            name: text::first(line),
            takes,
            versions,
        }
    };
    Lines::named(lines, name).iter().map(entry).collect()
}

/// `a`, `a and b`, `a, b and c`.
fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let mut items: Vec<&str> = items.collect();
    match items.pop() {
        Some(last) if !items.is_empty() => format!("{} and {last}", items.join(", ")),
        last => last.unwrap_or_default().to_owned(),
    }
}
