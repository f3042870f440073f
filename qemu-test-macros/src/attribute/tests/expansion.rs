//! What a test becomes, by its arguments and its signature.

use quote::quote;

use super::{a_test, assert_expands, expand, in_crate, passed_on, test_new};

#[test]
fn a_test_is_one_call_into_the_library_with_the_function_inside() {
    let (in_crate, test_new) = (in_crate(), test_new("resumes"));
    assert_expands(
        quote!(
            args = ["-machine", "q35", ..EXTRA],
            wrapper = ["nice"],
            console,
            timeout = "90s"
        ),
        quote! {
            /// Resumes.
            #[ignore = "slow"]
            pub(crate) fn resumes(vm: &Machine) -> qemu_test::Result<()> {
                vm.command(qmp!(cont))?;
                Ok(())
            }
        },
        quote! {
            #[::core::prelude::v1::test]
            /// Resumes.
            #[ignore = "slow"]
            pub(crate) fn resumes() {
                fn resumes(vm: &Machine) -> qemu_test::Result<()> {
                    vm.command(qmp!(cont))?;
                    Ok(())
                }
                #test_new
                    .timeout(::core::time::Duration::new(90u64, 0u32))
                    .run(
                        [&|| ::qemu_test::__private::Setup::new("vm")
                            .in_crate(#in_crate)
                            .arg("-machine")
                            .arg("q35")
                            .args(EXTRA)
                            .wrapper_arg("nice")
                            .console()],
                        |[machine_0]| resumes(machine_0)
                    );
            }
        },
    );
}

#[test]
fn an_async_test_awaits_the_library_in_its_own_runtime() {
    let (in_crate, test_new) = (in_crate(), test_new("migrates"));
    assert_expands(
        quote!(machine = q35()),
        quote! {
            #[tokio::test(flavor = "multi_thread")]
            async fn migrates(source: &Machine, #[machine(args = more_args(), name = "there")] mut _target: &Machine) {
                body().await
            }
        },
        quote! {
            #[tokio::test(flavor = "multi_thread")]
            async fn migrates() {
                async fn migrates(source: &Machine, mut _target: &Machine) {
                    body().await
                }
                #test_new
                    .run_async(
                        [
                            &|| ::qemu_test::__private::Setup::new("source").machine(q35()),
                            &|| ::qemu_test::__private::Setup::new("target")
                                .in_crate(#in_crate)
                                .args(more_args())
                                .name("there")
                        ],
                        async |[machine_0, machine_1]| migrates(machine_0, machine_1).await
                    )
                    .await;
            }
        },
    );
}

#[test]
fn fixtures_and_guests_are_set_up_in_the_order_written() {
    let test_new = test_new("forks");
    assert_expands(
        quote!(
            expect_guest_panic,
            fixture = common::Linux { memory: 64 },
            isolation = boot,
            accel = tcg,
            qtest,
            allow_console_line = ["Oops", OTHER],
        ),
        quote!(
            fn forks(_: &Machine) {}
        ),
        quote! {
            #[::core::prelude::v1::test]
            fn forks() {
                fn forks(_: &Machine) {}
                #test_new
                    .run(
                        [&|| ::qemu_test::__private::Setup::new("machine")
                            .expect_guest_panic()
                            .fixture(common::Linux { memory: 64 })
                            .isolation(::qemu_test::fixture::Isolation::Boot)
                            .accel(::qemu_test::__private::Accel::Tcg)
                            .qtest()
                            .allow_console_line("Oops")
                            .allow_console_line(OTHER)],
                        |[machine_0]| forks(machine_0)
                    );
            }
        },
    );
}

#[test]
fn a_conditional_word_of_a_list_stays_conditional() {
    let (in_crate, test_new) = (in_crate(), test_new("boots"));
    assert_expands(
        quote!(
            args = [
                "-S",
                #[cfg(feature = "disk")]
                "-hda",
                "x"
            ]
        ),
        a_test(),
        quote! {
            #[::core::prelude::v1::test]
            fn boots() {
                fn boots(vm: &Machine) {
                    body()
                }
                #test_new
                    .run(
                        [&|| {
                            let setup = ::qemu_test::__private::Setup::new("vm").in_crate(#in_crate).arg("-S");
                            #[cfg(feature = "disk")]
                            let setup = setup.arg("-hda");
                            setup.arg("x")
                        }],
                        |[machine_0]| boots(machine_0)
                    );
            }
        },
    );
}

#[test]
fn crate_says_where_the_library_is() {
    let expanded = expand(quote!(crate = crate::vm::qemu, isolation = fork), a_test());
    assert!(!expanded.contains("::qemu_test::"), "{expanded}");
    assert!(
        expanded.contains("crate::vm::qemu::__private::Test::new"),
        "{expanded}"
    );
    assert!(
        expanded.contains("crate::vm::qemu::fixture::Isolation::Fork"),
        "{expanded}"
    );
}

#[test]
fn a_result_that_borrows_is_told_before_it_leaves_the_body() {
    let report = "::std::process::Termination::report(boots(machine_0))";
    for (ty, told_inside) in [
        (quote!(impl Termination), true),
        (quote!(Result<(), Box<dyn Error + '_>>), true),
        (quote!(Result<(), &str>), true),
        (quote!(Result<(), &'static str>), false),
        (quote!(Result<(), Box<dyn Error>>), false),
        (quote!(ExitCode), false),
    ] {
        let expanded = expand(quote!(), quote!(fn boots(vm: &Machine) -> #ty { body() }));
        assert_eq!(expanded.contains(report), told_inside, "{expanded}");
    }
    let expanded = expand(
        quote!(),
        quote!(
            fn boots(vm: &Machine) -> ! {
                body()
            }
        ),
    );
    assert!(
        expanded.contains("|[machine_0]| -> ! { boots(machine_0) }"),
        "{expanded}"
    );
    let never = passed_on(quote!(!));
    let of_a_macro = expand(quote!(), quote!(fn boots(vm: &Machine) -> #never { body() }));
    assert!(
        of_a_macro.contains("|[machine_0]| -> ! { boots(machine_0) }"),
        "{of_a_macro}"
    );
}

#[test]
fn machines_are_called_after_their_parameters_and_never_alike() {
    let expanded = expand(
        quote!(),
        quote!(
            fn t(r#type: &Machine, _disk: &Machine, disk: &Machine, _: &Machine, _: &Machine, mut x: &Vm) {}
        ),
    );
    let labels: Vec<_> = expanded
        .split("Setup::new(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(labels, ["type", "disk", "disk2", "machine", "machine2", "x"]);
}

#[test]
fn every_way_to_write_a_list_is_accepted() {
    for (list, calls) in [
        (quote!([]), ""),
        (quote!(["a", b,]), ".arg(\"a\").arg(b)"),
        (quote!([..a, ..b()]), ".args(a).args(b())"),
        (quote!(["x"; 2]), ".args([\"x\"; 2])"),
        (quote!(["a", "b"].iter()), ".args([\"a\", \"b\"].iter())"),
        (quote!(ARGS), ".args(ARGS)"),
        (quote!(vec!["a"]), ".args(vec![\"a\"])"),
        (
            quote!([format!("{a}; {b}"), if c { "x" } else { "y" }]),
            ".arg(format!(\"{a}; {b}\")).arg(if c",
        ),
    ] {
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        let expanded = squeezed(&expand(quote!(fixture = none, args = #list), a_test()));
        let expected = format!("Setup::new(\"vm\").without_fixture(){}", squeezed(calls));
        // `without_fixture` keeps the crate's default fixture out, so that the list follows at once.
        assert!(expanded.contains(&expected), "{list}: {expanded}");
    }
}

#[test]
fn what_a_macro_passes_on_is_seen_through() {
    let (none, limit, list) = (
        passed_on(quote!(none)),
        passed_on(quote!("90s")),
        passed_on(quote!(["a", ..b])),
    );
    let (list_of_another, whole) = (passed_on(quote!(["a"; 2])), passed_on(quote!(["a"].iter())));
    let machine = passed_on(quote!(&Machine));
    let expanded = expand(
        quote!(fixture = #none, timeout = #limit, args = #list, wrapper = #list_of_another),
        quote!(fn boots(vm: #machine) {}),
    );
    let squeezed = expanded.split_whitespace().collect::<String>();
    for part in [
        ".without_fixture()",
        "::new(90u64,0u32)",
        ".arg(\"a\").args(b)",
        ".wrapper([\"a\";2])",
    ] {
        assert!(squeezed.contains(part), "{part} in {expanded}");
    }
    assert!(expand(quote!(args = #whole), a_test()).contains(".args([\"a\"].iter())"));
}
