//! The procedural macros of `qemu-test`. Use them through that crate, which re-exports them.

mod attribute;
mod qmp;

use proc_macro::TokenStream;

// The examples are compiled by `qemu-test`, which they use.
#[cfg_attr(not(doctest), doc = include_str!("attribute/qemu_test.md"))]
#[proc_macro_attribute]
pub fn qemu_test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute::qemu_test(arguments.into(), item.into()).into()
}

/// What `qemu_test::qmp!` hands its tokens to, with the path of `qemu_test` in front; see there.
#[doc(hidden)]
#[proc_macro]
pub fn qmp(input: TokenStream) -> TokenStream {
    qmp::expand(input.into()).into()
}
