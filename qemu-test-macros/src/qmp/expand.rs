//! Turns what a `qmp!` says into calls of `qemu_test`'s functions.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::Expr;

use super::ast::{Call, Input, Object, Value};

/// An expression of type `Command`, `EventFilter` or `serde_json::Value`.
pub(super) fn expand(input: &Input, library: &TokenStream) -> TokenStream {
    let expander = Expander { library };
    match input {
        Input::Command(call) => expander.call(call, "Command", "arguments"),
        Input::Event(call) => expander.call(call, "EventFilter", "data"),
        Input::Value(object) => expander.object(object),
        Input::Unknown => TokenStream::new(),
    }
}

struct Expander<'a> {
    library: &'a TokenStream,
}

impl Expander<'_> {
    fn call(&self, call: &Call, constructor: &str, takes: &str) -> TokenStream {
        let library = self.library;
        let name = &call.name.wire;
        let object = call.object.as_ref().map(|object| {
            let takes = ident(takes);
            let object = self.object(object);
            quote!(.#takes(#object))
        });
        match &call.known_in {
            Some(versions) => quote!(#library::__private::command(#name, #versions) #object),
            None => {
                let constructor = ident(constructor);
                quote!(#library::qmp::#constructor::new(#name) #object)
            }
        }
    }

    fn object(&self, object: &Object) -> TokenStream {
        let library = self.library;
        let fields = object.fields.iter().map(|field| {
            let key = &field.key.wire;
            match &field.value {
                Value::Expr(expr) if field.optional => {
                    let value = borrowed(expr);
                    quote!(.optional(#key, #value))
                }
                Value::Expr(expr) => {
                    let value = borrowed(expr);
                    quote!(.field(#key, #value))
                }
                other => {
                    let value = self.value(other);
                    quote!(.value(#key, #value))
                }
            }
        });
        let merge = object.merge.as_ref().map(|merged| {
            let merged = borrowed(merged);
            quote!(.merge(#merged))
        });
        quote!(#library::__private::Object::new() #(#fields)* #merge .build())
    }

    /// What is no expression of the user's.
    fn value(&self, value: &Value) -> TokenStream {
        let library = self.library;
        match value {
            // A filter's `null` is what matches anything.
            Value::Null(_) | Value::Any | Value::Unreadable => quote!(#library::__private::NULL),
            Value::Object(object) => self.object(object),
            Value::Array(array) => self.array(&array.elements),
            Value::Expr(expr) => expr.to_token_stream(),
        }
    }

    fn array(&self, elements: &[Value]) -> TokenStream {
        let library = self.library;
        let elements = elements.iter().map(|element| match element {
            Value::Expr(expr) => {
                let element = borrowed(expr);
                quote!(.item(#element))
            }
            other => {
                let element = self.value(other);
                quote!(.value(#element))
            }
        });
        quote!(#library::__private::Array::new() #(#elements)* .build())
    }
}

fn ident(name: &str) -> TokenTree {
    proc_macro2::Ident::new(name, Span::call_site()).into()
}

/// `&(expr)`: the parentheses keep `1 << 20` one value. Both ends have the place of the expression, so that rustc
/// points there and nowhere else when it is no value that can be serialised.
fn borrowed(expr: &Expr) -> TokenStream {
    let tokens = expr.to_token_stream();
    let here = |token: Option<TokenTree>| {
        let span = token.map_or_else(Span::call_site, |token| token.span());
        Span::mixed_site().located_at(span)
    };
    let mut trees = tokens.clone().into_iter();
    let first = trees.next();
    let start = here(first.clone());
    let end = here(trees.last().or(first));
    let mut group = Group::new(Delimiter::Parenthesis, tokens);
    group.set_span(end);
    quote_spanned!(start=> &#group)
}
