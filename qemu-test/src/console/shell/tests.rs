//! The promises of [`Shell`] to a test, kept with a real Linux guest whose console is a serial port.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use super::Shell;
use crate::Error;
use crate::testing::{Guest, PROMPT, linux};

const LONG: Duration = Duration::from_secs(60);

fn shell(guest: &Guest) -> Shell {
    guest.console().shell(PROMPT).timeout(LONG)
}

#[test]
fn a_shell_can_go_to_other_threads_and_through_a_caught_panic() {
    fn check<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    check::<Shell>();
}

#[test]
fn output_is_exact_whatever_it_is() {
    let guest = linux(&[]);
    let shell = shell(&guest);
    assert_eq!(shell.succeed("echo hello").unwrap(), "hello\n");
    assert_eq!(shell.succeed("true").unwrap(), "");
    assert_eq!(shell.succeed("printf 'no newline'").unwrap(), "no newline");
    assert_eq!(
        shell.succeed("printf '\\n\\n~ # \\r\\n\\t\\033[1m'").unwrap(),
        "\n\n~ # \r\n\t\x1b[1m"
    );
    assert_eq!(shell.succeed("echo 'größe ✓'").unwrap(), "größe ✓\n");
    assert_eq!(shell.succeed("printf 'a\\0b\\377'").unwrap(), "a\0b\u{fffd}");
    assert_eq!(
        shell
            .succeed(r#"printf '%s\n' "it's" '"$HOME"' \\ '!' '%s'"#)
            .unwrap(),
        "it's\n\"$HOME\"\n\\\n!\n%s\n"
    );
    assert_eq!(
        shell
            .succeed("cat <<END\none\n\ttab\nEND\nfor i in 1 2; do\n  echo $i\ndone")
            .unwrap(),
        "one\n\ttab\n1\n2\n"
    );
    assert_eq!(shell.succeed("# a comment alone").unwrap(), "");
    assert_eq!(shell.succeed("cat").unwrap(), "", "standard input is empty");
    let long = "x".repeat(5000);
    assert_eq!(
        shell.succeed(format!("echo {long}")).unwrap(),
        format!("{long}\n")
    );
    let megabyte = shell.succeed("yes 0123456789abcde | head -c 1048576").unwrap();
    assert!(megabyte == "0123456789abcde\n".repeat(65536));
}

#[test]
fn a_status_is_told_and_no_command_ends_the_conversation() {
    let guest = linux(&[]);
    let shell = shell(&guest);
    assert_eq!(
        shell.run("echo out; echo err >&2; exit 3").unwrap(),
        super::Output {
            status: 3,
            stdout: "out\n".into()
        }
    );
    assert_eq!(shell.run("kill -9 $(sh -c 'echo $PPID')").unwrap().status, 137);
    assert_eq!(shell.run("no-such-program").unwrap().status, 127);
    assert_ne!(shell.run("echo 'unfinished").unwrap().status, 0);
    assert_ne!(shell.run("if; fi )").unwrap().status, 0);
    assert_eq!(shell.run("set -e; false; echo no").unwrap().stdout, "");
    assert_eq!(shell.run("exec echo replaced").unwrap().stdout, "replaced\n");
    assert_eq!(shell.fail("echo why; false").unwrap(), "why\n");
    shell
        .succeed("mkdir -p '/tmp/a b'; cd '/tmp/a b'; export WHO=\"it's me\"; LOCAL=1")
        .unwrap();
    assert_eq!(
        shell.succeed("pwd; echo $WHO $LOCAL").unwrap(),
        "/tmp/a b\nit's me\n"
    );
    shell.succeed("sleep 1000 & echo started; cd /").unwrap();
    assert_eq!(shell.succeed("pidof sleep | wc -w").unwrap(), "1\n");

    let error = shell
        .succeed("echo some output; echo the reason >&2; exit 4")
        .unwrap_err();
    assert!(matches!(error, Error::Guest(_)), "{error}");
    let text = error.to_string();
    for part in [
        "echo some output; echo the reason",
        "exited with status 4",
        "\n  some output",
        "\n  the reason",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let error = shell.fail("true\nprintf fine").unwrap_err().to_string();
    assert!(
        error.contains("exited with status 0") && error.contains("printf fine"),
        "{error}"
    );
    let error = shell
        .succeed("kill -TERM $(sh -c 'echo $PPID')")
        .unwrap_err()
        .to_string();
    assert!(error.contains("status 143 (signal SIGTERM)"), "{error}");
}

#[test]
fn kernel_messages_and_other_programs_do_not_disturb_output() {
    let guest = linux(&["-append", "console=ttyS0 loglevel=7 no_timer_check"]);
    let shell = shell(&guest);
    // Every message goes to the console at once, wherever the output happens to be.
    shell
        .succeed(
            "(while echo '<4>a message of the kernel' >/dev/kmsg; do usleep 3000; done) & echo $! >/tmp/k",
        )
        .unwrap();
    shell
        .succeed("(while echo a line of a program >&2; do usleep 5000; done) & echo $! >/tmp/p")
        .unwrap();
    let expected: String = (1..=20_000).map(|i| format!("{i}\n")).collect();
    assert!(shell.succeed("seq 20000").unwrap() == expected);
    for i in 0..20 {
        assert_eq!(shell.succeed(format!("echo {i}")).unwrap(), format!("{i}\n"));
    }
    shell.write_file("/tmp/in", &expected).unwrap();
    assert!(shell.read_file("/tmp/in").unwrap() == expected.as_bytes());
    shell.succeed("kill $(cat /tmp/k /tmp/p)").unwrap();
    let messages = guest
        .console()
        .output()
        .matches("a message of the kernel")
        .count();
    assert!(messages > 100, "only {messages} messages: nothing was disturbed");
}

#[test]
fn a_command_that_does_not_end_is_given_up_and_the_next_one_runs() {
    let guest = linux(&[]);
    let shell = shell(&guest);
    shell.succeed("true").unwrap();
    let short = guest.console().shell(PROMPT).timeout(Duration::from_millis(300));
    let error = short.run("echo waiting for godot >&2; sleep 1000").unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("running `echo waiting for godot") && text.ends_with("waiting for godot"),
        "{text}"
    );
    assert_eq!(shell.succeed("echo again").unwrap(), "again\n");
    assert_eq!(shell.succeed("pidof sleep || echo none").unwrap(), "none\n");
}

#[test]
fn a_condition_is_waited_for_until_it_holds_or_the_time_is_over() {
    let guest = linux(&[]);
    let shell = shell(&guest);
    shell.succeed("(sleep 1; echo done >/tmp/flag) &").unwrap();
    assert_eq!(
        shell.wait_until_succeeds("cat /tmp/flag", LONG).unwrap(),
        "done\n"
    );
    let error = shell
        .wait_until_succeeds("cat /tmp/never", Duration::from_millis(500))
        .unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("waiting until `cat /tmp/never` succeeds"), "{text}");
    assert!(
        text.contains("status 1") && text.contains("No such file"),
        "{text}"
    );
}

#[test]
fn files_are_copied_exactly_both_ways() {
    let guest = linux(&[]);
    let shell = shell(&guest);
    let bytes: Vec<u8> = (0..100_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    shell.write_file("/tmp/it's a file", &bytes).unwrap();
    assert!(shell.read_file("/tmp/it's a file").unwrap() == bytes);
    shell.write_file("/tmp/empty", "").unwrap();
    assert_eq!(shell.read_file("/tmp/empty").unwrap(), b"");
    assert!(!shell.read_file("/proc/cpuinfo").unwrap().is_empty());
    let host = tempfile::tempdir().unwrap();
    let (from, to) = (host.path().join("program"), host.path().join("copy"));
    std::fs::write(&from, "#!/bin/sh\necho I ran\n").unwrap();
    std::fs::set_permissions(&from, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    shell.copy_in(&from, "/tmp/program").unwrap();
    assert_eq!(shell.succeed("/tmp/program").unwrap(), "I ran\n");
    shell.copy_out("/tmp/program", &to).unwrap();
    assert_eq!(std::fs::read(to).unwrap(), std::fs::read(from).unwrap());

    let error = shell.read_file("/no/such/file").unwrap_err().to_string();
    assert!(
        error.contains("reading the guest's file `/no/such/file`") && error.contains("no such file"),
        "{error}"
    );
    let error = shell.write_file("/proc/version", "x").unwrap_err().to_string();
    assert!(
        error.contains("writing the guest's file `/proc/version`"),
        "{error}"
    );
    assert!(matches!(
        shell.copy_in("/no/such/file", "/tmp/x"),
        Err(Error::Io(_))
    ));
}

#[test]
fn what_a_guest_lacks_is_named_and_hex_does_without_base64() {
    let guest = linux(&[]);
    let console = guest.console();
    // This busybox finds its own programs even where they are no files, so the question is answered wrongly.
    console
        .send_line("command() { [ $2 != base64 ]; }; echo h''idden")
        .unwrap();
    console.wait_for("hidden", LONG).unwrap();
    assert_eq!(
        shell(&guest).succeed("seq 100 | tail -n 3; echo $qt_c").unwrap(),
        "98\n99\n100\nhex\n"
    );
    console
        .send_line("unset -f qt; command() { case $2 in base64 | od | sed) return 1; esac; }; echo g''one")
        .unwrap();
    console.wait_for("gone", LONG).unwrap();
    let error = shell(&guest).succeed("true").unwrap_err();
    assert!(matches!(error, Error::Guest(_)), "{error}");
    assert!(
        error.to_string().contains("the guest has no sed, no base64"),
        "{error}"
    );
}

#[test]
fn a_new_shell_on_the_console_is_made_ready_again() {
    let guest = linux(&[]);
    let shell = shell(&guest);
    assert_eq!(shell.succeed("echo one").unwrap(), "one\n");
    guest.console().send_line("exit").unwrap();
    guest.console().wait_for("BusyBox", LONG).unwrap();
    assert_eq!(shell.succeed("echo two").unwrap(), "two\n");
}

#[test]
fn two_threads_take_turns() {
    let guest = linux(&[]);
    let shell = shell(&guest);
    thread::scope(|scope| {
        let threads = ["a", "b"].map(|name| {
            let shell = &shell;
            scope.spawn(move || {
                (0..5).all(|i| shell.succeed(format!("echo {name}{i}")).unwrap() == format!("{name}{i}\n"))
            })
        });
        assert!(threads.map(|thread| thread.join().unwrap()) == [true, true]);
    });
}

#[test]
fn a_guest_without_a_shell_is_told_by_the_prompt_that_did_not_come() {
    let guest = crate::testing::boot(b"no shell here\r\n");
    let started = Instant::now();
    let shell = guest.console().shell("$ ").timeout(Duration::from_secs(3));
    let error = shell.run("true").unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("waiting for the shell's prompt `$ ` on the console"),
        "{error}"
    );
    assert!(started.elapsed() < LONG);
}
