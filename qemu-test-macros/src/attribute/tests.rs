//! The expansion at token level: what a compile-fail test cannot see, because `#[test]` functions are gone there.

mod company;
mod expansion;
mod mistakes;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::quote;

/// The expansion of `#[qemu_test(ARGUMENTS)]` on `item`, formatted.
fn expand(arguments: TokenStream, item: TokenStream) -> String {
    pretty(super::qemu_test(arguments, item))
}

fn pretty(tokens: TokenStream) -> String {
    let text = tokens.to_string();
    prettyplease::unparse(&syn::parse2(tokens).unwrap_or_else(|error| panic!("{error} in {text}")))
}

/// The messages of the expansion, in order, and whether the function is still there.
fn errors(arguments: TokenStream, item: TokenStream) -> Vec<String> {
    let file: syn::File = syn::parse2(super::qemu_test(arguments, item)).unwrap();
    let message = |item: &syn::Item| match item {
        syn::Item::Macro(item) if item.mac.path.segments.last().unwrap().ident == "compile_error" => Some(
            syn::parse2::<syn::LitStr>(item.mac.tokens.clone())
                .unwrap()
                .value(),
        ),
        _ => None,
    };
    file.items.iter().filter_map(message).collect()
}

/// The one message of an expansion that has one.
fn error(arguments: TokenStream, item: TokenStream) -> String {
    let mut errors = errors(arguments, item);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.remove(0)
}

fn a_test() -> TokenStream {
    quote!(
        fn boots(vm: &Machine) {
            body()
        }
    )
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

/// The `in_crate` call of a machine that may come from the crate's default fixture.
fn in_crate() -> TokenStream {
    quote!(::core::concat!(
        ::core::env!("CARGO_PKG_NAME"),
        "/",
        ::core::env!("CARGO_CRATE_NAME")
    ))
}

fn test_new(name: &str) -> TokenStream {
    quote! {
        ::qemu_test::__private::Test::new(
            ::core::env!("CARGO_PKG_NAME"), ::core::module_path!(), #name, ::core::file!(), ::core::line!(),
        )
    }
}

#[track_caller]
fn assert_expands(arguments: TokenStream, item: TokenStream, expected: TokenStream) {
    let (expanded, expected) = (expand(arguments, item), pretty(expected));
    assert!(
        expanded == expected,
        "expanded to\n{expanded}\nexpected\n{expected}"
    );
}

/// `tokens` as a `macro_rules!` macro passes on what it took as `$tokens:expr`.
fn passed_on(tokens: TokenStream) -> TokenTree {
    Group::new(Delimiter::None, tokens).into()
}
