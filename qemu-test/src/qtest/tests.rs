//! The promises of [`Qtest`], kept with a real QEMU.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use super::{Endianness, Irq, Qtest};
use crate::Error;
use crate::interrupt::Interrupt;
use crate::testing::{Guest, pair};

const LONG: Duration = Duration::from_secs(30);

fn start(arguments: &[&str]) -> Guest {
    let ours = ["-machine", "q35", "-accel", "qtest", "-accel", "tcg", "-S"];
    let qtest = ["-qtest", "chardev:{qtest}", "-qtest-log", "none"];
    Guest::start(&[&ours[..], &qtest, arguments].concat())
}

/// A client whose other end is the test's own: for what QEMU cannot be made to answer on demand.
fn bare(limit: Duration) -> (Qtest, UnixStream) {
    let (ours, theirs) = pair();
    (
        Qtest::new(ours, Interrupt::new("vm").unwrap(), limit),
        theirs.into(),
    )
}

#[test]
fn a_handle_can_go_to_other_threads_and_through_a_caught_panic() {
    fn check<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    check::<Qtest>();
}

#[test]
fn ports_read_back_in_every_width() {
    let guest = start(&[]);
    let qtest = &guest.qtest;
    qtest.outl(0xcf8, 0x8000_0000).unwrap();
    assert_eq!(qtest.inl(0xcf8).unwrap(), 0x8000_0000);
    assert_eq!(qtest.inl(0xcfc).unwrap(), 0x29c0_8086, "the q35 host bridge");
    assert_eq!(qtest.inw(0xcfc).unwrap(), 0x8086);
    assert_eq!(qtest.inb(0xcfd).unwrap(), 0x80);
    qtest.outw(0xcf8, 0x1234).unwrap();
    qtest.outb(0x70, 0x0f).unwrap();
    qtest.outb(0x71, 0x5a).unwrap();
    assert_eq!(
        qtest.inb(0x71).unwrap(),
        0x5a,
        "the shutdown status byte of the CMOS"
    );
}

#[test]
fn memory_reads_back_in_every_width_and_in_bulk() {
    let guest = start(&[]);
    let qtest = &guest.qtest;
    assert_eq!(qtest.endianness().unwrap(), Endianness::Little);
    qtest.writeq(0x8000, 0x0123_4567_89ab_cdef).unwrap();
    assert_eq!(qtest.readq(0x8000).unwrap(), 0x0123_4567_89ab_cdef);
    assert_eq!(qtest.readl(0x8000).unwrap(), 0x89ab_cdef);
    assert_eq!(qtest.readw(0x8002).unwrap(), 0x89ab);
    assert_eq!(qtest.readb(0x8007).unwrap(), 0x01);
    qtest.writel(0x8008, 0xdead_beef).unwrap();
    qtest.writew(0x8008, 0x1234).unwrap();
    qtest.writeb(0x800b, 0xff).unwrap();
    assert_eq!(qtest.read(0x8008, 4).unwrap(), [0x34, 0x12, 0xad, 0xff]);
    qtest.memset(0x9000, 16, 0xa5).unwrap();
    assert_eq!(
        qtest.read(0x8fff, 18).unwrap(),
        [&[0][..], &[0xa5; 16], &[0]].concat()
    );
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i / 3) as u8).collect();
    qtest.write(0x10_0000, &bytes).unwrap();
    assert!(qtest.read(0x10_0000, bytes.len()).unwrap() == bytes);
    qtest.memset(0x10_0000, 0, 1).unwrap();
    qtest.write(0x10_0000, []).unwrap();
    assert!(qtest.read(0x10_0000, 0).unwrap().is_empty());
    assert_eq!(qtest.readb(0x10_0000).unwrap(), bytes[0]);
}

#[test]
fn an_intercepted_interrupt_is_waited_for_and_the_others_stay() {
    let guest = start(&["-serial", "null"]);
    let qtest = &guest.qtest;
    qtest.irq_intercept_in("ioapic").unwrap();
    qtest.outb(0x3fc, 0x08).unwrap();
    qtest.outb(0x3f9, 0x02).unwrap();
    qtest.wait_irq(4, true, LONG).unwrap();
    qtest.outb(0x3f9, 0x00).unwrap();
    qtest.outb(0x3f9, 0x02).unwrap();
    assert_eq!(
        qtest.irq_events(),
        [(4, false), (4, true)].map(|(line, raised)| Irq { line, raised })
    );
    qtest.outb(0x3f9, 0x00).unwrap();
    let error = qtest.wait_irq(4, true, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(
        error.to_string().ends_with("what came instead:\n  IRQ lower 4"),
        "{error}"
    );
}

#[test]
fn one_thread_waits_for_the_interrupt_that_another_causes() {
    let guest = start(&["-serial", "null"]);
    let qtest = &guest.qtest;
    qtest.irq_intercept_in("ioapic").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| qtest.wait_irq(4, true, LONG));
        qtest.outb(0x3fc, 0x08).unwrap();
        qtest.outb(0x3f9, 0x02).unwrap();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn a_refusal_quotes_the_command_and_the_answer() {
    let guest = start(&[]);
    let error = guest.qtest.command("frobnicate 1").unwrap_err().to_string();
    assert_eq!(
        error,
        "qtest answered `FAIL Unknown command 'frobnicate'` to the command `frobnicate 1`"
    );
    let error = guest
        .qtest
        .irq_intercept_in("no-such-device")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`irq_intercept_in no-such-device`") && error.contains("answered `FAIL"),
        "{error}"
    );
    assert!(guest.qtest.irq_intercept_out("").is_err());
    assert!(guest.qtest.command("inb 1\ninb 2").is_err());
    assert_eq!(
        guest.qtest.inb(0x64).unwrap() & 0xc0,
        0,
        "the next command gets its own answer"
    );
}

#[test]
fn the_clock_is_stepped_or_the_error_says_what_the_binary_lacks() {
    let guest = start(&[]);
    let step = Duration::from_millis(1);
    match guest.qtest.clock_step(step) {
        Ok(now) => assert!(guest.qtest.clock_step(step).unwrap() >= now + step),
        Err(error) => {
            assert!(
                error.to_string().contains("without its qtest accelerator"),
                "{error}"
            );
            let error = guest.qtest.clock_set(step).unwrap_err().to_string();
            assert!(
                error.contains("`clock_set 1000000`") && error.contains("CONFIG_QTEST"),
                "{error}"
            );
            assert!(guest.qtest.clock_step_next().is_err());
        }
    }
}

#[test]
fn the_end_of_qemu_ends_a_command_at_once() {
    let mut guest = start(&[]);
    guest.qtest.endianness().unwrap();
    let started = Instant::now();
    guest.kill();
    let error = guest.qtest.inb(0x64).unwrap_err();
    assert!(matches!(error, Error::Exited(_)), "{error}");
    assert!(started.elapsed() < LONG / 2);
}

#[test]
fn a_late_answer_is_not_taken_for_the_next_ones() {
    let (qtest, mut theirs) = bare(Duration::from_millis(50));
    assert!(matches!(qtest.inb(1), Err(Error::Timeout(_))));
    theirs.write_all(b"OK 0x1\nIRQ raise 3\nOK 0x").unwrap();
    assert!(qtest.feed().unwrap());
    theirs.write_all(b"2\n").unwrap();
    assert!(qtest.feed().unwrap());
    assert_eq!(qtest.inb(2).unwrap(), 2);
    assert_eq!(
        qtest.irq_events(),
        [Irq {
            line: 3,
            raised: true
        }]
    );
}

#[test]
fn an_answer_that_makes_no_sense_is_an_error_that_quotes_it() {
    let (qtest, mut theirs) = bare(LONG);
    for (answer, part) in [
        ("OK 0x100", "too large"),
        ("OK maybe", "no number"),
        ("what?", "`what?`"),
    ] {
        theirs.write_all(format!("{answer}\n").as_bytes()).unwrap();
        assert!(qtest.feed().unwrap());
        let error = qtest.inb(1).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("`inb 0x1`"), "{error}");
    }
}
