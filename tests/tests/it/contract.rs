//! The names and types that users' tests are written against: a change of one of them does not compile here.
//!
//! Most of it is never called. Where a method takes `impl Trait`, each kind of argument that is promised is passed.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, SystemTime};

use qemu_test::console::{Console, Output, Shell};
use qemu_test::fixture::{Fixture, Isolation};
use qemu_test::qmp::{Client, Command, ErrorClass, Event, EventFilter, Reply};
use qemu_test::qtest::Qtest;
use qemu_test::regex::Regex;
use qemu_test::serde_json::{Value, json};
use qemu_test::{
    Accel, CommandLine, Error, ExpectedExit, Machine, MachineBuilder, Monitor, QmpError, Result, qmp,
};

const SECOND: Duration = Duration::from_secs(1);

/// Of a value whose type is not said where it comes from.
fn is<T>(_: T) {}

fn machine(vm: &Machine, file: &std::fs::File) -> Result<()> {
    is::<MachineBuilder>(Machine::builder());
    is::<&str>(vm.name());
    is::<u32>(vm.pid());
    is::<&Path>(vm.dir());
    let line: &CommandLine = vm.command_line();
    is::<&[OsString]>(line);
    is::<String>(line.to_string());
    is::<bool>(vm.is_running());
    is::<Option<ExitStatus>>(vm.exit_status());
    is::<ExitStatus>(vm.wait(SECOND)?);
    is::<ExitStatus>(vm.shutdown()?);
    is::<ExitStatus>(vm.kill()?);
    is::<String>(vm.log()?);
    is::<Value>(vm.command("query-status")?);
    is::<Value>(vm.command(Command::new("query-status"))?);
    is::<Vec<u8>>(vm.command_as("query-status")?);
    is::<Reply>(vm.command_raw(qmp!(query_status))?);
    is::<String>(vm.hmp("info status")?);
    is::<Vec<Event>>(vm.events()?);
    is::<Event>(vm.next_event(SECOND)?);
    is::<Event>(vm.wait_event(qmp!(STOP), SECOND)?);
    is::<Event>(vm.wait_event(EventFilter::new("STOP"), SECOND)?);
    is::<()>(vm.clear_events()?);
    is::<()>(vm.send_fd("name", file)?);
    is::<PathBuf>(vm.socket_path("name"));
    is::<&Console>(vm.console());
    is::<&Qtest>(vm.qtest());
    is::<()>(vm.screenshot("screen.png")?);
    is::<()>(vm.send_keys("ctrl-alt-delete")?);
    is::<()>(vm.powerdown(SECOND)?);
    is::<()>(vm.reset()?);
    is::<()>(vm.pause()?);
    is::<()>(vm.resume()?);
    vm.crash().map(drop)
}

fn builder(fd: OwnedFd, address: SocketAddr) -> Result<Machine> {
    let builder: MachineBuilder = Machine::builder()
        .arch("x86_64")
        .arch(String::from("x86_64"))
        .binary("qemu")
        .binary(Path::new("qemu"))
        .arg("-S")
        .arg(OsStr::new("-S"))
        .args(["-S"])
        .args(vec![String::from("-S")])
        .args([PathBuf::from("-S")])
        .wrapper(["nice"])
        .name("vm")
        .artifact_dir("/tmp")
        .env("NAME", Path::new("value"))
        .monitor(Monitor::SocketPair)
        .monitor(Monitor::Unix(PathBuf::from("{dir}/monitor")))
        .monitor(Monitor::Tcp(address))
        .console()
        .qtest()
        .accel(Accel::Auto)
        .add_fd(1, fd, "opaque")
        .command_timeout(SECOND)
        .expect_exit(33)
        .expect_exit(ExpectedExit::Code(33))
        .expect_exit(ExpectedExit::Signal(9))
        .allow_console_line("regex")
        .expect_guest_panic();
    builder.test(|vm: &Machine| -> Result<()> { vm.pause() });
    builder.test(|_| ());
    builder.launch()
}

fn client(stream: UnixStream, address: SocketAddr) -> Result<()> {
    is::<Client>(Client::from_stream(stream)?);
    is::<Client>(Client::connect("/path")?);
    is::<Client>(Client::connect(Path::new("/path"))?);
    is::<Client>(Client::connect(address)?);
    let client: Client = Client::listen(PathBuf::from("/path"))?;
    is::<Value>(client.command("query-status")?);
    is::<u64>(client.command_as(qmp!(query_status))?);
    is::<Reply>(client.command_raw("query-status")?);
    is::<String>(client.hmp("info status")?);
    is::<Vec<Event>>(client.events()?);
    is::<Event>(client.next_event(SECOND)?);
    is::<Event>(client.wait_event(qmp!(STOP), SECOND)?);
    is::<()>(client.clear_events()?);
    client.send_fd("name", std::io::stdin())
}

fn console(console: &Console) -> Result<()> {
    is::<String>(console.wait_for("login: ", SECOND)?);
    is::<String>(console.wait_for(Regex::new("login: $").map_err(Error::other)?, SECOND)?);
    is::<()>(console.send("text")?);
    is::<()>(console.send_line("text")?);
    is::<String>(console.output());
    let shell: Shell = console.shell("# ").timeout(SECOND);
    let Output { status, stdout, .. } = shell.run("true")?;
    is::<i32>(status);
    is::<String>(stdout);
    is::<String>(shell.succeed("true")?);
    is::<String>(shell.fail("false")?);
    shell.wait_until_succeeds("true", SECOND).map(drop)
}

fn qtest(qtest: &Qtest) -> Result<()> {
    is::<(u8, u16, u32)>((qtest.inb(0)?, qtest.inw(0)?, qtest.inl(0)?));
    qtest.outb(0, 0_u8)?;
    qtest.outw(0, 0_u16)?;
    qtest.outl(0, 0_u32)?;
    is::<(u8, u16)>((qtest.readb(0)?, qtest.readw(0)?));
    is::<(u32, u64)>((qtest.readl(0)?, qtest.readq(0)?));
    qtest.writeb(0, 0_u8)?;
    qtest.writew(0, 0_u16)?;
    qtest.writel(0, 0_u32)?;
    qtest.writeq(0, 0_u64)?;
    is::<Vec<u8>>(qtest.read(0, 1)?);
    qtest.write(0, b"x")?;
    qtest.memset(0, 1, 0)?;
    qtest.clock_step(SECOND)?;
    qtest.clock_set(SECOND)?;
    qtest.irq_intercept_in("ioapic")?;
    qtest.irq_intercept_out("ioapic")?;
    qtest.endianness().map(drop)
}

struct Linux;

impl Fixture for Linux {
    fn machine(&self) -> MachineBuilder {
        Machine::builder().console()
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        vm.console().wait_for("~ # ", SECOND).map(drop)
    }

    fn cache_key(&self) -> Option<String> {
        None
    }
}

fn fixture() -> Result<Machine> {
    Linux.test(Isolation::Fork, |vm: &Machine| vm.pause());
    Linux.launch(Isolation::Boot)?;
    Linux.launch(Isolation::Shared)
}

/// `?` works on what a test meets besides, and every kind of error can be told from the others.
fn errors(error: Error) -> Result<&'static str> {
    std::fs::read("/dev/null")?;
    is::<Value>(qemu_test::serde_json::from_str("{}")?);
    std::str::from_utf8(b"x").map_err(Error::other)?;
    Ok(match error {
        Error::Launch(launch) => {
            is::<CommandLine>(launch.command_line);
            is::<String>(launch.log);
            "launch"
        }
        Error::Qmp(QmpError {
            class,
            desc,
            reply,
            request,
            ..
        }) => {
            is::<(ErrorClass, String, Value, String)>((class, desc, reply, request));
            "qmp"
        }
        Error::Timeout(_) => "timeout",
        Error::Exited(_) => "exited",
        Error::Disconnected(_) => "disconnected",
        Error::Guest(_) => "guest",
        Error::Io(_) => "io",
        Error::Json(_) => "json",
        Error::Other(_) => "other",
        _ => "new",
    })
}

fn an_alias_with_another_error() -> Result<(), String> {
    Ok(())
}

mod both_names_of_the_attribute {
    use qemu_test::{Machine, qemu_test};

    #[qemu_test(args = ["-machine", "none"])]
    fn qemu_test_is_one(vm: &Machine) {
        assert!(vm.is_running());
    }

    #[qemu_test::test(args = ["-machine", "none"])]
    fn test_is_the_other(vm: &Machine) {
        assert!(vm.is_running());
    }
}

#[test]
fn every_promised_name_is_there() {
    is::<fn(&Machine, &std::fs::File) -> Result<()>>(machine);
    is::<fn(OwnedFd, SocketAddr) -> Result<Machine>>(builder);
    is::<fn(UnixStream, SocketAddr) -> Result<()>>(client);
    is::<fn(&Console) -> Result<()>>(console);
    is::<fn(&Qtest) -> Result<()>>(qtest);
    is::<fn() -> Result<Machine>>(fixture);
    assert_eq!(errors(Error::other("x")).unwrap(), "other");
    assert_eq!(an_alias_with_another_error(), Ok(()));
}

#[test]
fn a_machine_can_go_anywhere() {
    fn anywhere<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    anywhere::<Machine>();
    fn between_threads<T: Send + Sync + 'static>() {}
    between_threads::<Error>();
    fn cloned<T: Clone>() {}
    cloned::<MachineBuilder>();
    cloned::<Client>();
}

#[test]
fn an_event_has_a_name_data_and_the_time_that_qemu_told() {
    let vm = Machine::builder().args(["-machine", "none"]).launch().unwrap();
    vm.command(qmp!(stop)).unwrap();
    let Event {
        name,
        data,
        timestamp,
        ..
    } = vm.next_event(SECOND * 30).unwrap();
    assert_eq!(name, "STOP");
    assert_eq!(data, json!({}));
    is::<Option<SystemTime>>(timestamp);
}

#[test]
fn a_command_displays_as_what_goes_on_the_wire_without_its_id() {
    let command = Command::new("device_del")
        .arguments(json!({ "id": "d" }))
        .timeout(SECOND);
    let told = r#"{"execute":"device_del","arguments":{"id":"d"}}"#;
    assert_eq!(command.to_string(), told);
    let command = Command::from("query-status").oob();
    assert_eq!(command.to_string(), r#"{"exec-oob":"query-status"}"#);
}

#[test]
fn filters_of_run_time_match_recursive_subsets() {
    let vm = Machine::builder().args(["-machine", "none"]).launch().unwrap();
    vm.command("quit").unwrap();
    let filters = [
        EventFilter::new("RESET"),
        EventFilter::new("SHUTDOWN").data(json!({ "guest": false, "reason": null })),
    ];
    let event = vm.wait_event(EventFilter::any(filters), SECOND * 30).unwrap();
    assert_eq!(event.data["reason"], "host-qmp-quit");
    vm.wait(SECOND * 30).unwrap();
}
