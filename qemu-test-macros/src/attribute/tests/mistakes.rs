//! What is left, and said, when a rule is broken. Where it is said, the compile-fail tests show.

use proc_macro2::TokenTree;
use quote::quote;

use super::{a_test, error, errors, expand};

#[test]
fn a_broken_rule_leaves_an_ordinary_function_and_one_message() {
    let item = quote! {
        /// Boots.
        #[tokio::test]
        #[should_panic]
        #[cfg(unix)]
        #[serial]
        async fn boots(#[machine(qtest)] vm: &Machine) {
            body()
        }
    };
    let expanded = expand(quote!(cosnole), item);
    let (error, function) = expanded.split_once("\n}\n").unwrap();
    assert!(error.starts_with("::core::compile_error! {\n"), "{error}");
    assert_eq!(
        function,
        "/// Boots.\n#[cfg(unix)]\n#[allow(dead_code)]\nasync fn boots(vm: &Machine) {\n    body()\n}\n"
    );
}

#[test]
fn the_body_is_not_looked_into() {
    // `vm.` is what an editor sends while the user types.
    let tokens = super::super::qemu_test(quote!(), quote!(fn boots(vm: &Machine) { vm. }));
    assert!(
        tokens
            .into_iter()
            .any(|token| matches!(token, TokenTree::Group(group) if group.to_string().contains("vm .")))
    );
}

#[test]
fn an_unknown_argument_lists_what_is_accepted_the_nearest_first() {
    let message = error(quote!(cosnole), a_test());
    assert!(
        message.starts_with("unknown argument `cosnole`: did you mean `console`? accepted are `console`, "),
        "{message}"
    );
    for key in [
        "args",
        "wrapper",
        "timeout",
        "isolation",
        "crate",
        "expect_guest_panic",
    ] {
        assert!(message.contains(&format!("`{key}`")), "{message}");
    }
    let message = error(
        quote!(),
        quote!(
            fn t(#[machine(timeuot = "1s")] vm: &Machine) {}
        ),
    );
    assert!(
        message.starts_with("unknown argument `timeuot`") && !message.contains("`timeout`"),
        "{message}"
    );
}

#[test]
fn each_of_several_mistakes_has_its_message() {
    let messages = errors(
        quote!(
            cosnole = 1,
            arg = ["x"],
            accel = "kvm",
            timeout = 90,
            args = [],
            args = []
        ),
        quote!(
            const fn t<T>(vm: Machine, disk: &mut Machine) {}
        ),
    );
    assert_eq!(messages.len(), 9, "{messages:#?}");
}

#[test]
fn text_in_place_of_a_list_or_of_a_builder_is_shown_where_it_goes() {
    assert_eq!(
        error(quote!(args = "-m  64"), a_test()),
        r#"`args` takes a list of words: `args = ["-m", "64"]`"#
    );
    assert_eq!(
        error(quote!(wrapper = "nice"), a_test()),
        r#"`wrapper` takes a list of words: `wrapper = ["nice"]`"#
    );
    assert_eq!(
        error(quote!(args = ["-m", 64, ..MORE]), a_test()),
        r#"a word of a command line is text: `"64"`"#
    );
    assert_eq!(
        error(quote!(machine = "q35"), a_test()),
        r#"`machine` is a `MachineBuilder` to start from; QEMU's own goes into `args = ["-machine", "q35"]`"#
    );
}
