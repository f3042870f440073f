//! What QEMU takes in the place of a value, and the names that an object has there.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ast;
use super::super::schema::Schema;
use super::super::schema::table::folded;
use super::super::schema::table::model::{Object, Strings, Type};
use super::literal::{self, Kind};

/// The place of a value.
#[derive(Default)]
pub(super) struct Place {
    /// It may be of any of these: of several, where it depends on a value that only the run will tell.
    types: Vec<&'static Type>,
    /// Names get QEMU's spelling as far as there is one, and nothing is a mistake.
    lenient: bool,
}

impl Place {
    /// A place of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self::default()
    }

    pub(super) fn of(types: Vec<&'static Type>) -> Self {
        Self {
            types,
            lenient: false,
        }
    }

    pub(super) fn is_lenient(&self) -> bool {
        self.lenient || self.types.is_empty() || self.types.iter().any(|kind| kind.any)
    }

    pub(super) fn types(&self) -> &[&'static Type] {
        &self.types
    }

    pub(super) fn takes(&self, kind: &Kind) -> bool {
        self.types.iter().any(|takes| match kind {
            Kind::Null => takes.null,
            Kind::Bool => takes.bool,
            Kind::Int => takes.int || takes.number,
            Kind::Float => takes.number,
            Kind::Str(text) => match &takes.string {
                Some(Strings::Any) => true,
                Some(Strings::Of(values)) => values.contains(text),
                None => false,
            },
            Kind::Array => takes.array.is_some(),
            Kind::Object => takes.object.is_some(),
        })
    }

    /// The place of the elements of an array that stands here.
    pub(super) fn elements(&self, schema: &'static Schema) -> Place {
        let elements = self.types.iter().filter_map(|takes| takes.array);
        Place {
            types: elements.map(|id| schema.get(id)).collect(),
            lenient: self.lenient,
        }
    }
}

/// A member of an object.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) place: Place,
}

/// What an identifier means.
pub(super) enum Spelling {
    One(Member),
    /// Which of these depends on what only the run will tell.
    Several(Vec<String>),
    /// Nothing, and nothing is known against it.
    Free,
    /// Nothing.
    None,
}

/// The properties that a `device_add` takes.
enum Device {
    /// It is no `device_add`.
    None,
    /// Those of its driver.
    Known(Vec<&'static str>),
    /// Those of all devices, and any other: the driver is known to the run only, or to its author.
    Any,
}

/// The names of one object.
pub(super) struct View {
    schema: &'static Schema,
    /// What the members come from, and whether they are there in any case.
    objects: Vec<(&'static Object, bool)>,
    /// The variants that the object has not chosen.
    others: Vec<(&'static str, &'static Object)>,
    /// The literal tags and what they select, for messages.
    pub(super) chosen: Vec<(String, String)>,
    device: Device,
    lenient: bool,
}

impl View {
    pub(super) fn new(
        schema: &'static Schema,
        place: &Place,
        written: &ast::Object,
        is_device: bool,
    ) -> Self {
        let driver = literal::member(Some(written), "driver").filter(|_| is_device);
        let properties = driver.as_deref().and_then(|driver| schema.device(driver));
        let device = match properties {
            Some(properties) => Device::Known(properties),
            None if is_device => Device::Any,
            None => Device::None,
        };
        let mut view = Self {
            schema,
            objects: Vec::new(),
            others: Vec::new(),
            chosen: Vec::new(),
            device,
            lenient: false,
        };
        let objects: Vec<_> = place
            .types
            .iter()
            .filter_map(|takes| takes.object.as_ref())
            .collect();
        view.lenient = place.is_lenient() || objects.is_empty();
        let certain = objects.len() == 1;
        for object in objects {
            view.add(object, written, certain);
        }
        if let (Device::Known(_), Some(driver)) = (&view.device, driver) {
            view.chosen.push((String::from("driver"), driver));
        }
        view
    }

    /// Adds an object, and its variant: that of a literal tag, or all of them.
    fn add(&mut self, object: &'static Object, written: &ast::Object, certain: bool) {
        self.objects.push((object, certain));
        let Some(tag) = &object.tag else { return };
        let is_value = |value: &String| match object.members.get(tag) {
            Some(member) => match &self.schema.get(member.takes).string {
                Some(Strings::Of(values)) => values.contains(value),
                _ => true,
            },
            None => true,
        };
        let chosen = literal::member(Some(written), tag).filter(is_value);
        for (case, takes) in &object.variants {
            let Some(variant) = &self.schema.get(*takes).object else {
                continue;
            };
            match &chosen {
                Some(chosen) if chosen == case => self.add(variant, written, certain),
                Some(_) => self.others.push((case, variant)),
                None => self.add(variant, written, false),
            }
        }
        if let Some(chosen) = chosen {
            self.chosen.insert(0, (tag.clone(), chosen));
        }
    }

    pub(super) fn is_lenient(&self) -> bool {
        self.lenient
    }

    pub(super) fn spelling(&self, identifier: &str) -> Spelling {
        let mut found = self.named(identifier);
        if found.len() > 1 && (self.is_certain(&found) || self.lenient) {
            // One object with both spellings, as processors have: what is written is what is meant.
            found.retain(|name, _| *name == identifier);
        }
        if found.len() > 1 {
            return Spelling::Several(found.into_keys().map(str::to_owned).collect());
        }
        match found.pop_first() {
            Some((name, types)) => Spelling::One(Member {
                name: name.to_owned(),
                place: self.inside(types),
            }),
            None if self.lenient || matches!(self.device, Device::Any) => Spelling::Free,
            None => Spelling::None,
        }
    }

    /// The place of the value of a key in quotes: nothing in it is a mistake.
    pub(super) fn verbatim(&self, key: &str) -> Place {
        let types = self.named(key).remove(key).unwrap_or_default();
        Place {
            lenient: true,
            ..self.inside(types)
        }
    }

    fn inside(&self, types: Vec<&'static Type>) -> Place {
        // QEMU has taken values of `device_add` in any form: as the command line does, where all is text.
        let lenient = self.lenient || !matches!(self.device, Device::None);
        Place { types, lenient }
    }

    /// The names that are written like `identifier`, with what they take.
    fn named(&self, identifier: &str) -> BTreeMap<&'static str, Vec<&'static Type>> {
        let mut found: BTreeMap<&'static str, Vec<&'static Type>> = BTreeMap::new();
        // The lengths are compared first because that is cheap: a processor has hundreds of names.
        let is_it = |name: &&str| name.len() == identifier.len() && folded(name).eq(folded(identifier));
        for (object, _) in &self.objects {
            for (name, member) in object.members.iter().filter(|(name, _)| is_it(&name.as_str())) {
                let types = found.entry(name).or_default();
                let takes = self.schema.get(member.takes);
                if !types.iter().any(|known| std::ptr::eq(*known, takes)) {
                    types.push(takes);
                }
            }
        }
        match &self.device {
            Device::None => {}
            Device::Known(properties) => {
                found.extend(
                    properties
                        .iter()
                        .copied()
                        .filter(is_it)
                        .map(|name| (name, Vec::new())),
                );
            }
            Device::Any => {
                let all = self.schema.properties().filter(is_it);
                found.extend(all.map(|name| (name, Vec::new())));
            }
        }
        found
    }

    /// Whether all of several spellings are there in any case.
    fn is_certain(&self, found: &BTreeMap<&'static str, Vec<&'static Type>>) -> bool {
        let has = |object: &Object| found.keys().any(|name| object.members.contains_key(*name));
        !matches!(self.device, Device::Any)
            && self
                .objects
                .iter()
                .filter(|(object, _)| has(object))
                .all(|(_, certain)| *certain)
    }

    /// What must be there.
    pub(super) fn mandatory(&self) -> impl Iterator<Item = &'static str> {
        let certain = self.objects.iter().filter(|(_, certain)| *certain);
        let members = certain.flat_map(|(object, _)| &object.members);
        members
            .filter(|(_, member)| !member.optional)
            .map(|(name, _)| name.as_str())
    }

    /// All names there are, those of a device after QEMU's own.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let members = self.objects.iter().flat_map(|(object, _)| object.members.keys());
        let own: BTreeSet<&str> = members.map(String::as_str).collect();
        let device = match &self.device {
            Device::Known(properties) => properties.as_slice(),
            Device::None | Device::Any => &[],
        };
        own.into_iter().chain(device.iter().copied()).collect()
    }

    /// The values of the tag that would bring a name with them.
    pub(super) fn elsewhere(&self, identifier: &str) -> Vec<&'static str> {
        let has = |object: &Object| {
            let mut names = object.members.keys();
            names.any(|name| folded(name).eq(folded(identifier)))
        };
        let others = self.others.iter().filter(|(_, object)| has(object));
        others.map(|(case, _)| *case).collect()
    }
}
