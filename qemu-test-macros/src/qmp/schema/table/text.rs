//! The table as a file: text with a line for each thing, so that a change to it can be read.
//!
//! ```text
//! qemu-test schema table 1
//! sources 2                         version and targets, a line each
//! 7.2.22 aarch64 alpha ...
//! 10.0.2 aarch64 alpha ...
//! commands 240                      by name: which of the sources have it (bits, hexadecimal), type
//! add-fd 3 0
//! events 60                         the same
//! types 700                         by number; the kinds of value that stand in one place:
//! int null                          any, null, bool, int, number, str
//! =auto,off,on [12                  one of these strings; an array of type 12
//! { driver:8 id?:2 /driver qcow2:9  an object; an optional member; the tag, and a variant for each of its values
//! groups 600                        properties that always come together
//! devices 2000                      by name: the groups that it has
//! ```
//!
//! Names are sorted as if all of them were written with `_`, which is how they are looked up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::folded;
use super::model::{Call, Member, Object, Strings, Table, Type, Version};

const HEAD: &str = "qemu-test schema table 1";
/// The sections in their order.
const SECTIONS: [&str; 6] = ["sources", "commands", "events", "types", "groups", "devices"];

/// The lines of a table, found but not read: a `qmp!` needs few of them.
pub(crate) struct Lines<'a>([Vec<&'a str>; 6]);

impl<'a> Lines<'a> {
    pub(crate) fn find(text: &'a str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(format!("it does not begin with `{HEAD}`"));
        }
        let mut sections: [Vec<&str>; 6] = Default::default();
        for (section, name) in sections.iter_mut().zip(SECTIONS) {
            let head = lines.next().unwrap_or_default().split_once(' ');
            let Some((_, count)) = head.filter(|(found, _)| *found == name) else {
                return Err(format!("it has no `{name}`"));
            };
            let count = count.parse().map_err(|_| format!("`{name} {count}`"))?;
            section.extend(lines.by_ref().take(count));
            if section.len() != count {
                return Err(format!("its `{name}` are cut short"));
            }
        }
        Ok(Self(sections))
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = &'a str> + Clone {
        self.0[0].iter().copied()
    }

    pub(crate) fn commands(&self) -> &[&'a str] {
        &self.0[1]
    }

    pub(crate) fn events(&self) -> &[&'a str] {
        &self.0[2]
    }

    pub(crate) fn types(&self) -> &[&'a str] {
        &self.0[3]
    }

    /// The properties in one of the groups.
    pub(crate) fn group(&self, index: usize) -> impl Iterator<Item = &'a str> {
        self.0[4].get(index).copied().unwrap_or_default().split(' ')
    }

    /// All properties of all devices, each once for each group that has it.
    pub(crate) fn properties(&self) -> impl Iterator<Item = &'a str> {
        self.0[4].iter().flat_map(|line| line.split(' '))
    }

    pub(crate) fn devices(&self) -> &[&'a str] {
        &self.0[5]
    }

    /// Which of the sources have a command or an event, and the type of what it takes.
    pub(crate) fn call(line: &str) -> (u64, usize) {
        let mut words = line.split(' ').skip(1);
        let versions = words.next().and_then(|bits| u64::from_str_radix(bits, 16).ok());
        (versions.unwrap_or(0), number(words.next()))
    }

    /// The numbers after the name on a line.
    pub(crate) fn numbers(line: &str) -> impl Iterator<Item = usize> + '_ {
        line.split(' ').skip(1).map(|word| number(Some(word)))
    }

    /// The lines whose names are written like `name` as identifiers.
    pub(crate) fn named<'s>(lines: &'s [&'a str], name: &str) -> &'s [&'a str] {
        let start = lines.partition_point(|line| folded(first(line)).lt(folded(name)));
        let length = lines[start..]
            .iter()
            .take_while(|line| folded(first(line)).eq(folded(name)))
            .count();
        &lines[start..start + length]
    }
}

/// The name that a line begins with.
pub(crate) fn first(line: &str) -> &str {
    line.split_once(' ').map_or(line, |(name, _)| name)
}

fn number(word: Option<&str>) -> usize {
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Reads the line of a type.
pub(crate) fn read_type(line: &str) -> Type {
    let mut result = Type::default();
    let mut words = line.split(' ');
    while let Some(word) = words.next() {
        match word {
            "any" => result.any = true,
            "null" => result.null = true,
            "bool" => result.bool = true,
            "int" => result.int = true,
            "number" => result.number = true,
            "str" => result.string = Some(Strings::Any),
            "{" => result.object = Some(read_object(words.by_ref())),
            _ => match word.split_at_checked(1) {
                Some(("=", values)) => {
                    let values = values.split(',').map(str::to_owned).collect();
                    result.string = Some(Strings::Of(values));
                }
                Some(("[", element)) => result.array = Some(number(Some(element))),
                _ => {}
            },
        }
    }
    result
}

fn read_object<'a>(words: impl Iterator<Item = &'a str>) -> Object {
    let mut object = Object::default();
    for word in words {
        if let Some(tag) = word.strip_prefix('/') {
            object.tag = Some(tag.to_owned());
        } else if let Some((name, takes)) = word.rsplit_once(':') {
            let takes = number(Some(takes));
            if object.tag.is_some() {
                object.variants.insert(name.to_owned(), takes);
                continue;
            }
            let (name, optional) = match name.strip_suffix('?') {
                Some(name) => (name, true),
                None => (name, false),
            };
            object.members.insert(name.to_owned(), Member { takes, optional });
        }
    }
    object
}

/// Reads all of a table.
pub(crate) fn read(text: &str) -> Result<Table, String> {
    let lines = Lines::find(text)?;
    let mut table = Table::default();
    for line in lines.sources() {
        let targets = line.split(' ').skip(1).map(str::to_owned).collect();
        table.sources.insert(Version::new(first(line)), targets);
    }
    let versions: Vec<_> = table.sources.keys().cloned().collect();
    let call = |line: &&str| {
        let (bits, takes) = Lines::call(line);
        let has = |index: &usize| bits >> index & 1 == 1;
        let versions = (0..versions.len())
            .filter(has)
            .map(|index| versions[index].clone());
        let versions = versions.collect();
        (first(line).to_owned(), Call { versions, takes })
    };
    table.commands = lines.commands().iter().map(call).collect();
    table.events = lines.events().iter().map(call).collect();
    table.types = lines.types().iter().copied().map(read_type).collect();
    for line in lines.devices() {
        let groups = Lines::numbers(line).flat_map(|group| lines.group(group));
        let properties = groups.map(str::to_owned).collect();
        table.devices.insert(first(line).to_owned(), properties);
    }
    Ok(table)
}

/// Writes a table.
pub(crate) fn write(table: &Table) -> String {
    let versions: Vec<_> = table.sources.keys().collect();
    let sources = table.sources.iter().map(|(version, targets)| {
        let targets: Vec<_> = targets.iter().map(String::as_str).collect();
        format!("{} {}", version.as_str(), targets.join(" "))
    });
    let sources = sources.collect();
    let calls = |calls: &BTreeMap<String, Call>| {
        let line = |(name, call): (&String, &Call)| {
            let bits = (0..versions.len()).filter(|index| call.versions.contains(versions[*index]));
            let bits: u64 = bits.map(|index| 1 << index).sum();
            format!("{name} {bits:x} {}", call.takes)
        };
        sorted(calls.iter().map(line).collect())
    };
    let types = table.types.iter().map(type_line).collect();
    let (groups, devices) = groups(table);
    let sections: [Vec<String>; 6] = [
        sources,
        calls(&table.commands),
        calls(&table.events),
        types,
        groups,
        devices,
    ];
    let mut text = format!("{HEAD}\n");
    for (name, lines) in SECTIONS.iter().zip(sections) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} {}", lines.len());
        lines.iter().for_each(|line| {
            let _ = writeln!(text, "{line}");
        });
    }
    text
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    let key = |line: &String| {
        let name = first(line);
        (folded(name).collect::<Vec<_>>(), name.to_owned())
    };
    lines.sort_by_cached_key(key);
    lines
}

fn type_line(shape: &Type) -> String {
    let mut words = Vec::new();
    let kinds = [
        (shape.any, "any"),
        (shape.null, "null"),
        (shape.bool, "bool"),
        (shape.int, "int"),
        (shape.number, "number"),
    ];
    words.extend(
        kinds
            .iter()
            .filter(|(has, _)| *has)
            .map(|(_, word)| String::from(*word)),
    );
    words.extend(shape.string.as_ref().map(|strings| match strings {
        Strings::Any => String::from("str"),
        Strings::Of(values) => {
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            format!("={}", values.join(","))
        }
    }));
    words.extend(shape.array.map(|element| format!("[{element}")));
    if let Some(object) = &shape.object {
        words.push(String::from("{"));
        words.extend(object.members.iter().map(|(name, member)| {
            let optional = if member.optional { "?" } else { "" };
            format!("{name}{optional}:{}", member.takes)
        }));
        words.extend(object.tag.as_ref().map(|tag| format!("/{tag}")));
        words.extend(
            object
                .variants
                .iter()
                .map(|(case, takes)| format!("{case}:{takes}")),
        );
    }
    words.join(" ")
}

/// The groups of properties that belong to the same devices, and each device with its groups: two thousand devices
/// share what all of their bus have.
fn groups(table: &Table) -> (Vec<String>, Vec<String>) {
    let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (device, properties) in &table.devices {
        for property in properties {
            owners.entry(property).or_default().push(device);
        }
    }
    let mut together: BTreeMap<&[&str], BTreeSet<&str>> = BTreeMap::new();
    for (property, devices) in &owners {
        together.entry(devices).or_default().insert(property);
    }
    let mut groups: Vec<_> = together.into_iter().collect();
    // By their properties: these change least from one version to the next.
    groups.sort_by(|(_, a), (_, b)| a.cmp(b));
    let mut devices: BTreeMap<&str, String> = table
        .devices
        .keys()
        .map(|name| (name.as_str(), name.clone()))
        .collect();
    let mut lines = Vec::new();
    for (index, (owners, properties)) in groups.into_iter().enumerate() {
        lines.push(properties.into_iter().collect::<Vec<_>>().join(" "));
        for owner in owners {
            if let Some(line) = devices.get_mut(owner) {
                let _ = write!(line, " {index}");
            }
        }
    }
    (lines, sorted(devices.into_values().collect()))
}
