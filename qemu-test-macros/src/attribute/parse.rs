//! The function under the attribute: its signature in pieces, its body as it is.
//!
//! The body stays a group of tokens that nobody looks into: that is quick, keeps every span, and lets an editor
//! complete inside a body that does not parse yet.

use proc_macro2::{Group, TokenStream};
use syn::parse::{ParseStream, Parser as _};
use syn::{Attribute, Error, Result, Signature, Visibility};

/// A function as the user wrote it.
pub(super) struct Function {
    pub(super) attributes: Vec<Attribute>,
    pub(super) visibility: Visibility,
    pub(super) signature: Signature,
    pub(super) body: Group,
}

/// Takes the function apart.
pub(super) fn function(item: TokenStream) -> Result<Function> {
    (|input: ParseStream<'_>| {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let not_a_function = Error::new(
            input.span(),
            "`#[qemu_test]` goes on a function, which is the test",
        );
        if !is_function(input) {
            let _rest: TokenStream = input.parse()?;
            return Err(not_a_function);
        }
        let signature = input.parse()?;
        let body = input
            .parse()
            .map_err(|error: Error| Error::new(error.span(), "a test needs a body"))?;
        Ok(Function {
            attributes,
            visibility,
            signature,
            body,
        })
    })
    .parse2(item)
}

/// Whether `fn` comes before anything that has a body or ends: `const fn` is a function, `const X: fn()` is none.
fn is_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    while !ahead.is_empty() {
        if ahead.peek(syn::Token![fn]) {
            return true;
        }
        let qualifies = ahead.peek(syn::Token![const])
            || ahead.peek(syn::Token![async])
            || ahead.peek(syn::Token![unsafe])
            || ahead.peek(syn::Token![extern])
            || ahead.peek(syn::LitStr);
        if !qualifies || ahead.parse::<proc_macro2::TokenTree>().is_err() {
            return false;
        }
    }
    false
}
