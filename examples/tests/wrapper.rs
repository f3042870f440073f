//! A program in front of QEMU: here `nice`, as it could be `strace -f`, `valgrind` or `taskset`.

use qemu_test::{Machine, qemu_test, qmp};

/// How nice a process is: field 19 of proc_pid_stat(5), behind the name in parentheses.
fn niceness(process: &str) -> qemu_test::Result<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let niceness = fields.split_whitespace().nth(16).unwrap_or_default();
    niceness.parse().map_err(qemu_test::Error::other)
}

#[qemu_test(args = ["-machine", "none"], wrapper = ["nice", "-n", "5"])]
fn qemu_runs_with_the_priority_that_nice_gives(vm: &Machine) -> qemu_test::Result<()> {
    // `nice` adds to what it has itself, up to 19, and replaces itself by QEMU: its process is QEMU's.
    let expected = (niceness("self")? + 5).min(19);
    assert_eq!(niceness(&vm.pid().to_string())?, expected);
    assert_eq!(vm.command(qmp!(query_status))?["running"], true);
    Ok(())
}
