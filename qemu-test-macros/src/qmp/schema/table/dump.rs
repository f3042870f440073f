//! What one QEMU says of itself, and the table of it.
//!
//! A dump is one line of JSON: QEMU's version and target, its reply to `query-qmp-schema` as it is, the names of the
//! properties of its devices, and which devices were left out, and why. `qemu_test` writes the same from a running
//! machine. Only names and structure are read: none of QEMU's prose comes into the table.

use std::collections::{BTreeMap, BTreeSet};

use super::has_identifier;
use super::json::Json;
use super::model::{Call, Member, Object, Strings, Table, Type, TypeId, Version};

/// The first member of a dump, by which it is recognised.
pub(crate) const FORMAT: &str = "qemu-test schema dump 1";

/// Reads the dumps in `text`, of which there may be several.
pub(crate) fn tables(text: &str) -> Result<Vec<Table>, String> {
    let dumps = Json::parse_all(text)?;
    if dumps.is_empty() {
        return Err(String::from("it is empty"));
    }
    dumps.iter().map(table).collect()
}

fn table(dump: &Json) -> Result<Table, String> {
    if dump.str("format") != FORMAT {
        return Err(format!("it is no `{FORMAT}`"));
    }
    let version = Version::new(dump.str("version"));
    let mut reader = Reader {
        entries: dump
            .items("schema")
            .iter()
            .map(|entry| (entry.str("name"), entry))
            .collect(),
        ids: BTreeMap::new(),
        types: Vec::new(),
    };
    let mut table = Table::default();
    for entry in dump.items("schema") {
        let calls = match entry.str("meta-type") {
            "command" => &mut table.commands,
            "event" => &mut table.events,
            _ => continue,
        };
        let versions = BTreeSet::from([version.clone()]);
        let takes = reader.id(entry.str("arg-type"))?;
        calls.insert(entry.str("name").to_owned(), Call { versions, takes });
    }
    if table.commands.is_empty() {
        return Err(String::from("it has no commands"));
    }
    table.types = reader.types;
    for group in dump.items("devices") {
        // What no identifier can mean is never looked up.
        let properties: BTreeSet<String> = group
            .items("properties")
            .iter()
            .filter_map(Json::as_str)
            .filter(|name| has_identifier(name))
            .map(str::to_owned)
            .collect();
        for name in group.items("names").iter().filter_map(Json::as_str) {
            table
                .devices
                .entry(name.to_owned())
                .or_default()
                .extend(properties.iter().cloned());
        }
    }
    let targets = BTreeSet::from([dump.str("target").to_owned()]);
    table.sources.insert(version, targets);
    Ok(table)
}

/// Turns the types that commands and events take into the table's. QEMU masks their names, and describes what
/// commands return, too: neither is of interest.
struct Reader<'a> {
    entries: BTreeMap<&'a str, &'a Json>,
    ids: BTreeMap<&'a str, TypeId>,
    types: Vec<Type>,
}

impl<'a> Reader<'a> {
    fn id(&mut self, name: &'a str) -> Result<TypeId, String> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        // Types refer to themselves: this one has its number before it is read.
        let id = self.types.len();
        self.ids.insert(name, id);
        self.types.push(Type::default());
        self.types[id] = self.read(name)?;
        Ok(id)
    }

    fn read(&mut self, name: &'a str) -> Result<Type, String> {
        let Some(entry) = self.entries.get(name).copied() else {
            return Err(format!("there is no type `{name}` in its schema"));
        };
        let mut result = Type::default();
        match entry.str("meta-type") {
            "builtin" => match entry.str("json-type") {
                "null" => result.null = true,
                "boolean" => result.bool = true,
                "int" => result.int = true,
                "number" => result.number = true,
                "string" => result.string = Some(Strings::Any),
                _ => result.any = true,
            },
            "enum" => {
                let values = entry.items("values").iter().filter_map(Json::as_str);
                let members = entry.items("members").iter().map(|member| member.str("name"));
                let all = values.chain(members).map(str::to_owned).collect();
                result.string = Some(Strings::Of(all));
            }
            "array" => result.array = Some(self.id(entry.str("element-type"))?),
            "object" => result.object = Some(self.object(entry)?),
            "alternate" => {
                for member in entry.items("members") {
                    let branch = self.read(member.str("type"))?;
                    result.any |= branch.any;
                    result.null |= branch.null;
                    result.bool |= branch.bool;
                    result.int |= branch.int;
                    result.number |= branch.number;
                    // No two branches are of one kind: QEMU could not tell them apart.
                    result.string = result.string.or(branch.string);
                    result.array = result.array.or(branch.array);
                    result.object = result.object.or(branch.object);
                }
            }
            // A kind of type that a newer QEMU invents takes anything.
            _ => result.any = true,
        }
        Ok(result)
    }

    fn object(&mut self, entry: &'a Json) -> Result<Object, String> {
        let mut object = Object::default();
        for member in entry.items("members") {
            let takes = self.id(member.str("type"))?;
            let optional = member.get("default").is_some();
            object
                .members
                .insert(member.str("name").to_owned(), Member { takes, optional });
        }
        object.tag = entry.get("tag").and_then(Json::as_str).map(str::to_owned);
        for variant in entry.items("variants") {
            let takes = self.id(variant.str("type"))?;
            object.variants.insert(variant.str("case").to_owned(), takes);
        }
        Ok(object)
    }
}
