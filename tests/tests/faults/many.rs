//! Many machines at once, and one after the other.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use qemu_test::Machine;

use super::run::Victim;

/// What a process has open, by what it is: `socket:[1234]`, a file's path.
fn open(pid: u32) -> Vec<PathBuf> {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    folder
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .collect()
}

/// The guardian of a machine is the parent of what it started.
fn parent(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn of_64_machines_launched_at_once_none_has_anything_of_another() {
    let launch = || {
        let builder = Machine::builder().args(["-machine", "none"]).console();
        [(); 8].map(|()| builder.launch().unwrap())
    };
    let machines: Vec<Machine> = std::thread::scope(|scope| {
        let threads = [(); 8].map(|()| scope.spawn(launch));
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(machines.len(), 64);

    let mut seen = HashSet::new();
    for vm in &machines {
        let mut own = HashSet::new();
        for process in [vm.pid(), parent(vm.pid())] {
            for file in open(process) {
                let name = file.to_string_lossy();
                let shared = ["/dev/", "anon_inode:", "/memfd:"];
                if !shared.iter().any(|prefix| name.starts_with(prefix)) {
                    own.insert(file);
                }
            }
        }
        // The monitor, the console, the log, and the guardian's line: something is there to be compared.
        assert!(own.len() >= 4, "{own:?}");
        let logs: Vec<_> = own.iter().filter(|file| file.ends_with("qemu.log")).collect();
        assert_eq!(logs, [&vm.dir().join("qemu.log")]);
        for file in own {
            assert!(seen.insert(file.clone()), "two machines have {}", file.display());
        }
        assert!(seen.insert(vm.dir().to_owned()) && seen.insert(vm.socket_path("s")));
    }
    for vm in &machines {
        assert_eq!(vm.shutdown().unwrap().code(), Some(0));
    }
}

#[test]
fn a_thousand_launches_leave_descriptors_threads_memory_and_files_as_they_were() {
    let outcome = Victim::new("launches_a_thousand").passes();
    assert!(outcome.output.contains("1 passed"));
}
