//! Tables with a user's own QEMU.

use std::ffi::OsString;
use std::path::Path;

use quote::quote;

use super::super::expression;
use super::super::schema::Schema;
use super::errors_in;

/// A dump of a QEMU with one command and one device.
fn dump(version: &str, command: &str, argument: &str) -> String {
    format!(
        r#"{{"format":"qemu-test schema dump 1","version":"{version}","target":"x","schema":[
            {{"name":"{command}","meta-type":"command","arg-type":"0","ret-type":"0"}},
            {{"name":"0","meta-type":"object","members":[{{"name":"{argument}","type":"int"}}]}},
            {{"name":"int","meta-type":"builtin","json-type":"int"}}],
          "devices":[{{"names":["my-device"],"properties":["num_things"]}}]}}"#
    )
}

fn schema(variable: impl Into<OsString>) -> &'static Schema {
    Box::leak(Box::new(Schema::with(Some(variable.into()))))
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_dump_extends_the_table_or_replaces_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = file(folder.path(), "first", &dump("99.0.0", "x-own_one", "a_b"));
    let second = file(
        folder.path(),
        "second",
        &dump("10.0.2", "blockdev-del", "new-one"),
    );
    let told = |schema, input| errors_in(expression(quote!((q) #input), schema));

    let both = schema(format!("{first}:{second}"));
    let expansion = expression(quote!((q) x_own_one { a_b: 1 }), both).to_string();
    assert!(
        expansion.contains(r#""x-own_one" , "99.0.0, not 7.2.22 and 10.0.2""#),
        "{expansion}"
    );
    assert!(expansion.contains(r#""a_b""#), "{expansion}");
    let device = expression(
        quote!((q) device_add { driver: "my-device", num_things: 1 }),
        both,
    )
    .to_string();
    assert!(device.contains(r#""num_things""#), "{device}");
    // What is mandatory in one QEMU may be absent in another.
    for fine in [
        quote!(blockdev_del {
            node_name: "d",
            new_one: 1
        }),
        quote!(blockdev_del {}),
        quote!(query_status),
    ] {
        assert_eq!(told(both, fine.clone()), Vec::<String>::new(), "{fine}");
    }

    let only = schema(format!("only:{first}"));
    assert_eq!(told(only, quote!(x_own_one { a_b: 1 })), Vec::<String>::new());
    assert_eq!(
        told(only, quote!(query_status)),
        [r#"QEMU (99.0.0) has no command `query_status`; in quotes it goes unchecked: `"query-status"`"#]
    );
}

#[test]
fn a_schema_that_cannot_be_used_is_told_once_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let broken = file(folder.path(), "broken", "{}");
    let empty = file(folder.path(), "empty", "");
    let absent = folder.path().join("absent").to_str().unwrap().to_owned();
    for (variable, reason) in [
        (absent.as_str(), "cannot read `"),
        (
            broken.as_str(),
            "is no schema dump (it is no `qemu-test schema dump 1`)",
        ),
        (empty.as_str(), "is no schema dump (it is empty)"),
        ("only", "`only` must be followed by a schema dump"),
    ] {
        let schema = schema(variable);
        // Names that it might have are no mistakes.
        let wrong = quote!((q) x_own_one { a_b: 1 });
        assert_eq!(errors_in(expression(wrong, schema)), Vec::<String>::new());
        let tracking = errors_in(schema.own.tracking());
        assert!(
            tracking.len() == 1 && tracking[0].contains(reason),
            "{tracking:?}"
        );
        assert!(schema.own.tracking().is_empty());
    }
}

#[test]
fn cargo_hears_once_of_the_variable_and_of_each_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = file(folder.path(), "first", &dump("99.0.0", "x-own_one", "a_b"));
    let schema = schema(&first);
    let tracking = schema.own.tracking().to_string();
    assert!(
        tracking.contains("option_env ! (\"QEMU_TEST_SCHEMA\")"),
        "{tracking}"
    );
    assert!(
        tracking.contains(&format!("include_bytes ! ({first:?})")),
        "{tracking}"
    );
    assert!(schema.own.tracking().is_empty());
}

#[test]
fn a_number_may_be_an_integer_or_have_a_fraction() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing in the table takes one: what commands return has them.
    let number = dump("99.0.0", "x-own_one", "a").replace(r#""json-type":"int""#, r#""json-type":"number""#);
    let schema = schema(file(folder.path(), "number", &number));
    let told = |input| errors_in(expression(quote!((q) #input), schema));
    for fine in [
        quote!(x_own_one { a: 1 }),
        quote!(x_own_one { a: -1.5 }),
        quote!(x_own_one { a: 1f64 }),
    ] {
        assert_eq!(told(fine.clone()), Vec::<String>::new(), "{fine}");
    }
    assert_eq!(
        told(quote!(x_own_one { a: "1.5" })),
        ["`x_own_one.a` is a number, not a string; in parentheses it goes unchecked"]
    );
}
