//! What becomes of the attributes beside ours.

use quote::quote;

use super::{a_test, count, expand, pretty};

#[test]
fn any_test_attribute_is_kept_and_not_doubled() {
    for attribute in [
        quote!(#[test]),
        quote!(#[core::prelude::v1::test]),
        quote!(#[::std::prelude::rust_2024::test]),
        quote!(#[test_log::test]),
        quote!(#[test_log::test(tokio::test)]),
        quote!(#[async_std::test]),
        quote!(#[rstest]),
    ] {
        let item = a_test();
        let expanded = expand(quote!(), quote!(#attribute #item));
        let attribute = pretty(quote!(#attribute fn x() {}));
        let attribute = attribute.lines().next().unwrap();
        assert_eq!(
            count(&expanded, "test]") + count(&expanded, "test("),
            count(attribute, "test]") + count(attribute, "test("),
            "{expanded}"
        );
        assert!(expanded.starts_with(attribute), "{expanded}");
    }
}

#[test]
fn a_test_attribute_under_a_condition_replaces_ours_under_that_condition() {
    let item = a_test();
    let expanded = expand(
        quote!(),
        quote!(#[cfg_attr(feature = "log", test_log::test, ignore)] #item),
    );
    assert!(
        expanded.starts_with(
            "#[cfg_attr(not(any(feature = \"log\")), ::core::prelude::v1::test)]\n\
             #[cfg_attr(feature = \"log\", test_log::test)]\n\
             #[cfg_attr(feature = \"log\", ignore)]\n\
             fn boots() {"
        ),
        "{expanded}"
    );
}

#[test]
fn an_expected_panic_is_announced_with_its_text() {
    let item = a_test();
    for (attribute, call) in [
        (
            quote!(#[should_panic]),
            ".should_panic(::core::option::Option::None)",
        ),
        (
            quote!(#[should_panic(expected = "no disk")]),
            ".should_panic(::core::option::Option::Some(\"no disk\"))",
        ),
        (
            quote!(#[should_panic = "no disk"]),
            ".should_panic(::core::option::Option::Some(\"no disk\"))",
        ),
    ] {
        let expanded = expand(quote!(), quote!(#attribute #item));
        assert!(expanded.contains(call), "{expanded}");
        assert!(
            expanded.starts_with("#[::core::prelude::v1::test]\n#[should_panic"),
            "{expanded}"
        );
    }
    let expanded = expand(
        quote!(),
        quote!(#[cfg_attr(all(unix), cfg_attr(miri, should_panic))] #item),
    );
    assert!(
        expanded.contains("#[cfg(all(all(unix), miri))]\n    let test = test.should_panic("),
        "{expanded}"
    );
    assert!(
        expanded.contains("#[cfg_attr(all(all(unix), miri), should_panic)]"),
        "{expanded}"
    );
}

#[test]
fn what_is_about_code_or_parameters_stays_with_the_function() {
    let expanded = expand(
        quote!(),
        quote! {
            #[track_caller]
            #[serial]
            #[tracing::instrument(skip(vm))]
            #[expect(unused)]
            fn boots(#[allow(unused)] vm: &Machine) {}
        },
    );
    let (outer, inner) = expanded.split_once("fn boots() {").unwrap();
    assert_eq!(
        outer,
        "#[::core::prelude::v1::test]\n#[serial]\n#[expect(unused)]\n"
    );
    assert!(
        inner.trim_start().starts_with(
            "#[track_caller]\n    #[tracing::instrument(skip(vm))]\n    fn boots(#[allow(unused)] vm: &Machine) {}"
        ),
        "{inner}"
    );
}
