//! `qmp!`: a command, an event filter or a JSON object, written as Rust.
//!
//! [`parse`] reads the tokens into an [`ast`], [`resolve`] gives every name the spelling that QEMU has for it in its
//! [`schema`], and [`expand`] turns the result into calls of `qemu_test`'s own functions. What those do is
//! `qemu_test`'s business.

mod ast;
mod errors;
mod expand;
mod parse;
mod resolve;
mod schema;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::quote;

use self::errors::Errors;
use self::schema::Schema;

/// Expands `($crate) tokens`, where `$crate` is `qemu_test` by whatever path the caller reaches it.
///
/// With mistakes in the tokens, the expansion is an expression all the same, of the right type wherever the form is
/// recognisable: one mistake gives one message, and editors go on completing inside the values.
pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let schema = Schema::current();
    let expression = expression(input, schema);
    let tracking = schema.own.tracking();
    if tracking.is_empty() {
        return expression;
    }
    quote!({ #tracking #expression })
}

fn expression(input: TokenStream, schema: &'static Schema) -> TokenStream {
    let (library, input) = split_library(input);
    let mut errors = Errors::default();
    let mut parsed = parse::parse(input, &mut errors);
    resolve::resolve(&mut parsed, schema, &mut errors);
    let expression = expand::expand(&parsed, &library);
    if errors.is_empty() {
        return expression;
    }
    let errors = errors.into_compile_errors();
    // Without the block, a second `compile_error!` in expression position would be reported as a syntax error.
    quote!({ #errors #expression })
}

/// Takes the leading `(path)` off, which the `macro_rules!` face of this macro puts there.
fn split_library(input: TokenStream) -> (TokenStream, TokenStream) {
    let mut tokens = input.into_iter();
    match tokens.next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
            (group.stream(), tokens.collect())
        }
        first => (quote!(::qemu_test), first.into_iter().chain(tokens).collect()),
    }
}

#[cfg(test)]
mod tests;
