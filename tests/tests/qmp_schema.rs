//! `qmp!` and QEMU's schema from the outside: what it says of names and values that QEMU does not have.

#[test]
fn what_qemu_does_not_have_is_an_error_at_its_token() {
    trybuild::TestCases::new().compile_fail("tests/ui/qmp/*.rs");
}
