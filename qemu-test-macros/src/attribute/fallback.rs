//! What is left when a rule is broken: the error, and the user's function as an ordinary one, so that the mistake
//! gives its own message only, and that an editor goes on completing in the body.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, FnArg};

use super::parse::Function;
use super::placement::{Attributes, Role};

/// The errors and the function, without all that would make a test of it.
pub(super) fn of_function(error: &Error, function: &Function) -> TokenStream {
    let error = error.to_compile_error();
    let mut signature = function.signature.clone();
    // That is an error of the language too.
    if signature.variadic.is_some() {
        return error;
    }
    for input in &mut signature.inputs {
        if let FnArg::Typed(parameter) = input {
            parameter
                .attrs
                .retain(|attribute| !attribute.path().is_ident("machine"));
        }
    }
    let Attributes { outer, inner } = Attributes::sort(&function.attributes);
    let kept = outer
        .iter()
        .chain(&inner)
        .filter(|attribute| matches!(attribute.role, Role::Plain));
    let (visibility, body) = (&function.visibility, &function.body);
    quote! {
        #error
        #(#kept)*
        #[allow(dead_code)]
        #visibility #signature #body
    }
}

/// The error and an item that is no function.
pub(super) fn of_any_item(error: &Error, item: TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#error #item)
}
