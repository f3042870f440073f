//! Tests that end, each in its own way, while machines run behind every kind of wrapper. `cells.rs` runs them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{OnceLock, mpsc};

use qemu_test::{Machine, MachineBuilder, qemu_test};

/// How many machines each victim has.
pub(crate) const MACHINES: usize = 10;

/// Where a victim says that its machines run, and waits to go on.
pub(crate) const SOCKET: &str = "ENDINGS_SOCKET";

fn none() -> MachineBuilder {
    Machine::builder().args(["-machine", "none"])
}

/// Launches the machines that no unwinding ends, and returns when the driver lets the victim go on.
fn ready() {
    static KEPT: OnceLock<Machine> = OnceLock::new();
    KEPT.get_or_init(|| none().name("static").launch().unwrap());
    std::mem::forget(none().name("forgotten").launch().unwrap());
    let (send, launched) = mpsc::channel();
    for _ in 0..2 {
        let send = send.clone();
        std::thread::spawn(move || {
            let vm = none().name("of a thread").launch().unwrap();
            send.send(()).unwrap();
            loop {
                std::thread::park();
                assert!(vm.is_running());
            }
        });
    }
    for _ in 0..2 {
        launched.recv().unwrap();
    }
    let mut driver = UnixStream::connect(std::env::var_os(SOCKET).expect("cells.rs runs this")).unwrap();
    driver.write_all(b"ready\n").unwrap();
    // The end of the connection is the sign.
    let _ = driver.read_to_end(&mut Vec::new());
}

macro_rules! victim {
    ($name:ident $(-> $returned:ty)?, $body:block) => {
        #[qemu_test]
        #[ignore = "ends on purpose: run by cells.rs"]
        fn $name(
            #[machine(machine = none())] _plain: &Machine,
            #[machine(machine = none(), wrapper = ["nice"])] _nice: &Machine,
            #[machine(machine = none(), wrapper = ["sh", "-c", "\"$0\" \"$@\"; exit $?"])] _forking: &Machine,
            #[machine(machine = none(), wrapper = ["setsid"])] _session: &Machine,
            #[machine(machine = none(), wrapper = ["setsid", "-f", "-w"])] _session_waited_for: &Machine,
            #[machine(machine = none(), wrapper = ["setsid", "-f"])] _session_left_alone: &Machine,
        ) $(-> $returned)? {
            ready();
            $body
        }
    };
}

victim!(returns, {});

victim!(panics, { panic!("on purpose") });

victim!(returns_an_error -> qemu_test::Result<()>, {
    Err(qemu_test::Error::other("on purpose"))
});

victim!(panics_in_another_thread, {
    let thread = std::thread::spawn(|| {
        let _vm = none().name("of a panicking thread").launch().unwrap();
        panic!("on purpose, elsewhere");
    });
    thread.join().expect("the other thread returns");
});

victim!(exits, { std::process::exit(3) });

victim!(aborts, { std::process::abort() });

victim!(overflows_its_stack, {
    #[expect(unconditional_recursion, reason = "it is to overflow the stack")]
    fn recurse(n: u64) -> u64 {
        std::hint::black_box(recurse(std::hint::black_box(n + 1)) + 1)
    }
    recurse(0);
});

victim!(panics_while_panicking, {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("again");
        }
    }
    let _panics = Panics;
    panic!("on purpose");
});

victim!(waits, {
    loop {
        std::thread::park();
    }
});
