//! A program in front of QEMU: here `nice`, as it could be `strace -f`, `valgrind` or `taskset`.

use qemu_test::{Machine, qemu_test, qmp};

#[qemu_test(args = ["-machine", "none"], wrapper = ["nice", "-n", "5"])]
fn qemu_runs_with_the_priority_that_nice_gives(vm: &Machine) -> qemu_test::Result<()> {
    // `nice` replaces itself by QEMU: its process is QEMU's. Field 19 of proc_pid_stat(5), behind the name in
    // parentheses, is the niceness.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", vm.pid()))?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    assert_eq!(fields.split_whitespace().nth(16), Some("5"));
    assert_eq!(vm.command(qmp!(query_status))?["running"], true);
    Ok(())
}
