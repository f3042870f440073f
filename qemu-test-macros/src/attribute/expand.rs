//! The generated test: one thin call into the library, with the user's function inside, intact.
//!
//! Everything generated is named by its full path, and what it binds is invisible to the user's code, so that nothing
//! in the user's module can come between. What the user wrote keeps its spans: errors and lints in it are told where
//! it stands.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{FnArg, ReturnType, Signature, Type};

use super::arguments::{Argument, Key};
use super::parse::Function;
use super::placement::{Role, Sorted};
use super::validate::{self, Parameter, Test};
use super::values::{Value, Word};

/// The test that `#[qemu_test]` stands for.
pub(super) fn test(test: &Test, function: &Function) -> TokenStream {
    let library = match &test.library {
        Some(path) => quote!(#path),
        None => quote!(::qemu_test),
    };
    let visibility = &function.visibility;
    let Signature {
        asyncness,
        fn_token,
        ident,
        ..
    } = &function.signature;
    let outer = &test.attributes.outer;
    let marker = marker(outer);
    let misplaced = conditional_errors(test, function);
    let user_function = user_function(test, function);
    let call = call(test, function, &library);
    quote! {
        #misplaced
        #marker
        #(#outer)*
        #visibility #asyncness #fn_token #ident() {
            #user_function
            #call
        }
    }
}

/// The language's own `#[test]`, by a path that no import can change the meaning of, unless another attribute makes
/// this a test already.
fn marker(attributes: &[Sorted]) -> Option<TokenStream> {
    let mut conditions = Vec::new();
    for attribute in attributes {
        if let Role::Test { .. } = attribute.role {
            // Without a condition there is nothing left to do.
            conditions.push(attribute.condition.as_ref()?);
        }
    }
    Some(if conditions.is_empty() {
        quote!(#[::core::prelude::v1::test])
    } else {
        quote!(#[cfg_attr(not(any(#(#conditions),*)), ::core::prelude::v1::test)])
    })
}

/// A rule of `#[should_panic]` that is broken where a condition holds.
fn conditional_errors(test: &Test, function: &Function) -> TokenStream {
    let mut errors = TokenStream::new();
    for attribute in &test.attributes.outer {
        if let (Role::ShouldPanic { .. }, Some(condition)) = (&attribute.role, &attribute.condition)
            && let Err(error) = validate::check_returns_nothing(&function.signature.output)
        {
            let error = error.into_compile_error();
            errors.extend(quote!(#[cfg(#condition)] #error));
        }
    }
    errors
}

/// The function as the user wrote it, without what is about the test.
fn user_function(test: &Test, function: &Function) -> TokenStream {
    let inner = &test.attributes.inner;
    let mut signature = function.signature.clone();
    signature.inputs = test
        .parameters
        .iter()
        .map(|parameter| FnArg::Typed(parameter.typed.clone()))
        .collect();
    let body = &function.body;
    quote!(#(#inner)* #signature #body)
}

/// The call into the library.
fn call(test: &Test, function: &Function, library: &TokenStream) -> TokenStream {
    // As test runners have it: `r#type` keeps its `r#`.
    let name = function.signature.ident.to_string();
    let mut chain = Chain::new(
        "test",
        quote! {
            #library::__private::Test::new(
                ::core::env!("CARGO_PKG_NAME"),
                ::core::module_path!(),
                #name,
                ::core::file!(),
                ::core::line!(),
            )
        },
    );
    if let Some((name, duration)) = &test.timeout {
        chain.call(method(name, &quote!(#duration)));
    }
    for attribute in &test.attributes.outer {
        if let Role::ShouldPanic { expected } = &attribute.role {
            let expected = match expected {
                Some(text) => quote!(::core::option::Option::Some(#text)),
                None => quote!(::core::option::Option::None),
            };
            let condition = attribute
                .condition
                .as_ref()
                .map(|condition| quote!(#[cfg(#condition)]));
            chain.call_if(condition, quote!(.should_panic(#expected)));
        }
    }
    let setups = test.parameters.iter().map(|parameter| setup(parameter, library));
    let body = body(test, function);
    // A type that no test may return is told at that type.
    let returned = match &function.signature.output {
        ReturnType::Default => Span::call_site(),
        ReturnType::Type(_, ty) => ty.span(),
    };
    let at = |name: &str| Ident::new(name, Span::mixed_site().located_at(returned));
    let (run, wait) = match &function.signature.asyncness {
        None => (at("run"), None),
        Some(_) => (at("run_async"), Some(quote!(.await))),
    };
    chain.call(quote!(.#run([#(&|| #setups),*], #body) #wait));
    let Chain { statements, expr, .. } = chain;
    quote!(#statements #expr;)
}

/// The closure that hands the machines to the user's function.
fn body(test: &Test, function: &Function) -> TokenStream {
    let Signature {
        asyncness,
        ident,
        output,
        ..
    } = &function.signature;
    let machine = |position: usize, span: Span| Ident::new(&format!("machine_{position}"), span);
    let names = (0..test.parameters.len()).map(|position| machine(position, Span::mixed_site()));
    let values = test.parameters.iter().enumerate().map(|(position, parameter)| {
        // A parameter that is no machine is a type error; it is told at the parameter's type.
        let span = match &*parameter.typed.ty {
            Type::Reference(reference) => reference.elem.span(),
            other => other.span(),
        };
        machine(position, Span::mixed_site().located_at(span))
    });
    let wait = asyncness.as_ref().map(|_| quote!(.await));
    let returned = quote!(#ident(#(#values),*) #wait);
    match output {
        // The type is spelt out because inference would fall back to another one in older editions.
        ReturnType::Type(_, ty) if matches!(validate::plain(ty), Type::Never(_)) => {
            quote!(#asyncness |[#(#names),*]| -> ! { #returned })
        }
        // What borrows from the machine cannot leave the closure, but it can be told there how the test went.
        ReturnType::Type(_, ty) if borrows(ty) => {
            quote!(#asyncness |[#(#names),*]| ::std::process::Termination::report(#returned))
        }
        _ => quote!(#asyncness |[#(#names),*]| #returned),
    }
}

/// Whether a value of the type may hold on to the machines: it names a lifetime, or it is `impl Trait`, which captures
/// all there are.
fn borrows(ty: &Type) -> bool {
    struct Search(bool);
    impl<'ast> syn::visit::Visit<'ast> for Search {
        fn visit_lifetime(&mut self, lifetime: &'ast syn::Lifetime) {
            self.0 |= lifetime.ident != "static";
        }

        fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
            self.0 |= reference.lifetime.is_none();
            syn::visit::visit_type_reference(self, reference);
        }

        fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut search = Search(false);
    syn::visit::Visit::visit_type(&mut search, ty);
    search.0
}

/// The expression that sets a machine up. The library evaluates it when the test runs.
fn setup(parameter: &Parameter, library: &TokenStream) -> TokenStream {
    let label = &parameter.label;
    let mut chain = Chain::new("setup", quote!(#library::__private::Setup::new(#label)));
    // What comes from a fixture or a builder of its own has no use for the crate's default fixture.
    if !parameter
        .setup
        .iter()
        .any(|argument| matches!(argument.key, Key::Fixture | Key::Machine))
    {
        chain.call(quote! {
            .in_crate(::core::concat!(::core::env!("CARGO_PKG_NAME"), "/", ::core::env!("CARGO_CRATE_NAME")))
        });
    }
    for argument in &parameter.setup {
        add_argument(&mut chain, argument, library);
    }
    let Chain { statements, expr, .. } = chain;
    if statements.is_empty() {
        expr
    } else {
        quote!({ #statements #expr })
    }
}

fn add_argument(chain: &mut Chain, argument: &Argument, library: &TokenStream) {
    let Argument { key, name, value } = argument;
    match value {
        Value::Flag => chain.call(method(name, &TokenStream::new())),
        Value::NoFixture => chain.call(quote!(.without_fixture())),
        Value::Variant(variant) => {
            let variant = Ident::new(
                &variant.to_string(),
                variant.span().resolved_at(Span::mixed_site()),
            );
            let path = match key {
                Key::Accel => quote!(#library::__private::Accel::#variant),
                _ => quote!(#library::fixture::Isolation::#variant),
            };
            chain.call(method(name, &path));
        }
        Value::Expr(expr) => chain.call(method(name, expr)),
        Value::Words(words) => {
            for word in words {
                add_word(chain, name, *key, word);
            }
        }
        // Of the test, and taken from the list long before.
        Value::Timeout(_) | Value::Path(_) => {}
    }
}

fn add_word(chain: &mut Chain, name: &Ident, key: Key, word: &Word) {
    let Word {
        attributes,
        splice,
        expr,
    } = word;
    let one = match key {
        Key::Args => "arg",
        Key::Wrapper => "wrapper_arg",
        _ => return chain.call_if(attributes_of(attributes), method(name, expr)),
    };
    let method = if splice.is_some() {
        method(name, expr)
    } else {
        method(&Ident::new(one, name.span()), expr)
    };
    chain.call_if(attributes_of(attributes), method);
}

fn attributes_of(attributes: &[syn::Attribute]) -> Option<TokenStream> {
    (!attributes.is_empty()).then(|| quote!(#(#attributes)*))
}

/// `.name(value)`, told at the user's own name for it: that is where an editor shows the method's documentation.
fn method(name: &Ident, value: &impl quote::ToTokens) -> TokenStream {
    let span = name.span().resolved_at(Span::mixed_site());
    let name = Ident::new(&name.to_string(), span);
    let value = value.to_token_stream();
    quote_spanned!(span=> .#name(#value))
}

/// Calls one after the other on a value, of which some may be conditional.
struct Chain {
    variable: Ident,
    statements: TokenStream,
    expr: TokenStream,
}

impl Chain {
    fn new(variable: &str, expr: TokenStream) -> Self {
        Self {
            variable: Ident::new(variable, Span::mixed_site()),
            statements: TokenStream::new(),
            expr,
        }
    }

    fn call(&mut self, call: TokenStream) {
        self.expr.extend(call);
    }

    /// A call below attributes. Those can stand on a statement only.
    fn call_if(&mut self, attributes: Option<TokenStream>, call: TokenStream) {
        let Some(attributes) = attributes else {
            return self.call(call);
        };
        let Self {
            variable,
            statements,
            expr,
        } = self;
        statements.extend(quote! {
            let #variable = #expr;
            #attributes
            let #variable = #variable #call;
        });
        *expr = variable.to_token_stream();
    }
}
