//! What the table says: which commands, events and devices there are, and what each takes.

use std::collections::{BTreeMap, BTreeSet};

/// The place of a type in [`Table::types`].
pub(crate) type TypeId = usize;

/// Everything that is known of one QEMU, or of several together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// The versions, each with the targets that were asked.
    pub(crate) sources: BTreeMap<Version, BTreeSet<String>>,
    pub(crate) commands: BTreeMap<String, Call>,
    pub(crate) events: BTreeMap<String, Call>,
    pub(crate) types: Vec<Type>,
    /// The properties of each device, or of each alias of one.
    pub(crate) devices: BTreeMap<String, BTreeSet<String>>,
}

/// A version of QEMU: `10.0.2`. They sort by their numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(Vec<u32>, String);

impl Version {
    pub(crate) fn new(text: &str) -> Self {
        let numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
        Self(numbers.collect(), text.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.1
    }
}

/// A command or an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    /// Those that have it.
    pub(crate) versions: BTreeSet<Version>,
    /// The type of its arguments, or of its data: an object.
    pub(crate) takes: TypeId,
}

/// The JSON values that stand in one place. A union over versions, and QEMU's alternates, have several kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Type {
    pub(crate) any: bool,
    pub(crate) null: bool,
    pub(crate) bool: bool,
    pub(crate) int: bool,
    pub(crate) number: bool,
    pub(crate) string: Option<Strings>,
    pub(crate) array: Option<TypeId>,
    pub(crate) object: Option<Object>,
}

/// Which strings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strings {
    Any,
    /// The values of an enumeration.
    Of(BTreeSet<String>),
}

/// An object: a struct, or a union that adds the members of one of its variants.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object {
    pub(crate) members: BTreeMap<String, Member>,
    /// The member whose value selects the variant.
    pub(crate) tag: Option<String>,
    /// By that value; those that add nothing are left out.
    pub(crate) variants: BTreeMap<String, TypeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    pub(crate) takes: TypeId,
    pub(crate) optional: bool,
}

impl Type {
    /// Every type that this one refers to, with the way to change the reference.
    pub(crate) fn references(&mut self) -> impl Iterator<Item = &mut TypeId> {
        let (members, variants) = match &mut self.object {
            Some(object) => (Some(&mut object.members), Some(&mut object.variants)),
            None => (None, None),
        };
        let members = members.into_iter().flatten().map(|(_, member)| &mut member.takes);
        let variants = variants.into_iter().flatten().map(|(_, variant)| variant);
        self.array.iter_mut().chain(members).chain(variants)
    }
}
