//! One table of several: what any of them accepts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::model::{Call, Member, Object, Strings, Table, Type, TypeId};

/// The union of `tables`, in a form that depends on nothing but what they say.
///
/// Names of types differ between versions and targets, so types are merged by where they stand: those that the
/// argument `x` of the command `c` has in each of the tables become one. A member is mandatory where all tables that
/// have the object have it so.
pub(crate) fn merge(tables: &[Table]) -> Table {
    let mut merged = Table::default();
    let mut product = Product {
        tables,
        ids: BTreeMap::new(),
        waiting: VecDeque::new(),
    };
    merged.commands = product.calls(|table| &table.commands);
    merged.events = product.calls(|table| &table.events);
    while let Some(parts) = product.waiting.pop_front() {
        let union = product.union(&parts);
        merged.types.push(union);
    }
    for table in tables {
        for (version, targets) in &table.sources {
            let known = merged.sources.entry(version.clone()).or_default();
            known.extend(targets.iter().cloned());
        }
        for (name, properties) in &table.devices {
            let known = merged.devices.entry(name.clone()).or_default();
            known.extend(properties.iter().cloned());
        }
    }
    fold_equal(&mut merged);
    number_by_use(&mut merged);
    merged
}

/// Which types of which tables stand in one place.
type Parts = BTreeSet<(usize, TypeId)>;

struct Product<'a> {
    tables: &'a [Table],
    ids: BTreeMap<Parts, TypeId>,
    /// The types that have a number, and are yet to be put together in the order of their numbers.
    waiting: VecDeque<Parts>,
}

impl Product<'_> {
    fn id(&mut self, parts: Parts) -> TypeId {
        let next = self.ids.len();
        let waiting = &mut self.waiting;
        *self.ids.entry(parts).or_insert_with_key(|parts| {
            waiting.push_back(parts.clone());
            next
        })
    }

    fn calls(&mut self, of: impl Fn(&Table) -> &BTreeMap<String, Call>) -> BTreeMap<String, Call> {
        let mut found: BTreeMap<String, (BTreeSet<_>, Parts)> = BTreeMap::new();
        for (index, table) in self.tables.iter().enumerate() {
            for (name, call) in of(table) {
                let (versions, parts) = found.entry(name.clone()).or_default();
                versions.extend(call.versions.iter().cloned());
                parts.insert((index, call.takes));
            }
        }
        let calls = found.into_iter().map(|(name, (versions, parts))| {
            let takes = self.id(parts);
            (name, Call { versions, takes })
        });
        calls.collect()
    }

    fn union(&mut self, parts: &Parts) -> Type {
        let tables = self.tables;
        let all = || parts.iter().map(|&(table, id)| (table, &tables[table].types[id]));
        let mut result = Type::default();
        let mut elements = Parts::new();
        for (table, part) in all() {
            result.any |= part.any;
            result.null |= part.null;
            result.bool |= part.bool;
            result.int |= part.int;
            result.number |= part.number;
            result.string = match (result.string, &part.string) {
                (None, other) => other.clone(),
                (some, None) => some,
                (Some(Strings::Of(mut values)), Some(Strings::Of(others))) => {
                    values.extend(others.iter().cloned());
                    Some(Strings::Of(values))
                }
                _ => Some(Strings::Any),
            };
            elements.extend(part.array.map(|element| (table, element)));
        }
        if !elements.is_empty() {
            result.array = Some(self.id(elements));
        }
        let objects: Vec<_> = all()
            .filter_map(|(table, part)| Some((table, part.object.as_ref()?)))
            .collect();
        if !objects.is_empty() {
            result.object = Some(self.object(&objects));
        }
        result
    }

    fn object(&mut self, objects: &[(usize, &Object)]) -> Object {
        let mut members: BTreeMap<&str, (Parts, usize)> = BTreeMap::new();
        let mut variants: BTreeMap<&str, Parts> = BTreeMap::new();
        for (table, object) in objects {
            for (name, member) in &object.members {
                let (parts, mandatory) = members.entry(name).or_default();
                parts.insert((*table, member.takes));
                *mandatory += usize::from(!member.optional);
            }
            for (case, takes) in &object.variants {
                variants.entry(case).or_default().insert((*table, *takes));
            }
        }
        let members = members.into_iter().map(|(name, (parts, mandatory))| {
            let optional = mandatory < objects.len();
            let takes = self.id(parts);
            (name.to_owned(), Member { takes, optional })
        });
        let members = members.collect();
        let variants = variants
            .into_iter()
            .map(|(case, parts)| (case.to_owned(), self.id(parts)))
            .collect();
        Object {
            members,
            tag: objects.iter().find_map(|(_, object)| object.tag.clone()),
            variants,
        }
    }
}

/// Makes types that say the same one type, those that refer to themselves included: they are told apart by what they
/// hold, then by what these hold, until that makes no more difference.
fn fold_equal(table: &mut Table) {
    let mut classes = vec![0; table.types.len()];
    let mut count = 1;
    loop {
        let mut known: BTreeMap<Type, usize> = BTreeMap::new();
        let next: Vec<usize> = table
            .types
            .iter()
            .map(|shape| {
                let mut shape = shape.clone();
                shape.references().for_each(|id| *id = classes[*id]);
                let new = known.len();
                *known.entry(shape).or_insert(new)
            })
            .collect();
        classes = next;
        if known.len() == count {
            break;
        }
        count = known.len();
    }
    let mut first = vec![usize::MAX; count];
    for (id, class) in classes.iter().enumerate() {
        first[*class] = first[*class].min(id);
    }
    let representative = |id: &mut TypeId| *id = first[classes[*id]];
    for shape in &mut table.types {
        shape.references().for_each(representative);
    }
    for call in table.commands.values_mut().chain(table.events.values_mut()) {
        representative(&mut call.takes);
    }
    // A variant that adds nothing says nothing.
    let empty: Vec<bool> = table
        .types
        .iter()
        .map(|shape| {
            shape
                .object
                .as_ref()
                .is_some_and(|object| *object == Object::default())
        })
        .collect();
    for object in table.types.iter_mut().filter_map(|shape| shape.object.as_mut()) {
        object.variants.retain(|_, takes| !empty[*takes]);
    }
}

/// Numbers the types in the order in which commands and events, by name, come upon them; drops the others.
fn number_by_use(table: &mut Table) {
    let mut numbers: BTreeMap<TypeId, TypeId> = BTreeMap::new();
    let mut order = Vec::new();
    let mut number = |id: &mut TypeId, order: &mut Vec<TypeId>| {
        let next = numbers.len();
        *id = *numbers.entry(*id).or_insert_with_key(|id| {
            order.push(*id);
            next
        });
    };
    for call in table.commands.values_mut().chain(table.events.values_mut()) {
        number(&mut call.takes, &mut order);
    }
    let mut types = Vec::new();
    let mut at = 0;
    while at < order.len() {
        let mut shape = table.types[order[at]].clone();
        shape.references().for_each(|id| number(id, &mut order));
        types.push(shape);
        at += 1;
    }
    table.types = types;
}
