//! `#[qemu_test(...)]`: parse what was written, check it, and write one thin call into the library.
//!
//! ```text
//! parse      the function, taken apart; `arguments` and `values`: the attribute's; `placement`: the other attributes
//! validate   the rules of the attribute; what comes out can be expanded without a further question
//! expand     the `#[test]` function, with the user's own function inside
//! fallback   what is left of the user's function when a rule is broken
//! ```
//!
//! What a machine is, and how a test runs, is the library's business: nothing here knows of QEMU but the names of
//! the arguments.

mod arguments;
mod expand;
mod fallback;
mod mistakes;
mod parse;
mod placement;
mod spelling;
#[cfg(test)]
mod tests;
mod validate;
mod values;

use proc_macro2::TokenStream;

/// The attribute on a function, or its errors and the function.
pub(crate) fn qemu_test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = match parse::function(item.clone()) {
        Ok(function) => function,
        Err(error) => return fallback::of_any_item(&error, item),
    };
    let test = match arguments::of_attribute(arguments) {
        Ok(arguments) => validate::test(arguments, &function),
        // The function may break rules of its own.
        Err(mut error) => {
            validate::test(Vec::new(), &function)
                .err()
                .into_iter()
                .for_each(|more| error.combine(more));
            Err(error)
        }
    };
    match test {
        Ok(test) => expand::test(&test, &function),
        Err(error) => fallback::of_function(&error, &function),
    }
}
