//! The resolver against what real QEMUs say of themselves, not against the table.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

use super::super::ast::{Input, Object, Value};
use super::super::errors::Errors;
use super::super::schema::table::has_identifier;
use super::super::schema::table::json::Json;
use super::super::schema::{Schema, live};
use super::super::{parse, resolve};

#[test]
fn every_name_of_a_real_qemu_on_x86_resolves_to_itself() {
    programs("x86_64").iter().for_each(|program| check(program));
}

#[test]
fn every_name_of_a_real_qemu_on_arm_resolves_to_itself() {
    programs("aarch64").iter().for_each(|program| check(program));
}

/// The programs of every version that there is: the installed one and those unpacked by `cargo xtask setup`, or the
/// one that `QEMU_TEST_BIN_DIR` says.
fn programs(target: &str) -> Vec<PathBuf> {
    let name = format!("qemu-system-{target}");
    let folders: Vec<PathBuf> = match std::env::var_os("QEMU_TEST_BIN_DIR") {
        Some(folder) => vec![folder.into()],
        None => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let installed = std::env::split_paths(&path).find(|folder| folder.join(&name).is_file());
            installed.into_iter().chain(unpacked()).collect()
        }
    };
    let programs: Vec<_> = folders
        .iter()
        .map(|folder| folder.join(&name))
        .filter(|program| program.is_file())
        .collect();
    assert!(
        !programs.is_empty(),
        "there is no `{name}`: `cargo xtask setup` installs it"
    );
    programs
}

fn unpacked() -> Vec<PathBuf> {
    let this = std::env::current_exe().unwrap();
    let target = this
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .unwrap();
    let entries = std::fs::read_dir(target).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("qemu-"))
        .map(|entry| entry.path().join("usr/bin"))
        .collect()
}

fn check(program: &Path) {
    let told = live::ask(program).unwrap();
    // A virtio-gpu-gl in a build without its module is all that there may be.
    assert!(told.fatal.len() <= 3, "{:#?}", told.fatal);
    let schema = Live::new(&told.dump);
    let mut names = 0;
    for (name, entry) in &schema.entries {
        if ["command", "event"].contains(&entry.str("meta-type")) {
            names += schema.call(name, entry.str("arg-type"));
        }
    }
    let mut properties = 0;
    for group in told.dump.items("devices") {
        for device in group.items("names") {
            properties += device_add(device.as_str().unwrap(), group.items("properties"));
        }
    }
    // So that it cannot pass by looking at nothing.
    assert!(
        names > 3000 && properties > 2000,
        "{names} names, {properties} properties"
    );
}

/// The schema as QEMU gives it.
struct Live<'a> {
    entries: BTreeMap<&'a str, &'a Json>,
}

/// A tag with the value that selects a variant: several where the variant is a union itself.
type Tags<'a> = Vec<(&'a str, &'a str)>;

/// How to come to an object from a command: the key of each object on the way, in how many arrays the next one is,
/// and the tags that are needed there.
#[derive(Clone)]
struct Step<'a> {
    key: &'a str,
    arrays: usize,
    tags: Tags<'a>,
}

impl<'a> Live<'a> {
    fn new(dump: &'a Json) -> Self {
        let entries = dump
            .items("schema")
            .iter()
            .map(|entry| (entry.str("name"), entry));
        Self {
            entries: entries.collect(),
        }
    }

    /// Looks at every object that is reached from a command or an event, by the shortest way; counts the names.
    fn call(&self, name: &str, takes: &'a str) -> usize {
        let mut names = 0;
        let mut seen = BTreeSet::from([takes]);
        let mut open: VecDeque<(&str, Vec<Step<'a>>)> = VecDeque::from([(takes, Vec::new())]);
        while let Some((object, way)) = open.pop_front() {
            for (tags, members) in self.variants(object) {
                names += members.len();
                self.object(name, &way, &tags, &members);
                for member in members {
                    let (kind, arrays) = self.element(member.str("type"), 0);
                    for inner in self.objects(kind) {
                        if seen.insert(inner) {
                            let mut way = way.clone();
                            let key = member.str("name");
                            let tags = tags.clone();
                            way.push(Step { key, arrays, tags });
                            open.push_back((inner, way));
                        }
                    }
                }
            }
        }
        names
    }

    /// The members of an object for each value of its tags.
    fn variants(&self, object: &'a str) -> Vec<(Tags<'a>, Vec<&'a Json>)> {
        let entry = self.entries[object];
        let own: Vec<&Json> = entry.items("members").iter().collect();
        let Some(tag) = entry.get("tag").and_then(Json::as_str) else {
            return vec![(Tags::new(), own)];
        };
        let mut variants = Vec::new();
        for variant in entry.items("variants") {
            for (tags, members) in self.variants(variant.str("type")) {
                let tags = std::iter::once((tag, variant.str("case"))).chain(tags).collect();
                variants.push((tags, own.iter().copied().chain(members).collect()));
            }
        }
        variants
    }

    fn element(&self, kind: &'a str, arrays: usize) -> (&'a str, usize) {
        let entry = self.entries[kind];
        match entry.str("meta-type") {
            "array" => self.element(entry.str("element-type"), arrays + 1),
            _ => (kind, arrays),
        }
    }

    /// The objects among what a type may be.
    fn objects(&self, kind: &'a str) -> Vec<&'a str> {
        let entry = self.entries[kind];
        match entry.str("meta-type") {
            "object" => vec![kind],
            "alternate" => {
                let branches = entry.items("members").iter();
                branches
                    .flat_map(|branch| self.objects(branch.str("type")))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Writes a call with all members of an object, each with every value that can be written as a literal, and one
    /// with what is mandatory alone.
    fn object(&self, call: &str, way: &[Step<'a>], tags: &Tags<'_>, members: &[&'a Json]) {
        let literals: Vec<Vec<TokenStream>> = members
            .iter()
            .map(
                |member| match tags.iter().find(|(tag, _)| *tag == member.str("name")) {
                    Some((_, case)) => vec![quote!(#case)],
                    None => self.literals(member.str("type")),
                },
            )
            .collect();
        let longest = literals.iter().map(Vec::len).max().unwrap_or(1);
        for turn in 0..longest {
            let fields = members.iter().zip(&literals).map(|(member, literals)| {
                let key = identifier(member.str("name"));
                let value = &literals[turn % literals.len()];
                quote!(#key: #value,)
            });
            let names: Vec<_> = members.iter().map(|member| member.str("name")).collect();
            assert_eq!(resolved(call, way, &quote!({ #(#fields)* })), names, "{call}");
        }
        let needed = members
            .iter()
            .zip(&literals)
            .filter(|(member, _)| member.get("default").is_none());
        let (needed, fields): (Vec<_>, Vec<_>) = needed
            .map(|(member, literals)| {
                let (key, value) = (identifier(member.str("name")), &literals[0]);
                (member.str("name"), quote!(#key: #value,))
            })
            .unzip();
        assert_eq!(resolved(call, way, &quote!({ #(#fields)* })), needed, "{call}");
        // Tags that only the run knows.
        if !tags.is_empty() {
            let fields = members.iter().map(|member| {
                let key = identifier(member.str("name"));
                quote!(#key: value,)
            });
            let names: Vec<_> = members.iter().map(|member| member.str("name")).collect();
            assert_eq!(resolved(call, way, &quote!({ #(#fields)* })), names, "{call}");
        }
    }

    /// All kinds of literals that a type takes; an expression for what is made of several parts.
    fn literals(&self, kind: &str) -> Vec<TokenStream> {
        let entry = self.entries[kind];
        match (entry.str("meta-type"), entry.str("json-type")) {
            ("builtin", "string") => vec![quote!("x")],
            ("builtin", "int") => vec![quote!(1), quote!(-1)],
            ("builtin", "number") => vec![quote!(1), quote!(1.5), quote!(-1.5)],
            ("builtin", "boolean") => vec![quote!(true)],
            ("builtin", "null") => vec![quote!(null)],
            ("builtin", _) => vec![quote!({ a_b: null }), quote!([1, { a_b: 1 }])],
            ("enum", _) => {
                let values = entry.items("values").iter().filter_map(Json::as_str);
                values.map(|value| quote!(#value)).collect()
            }
            ("array", _) => vec![quote!([])],
            ("alternate", _) => {
                let branches = entry.items("members").iter();
                branches
                    .flat_map(|branch| self.literals(branch.str("type")))
                    .collect()
            }
            _ => vec![quote!(value)],
        }
    }
}

/// The spellings in `object`, which stands at the end of a way from a call.
fn resolved(call: &str, way: &[Step<'_>], object: &TokenStream) -> Vec<String> {
    let name = identifier(call);
    let mut written = object.clone();
    for step in way.iter().rev() {
        for _ in 0..step.arrays {
            written = quote!([#written]);
        }
        let key = identifier(step.key);
        let tags = step.tags.iter().map(|(tag, case)| {
            let tag = identifier(tag);
            quote!(#tag: #case,)
        });
        // The rest is somebody else's business.
        written = quote!({ #(#tags)* #key: #written, ..rest });
    }
    let mut input = parsed(quote!(#name #written));
    let (Input::Command(outer) | Input::Event(outer)) = &mut input else {
        panic!("neither command nor event: {call}");
    };
    assert_eq!(outer.name.wire, call);
    let mut object = outer.object.take().unwrap();
    for step in way {
        object = inside(object, step);
    }
    object.fields.into_iter().map(|field| field.key.wire).collect()
}

fn inside(object: Object, step: &Step<'_>) -> Object {
    let last = object.fields.into_iter().next_back().unwrap();
    assert_eq!(last.key.wire, step.key);
    let mut value = last.value;
    loop {
        value = match value {
            Value::Object(object) => return object,
            Value::Array(mut array) => array.elements.remove(0),
            _ => panic!("no object at `{}`", step.key),
        };
    }
}

/// Reads and resolves without a mistake.
fn parsed(tokens: TokenStream) -> Input {
    let text = tokens.to_string();
    let mut errors = Errors::default();
    let mut input = parse::parse(tokens, &mut errors);
    resolve::resolve(&mut input, Schema::current(), &mut errors);
    assert!(errors.is_empty(), "{text}: {}", errors.into_compile_errors());
    input
}

/// The properties of a device in a `device_add` for it, all at once; counts them.
fn device_add(driver: &str, properties: &[Json]) -> usize {
    let names: BTreeSet<&str> = properties.iter().filter_map(Json::as_str).collect();
    let is_doubled =
        |name: &str| name.contains(['-', '.']) && names.contains(name.replace(['-', '.'], "_").as_str());
    if names.iter().any(|name| is_doubled(name)) {
        assert!(
            driver.ends_with("-cpu"),
            "{driver} has a property in two spellings"
        );
    }
    let names: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| has_identifier(name) && !is_doubled(name))
        .collect();
    // Two properties of processors differ in the character that is no letter only, as `sse4-1` and `sse4.1` do.
    let fields = names.iter().map(|name| {
        let key = identifier(name);
        quote!(#key: value,)
    });
    let Input::Command(call) = parsed(quote!(device_add { driver: #driver, #(#fields)* })) else {
        panic!("no command");
    };
    let fields = call.object.unwrap().fields.into_iter().skip(1);
    assert_eq!(
        fields.map(|field| field.key.wire).collect::<Vec<_>>(),
        names,
        "{driver}"
    );
    names.len()
}

fn identifier(name: &str) -> Ident {
    let name = name.replace(['-', '.'], "_");
    Ident::new(&name, Span::call_site())
}
