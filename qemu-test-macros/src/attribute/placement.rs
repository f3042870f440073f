//! Which of the function's attributes go on the generated test, and which stay with the user's own function in it.
//!
//! Nearly all are about the test: its documentation, `#[cfg]`, `#[ignore]`, `#[should_panic]`, another test attribute,
//! `#[serial]`, which must hold the machine's launch too. Lint levels go there as well: they reach the function inside.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Attribute, Expr, Lit, LitStr, Meta, Path, Token};

/// The attributes of a function, sorted.
#[derive(Default)]
pub(super) struct Attributes {
    /// For the generated test.
    pub(super) outer: Vec<Sorted>,
    /// For the user's function inside.
    pub(super) inner: Vec<Sorted>,
}

/// One attribute; of `#[cfg_attr(A, x, y)]` each of `x` and `y` is one, under the condition `A`.
pub(super) struct Sorted {
    tokens: TokenStream,
    pub(super) condition: Option<TokenStream>,
    pub(super) role: Role,
}

/// What an attribute means to the expansion.
pub(super) enum Role {
    /// A test attribute: there must be no second one. `true` for the language's own, spelt in full.
    Test {
        builtin: bool,
    },
    ShouldPanic {
        expected: Option<LitStr>,
    },
    /// The attribute of this crate once more.
    Again(Path),
    /// About how a function is compiled or documented: no test attribute, no other macro.
    Plain,
    Other,
}

impl quote::ToTokens for Sorted {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.tokens.clone());
    }
}

impl Attributes {
    pub(super) fn sort(attributes: &[Attribute]) -> Self {
        let mut sorted = Self::default();
        for attribute in attributes {
            sorted.add(attribute, &attribute.meta, None);
        }
        sorted
    }

    fn add(&mut self, attribute: &Attribute, meta: &Meta, condition: Option<TokenStream>) {
        if let Some((predicate, metas)) = conditional(meta) {
            let condition = Some(match &condition {
                Some(outer) => quote!(all(#outer, #predicate)),
                None => quote!(#predicate),
            });
            for meta in &metas {
                self.add(attribute, meta, condition.clone());
            }
            return;
        }
        let tokens = match &condition {
            None => quote!(#attribute),
            Some(condition) => quote_spanned!(attribute.span()=> #[cfg_attr(#condition, #meta)]),
        };
        let sorted = Sorted {
            tokens,
            condition,
            role: role(meta),
        };
        if belongs_to_body(meta.path()) {
            self.inner.push(sorted)
        } else {
            self.outer.push(sorted)
        }
    }
}

/// `cfg_attr(PREDICATE, ATTRIBUTE, ...)`, which the compiler has not looked at yet where it stands below ours.
fn conditional(meta: &Meta) -> Option<(Meta, Punctuated<Meta, Token![,]>)> {
    let Meta::List(list) = meta else { return None };
    if !list.path.is_ident("cfg_attr") {
        return None;
    }
    list.parse_args_with(|input: ParseStream<'_>| {
        let predicate = input.parse()?;
        let metas = match input.parse::<Option<Token![,]>>()? {
            Some(_) => Punctuated::parse_terminated(input)?,
            None => Punctuated::new(),
        };
        Ok((predicate, metas))
    })
    // Not as it should be: the compiler will say so, with the attribute as it was written.
    .ok()
}

fn role(meta: &Meta) -> Role {
    let path = meta.path();
    let names: Vec<_> = path
        .segments
        .iter()
        .map(|segment| segment.ident.to_string())
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    match names.as_slice() {
        [.., "qemu_test"] | [.., "qemu_test", "test"] => Role::Again(path.clone()),
        [.., "prelude", _, "test"] => Role::Test { builtin: true },
        // `#[rstest]` makes a `#[test]` of its own unless it sees one.
        [.., "test" | "rstest"] => Role::Test { builtin: false },
        ["should_panic"] => Role::ShouldPanic {
            expected: expected(meta),
        },
        [
            "doc" | "cfg" | "allow" | "expect" | "warn" | "deny" | "forbid" | "deprecated" | "must_use"
            | "track_caller" | "inline" | "cold" | "target_feature",
        ] => Role::Plain,
        _ => Role::Other,
    }
}

/// What belongs to the code of the body, or names its parameters, as `#[instrument(skip(vm))]` of tracing does.
fn belongs_to_body(path: &Path) -> bool {
    ["track_caller", "inline", "cold", "target_feature"]
        .iter()
        .any(|name| path.is_ident(name))
        || path
            .segments
            .last()
            .is_some_and(|last| last.ident == "instrument")
}

/// The text of `#[should_panic = "..."]` or `#[should_panic(expected = "...")]`.
fn expected(meta: &Meta) -> Option<LitStr> {
    let value = match meta {
        Meta::Path(_) => return None,
        Meta::NameValue(pair) => pair.value.clone(),
        Meta::List(list) => list.parse_args::<syn::MetaNameValue>().ok()?.value,
    };
    match value {
        Expr::Lit(literal) => match literal.lit {
            Lit::Str(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}
