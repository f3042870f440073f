//! The expansion at token level: what `rustc` gets to see.

mod live;
mod names;
mod own;

use proc_macro2::TokenStream;
use quote::quote;

use super::expression;
use super::schema::Schema;

fn expand(input: TokenStream) -> TokenStream {
    expression(input, Schema::current())
}

/// The expansion as one line, with the library's path left out.
fn expanded(input: TokenStream) -> String {
    let tokens = expand(quote!((q) #input)).to_string();
    tokens
        .replace("q :: qmp :: ", "")
        .replace("q :: __private :: ", "")
        .replace(", \"7.2.22 and 10.0.2\")", ")")
        .replace(' ', "")
}

/// The messages of the compile errors that the expansion holds.
fn errors(input: TokenStream) -> Vec<String> {
    errors_in(expand(quote!((q) #input)))
}

fn errors_in(expansion: TokenStream) -> Vec<String> {
    let expansion = expansion.to_string();
    expansion
        .split("compile_error ! {")
        .skip(1)
        .map(|rest| {
            let literal = rest[..rest.rfind("\" }").unwrap_or(rest.len())].trim_start();
            let literal = literal.split("\" }").next().unwrap_or_default();
            literal.trim_start_matches('"').replace("\\\"", "\"")
        })
        .collect()
}

#[test]
fn a_command_without_arguments_is_its_name_and_nothing_else() {
    assert_eq!(expanded(quote!(query_status)), r#"command("query-status")"#);
    assert_eq!(expanded(quote!(system_reset)), r#"command("system_reset")"#);
    assert_eq!(expanded(quote!(query_status,)), r#"command("query-status")"#);
}

#[test]
fn values_are_taken_by_reference_and_parenthesised() {
    assert_eq!(
        expanded(quote!(balloon { value: 1 << 20 })),
        r#"command("balloon").arguments(Object::new().field("value",&(1<<20)).build())"#
    );
}

#[test]
fn a_bracket_that_goes_on_is_an_expression_of_the_users() {
    assert_eq!(
        expanded(quote!({ a: [1, 2].len(), b: [x[0]; 3], c: [1, null, { d_e: 2 }], f: { let g = 1; g } })),
        concat!(
            r#"Object::new().field("a",&([1,2].len())).field("b",&([x[0];3]))"#,
            r#".value("c",Array::new().item(&(1)).value(NULL).value(Object::new().field("d-e",&(2)).build()).build())"#,
            r#".field("f",&({letg=1;g})).build()"#,
        )
    );
}

#[test]
fn every_form_of_a_key_is_understood() {
    assert_eq!(
        expanded(quote!({ node_name, if: 1, r#type: 2, "raw_key": 3, maybe?: m, also?, ..rest, })),
        concat!(
            r#"Object::new().field("node-name",&(node_name)).field("if",&(1)).field("type",&(2)).field("raw_key",&(3))"#,
            r#".optional("maybe",&(m)).optional("also",&(also)).merge(&(rest)).build()"#,
        )
    );
}

#[test]
fn capitals_make_an_event_and_an_underscore_matches_anything() {
    assert_eq!(expanded(quote!(STOP)), r#"EventFilter::new("STOP")"#);
    assert_eq!(
        expanded(quote!(DEVICE_DELETED { device: "t", path: _ })),
        r#"EventFilter::new("DEVICE_DELETED").data(Object::new().field("device",&("t")).value("path",NULL).build())"#
    );
}

#[test]
fn a_quoted_command_is_verbatim() {
    assert_eq!(
        expanded(quote!("x-vendor_command" { "raw_key": 1, other_key: 2 })),
        r#"Command::new("x-vendor_command").arguments(Object::new().field("raw_key",&(1)).field("other-key",&(2)).build())"#
    );
}

#[test]
fn the_library_is_where_the_first_token_says_and_else_at_its_own_name() {
    assert_eq!(
        expand(quote!(cont)).to_string(),
        r#":: qemu_test :: __private :: command ("cont" , "7.2.22 and 10.0.2")"#
    );
    assert_eq!(
        expand(quote!((my::qt) cont)).to_string(),
        r#"my :: qt :: __private :: command ("cont" , "7.2.22 and 10.0.2")"#
    );
}

#[test]
fn one_mistake_gives_one_message() {
    for input in [
        quote!(),
        quote!(42),
        quote!(cont cont),
        quote!(cont {} {}),
        quote!({ a }.b),
        quote!({ a: }),
        quote!({ a: 1 b: 2 }),
        quote!({ a: 1; b: 2 }),
        quote!({ a b c, d: 1 }),
        quote!({ 1: 2 }),
        quote!({ "a" }),
        quote!({ type }),
        quote!({ a: _ }),
        quote!({ a?: null }),
        quote!({ a: { f(x) } }),
        quote!({ ..a, b: 1 }),
        quote!({ ..a, ..b }),
        quote!({ .. }),
        quote!({ .., a: 1 }),
        quote!(STOP { .. }),
        quote!(query - status),
        quote!(
            blockdev
                - add {
                    driver: "null-co",
                    node_name: "a"
                }
        ),
        quote!(blockdev_add { driver: "null-co", node-name: "a" }),
        quote!({ a: [1 2] }),
        quote!(STOP { "a": [_] }),
        quote!({ a_b: 1, "a-b": 2 }),
    ] {
        let errors = errors(input.clone());
        assert_eq!(errors.len(), 1, "{input}: {errors:#?}");
    }
}

#[test]
fn a_key_given_in_two_spellings_is_shown_in_both() {
    assert_eq!(
        errors(quote!({ node_name: 1, "node-name": 2 })),
        [r#"`node-name` is given twice: as `node_name` before, and as `"node-name"` here"#]
    );
    assert_eq!(errors(quote!({ a: 1, a: 2 })), ["`a` is given twice"]);
}

#[test]
fn a_name_that_was_copied_from_qemu_is_read_as_it_is_meant() {
    assert_eq!(
        errors(
            quote!(blockdev-add { node-name: n, driver: "nbd", server: { r#type: "inet", host: "h", port: "1" } })
        ),
        [
            r#"`blockdev-add` is written `blockdev_add` here, or in quotes: `"blockdev-add"`"#,
            r#"`node-name` is written `node_name` here, or in quotes: `"node-name"`"#,
        ]
    );
}

#[test]
fn dots_alone_are_told_what_they_are_for() {
    assert_eq!(
        errors(quote!(STOP { .. })),
        [
            "`..` merges an object, which has to follow it: what a filter does not name may be anything already"
        ]
    );
    assert_eq!(
        errors(quote!({ a: 1, .. })),
        ["`..` merges an object, which has to follow it"]
    );
}

#[test]
fn the_values_stay_in_an_expansion_with_mistakes() {
    let expansion = expanded(quote!(cont { a: first, b: , 3, c: [second, _], ..third }));
    for value in ["first", "second", "third"] {
        assert!(expansion.contains(&format!("&({value})")), "{expansion}");
    }
}
