//! When two machines may use one snapshot: everything that could make a difference, as text, and a digest of it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::files::{self, FileIdentity};
use super::subject::{Identity, Subject};
use crate::machine;

/// Changes whenever a snapshot of before would be read wrongly.
const FORMAT: u32 = 1;

/// Which snapshot a machine uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The name of its folder.
    pub(super) digest: String,
    /// What it was made of, for whoever wonders why a snapshot was made again.
    pub(super) text: String,
}

impl Key {
    /// `None` for a machine that cannot be launched at all.
    pub(crate) fn of(subject: &Subject<'_>) -> Option<Self> {
        let (program, line) = machine::configuration(&subject.builder)?;
        let mut text = format!("format {FORMAT}\n");
        describe_file(&mut text, "qemu", &program);
        for argument in &line {
            let _ = writeln!(text, "argument {argument:?}");
        }
        for (name, value) in &subject.builder.environment {
            let _ = writeln!(text, "environment {name:?}={value:?}");
        }
        for descriptor in &subject.builder.descriptors {
            let identity = FileIdentity::of_open(&descriptor.fd);
            let _ = writeln!(text, "descriptor {} {identity:?}", descriptor.set);
        }
        for share in &subject.builder.shares {
            let _ = writeln!(text, "share {}", share.identity());
        }
        // The program itself is above.
        for file in files::named_in(line.iter().filter(|argument| **argument != *program.as_os_str())) {
            describe_file(&mut text, "file", &file);
        }
        if may_use_kvm(&line) {
            let _ = writeln!(text, "host {}", host_processor());
        }
        match &subject.identity {
            Identity::Text(key) => {
                let _ = writeln!(text, "ready {key:?}");
            }
            Identity::Executable { type_name } => {
                let _ = writeln!(text, "ready {type_name} of this executable");
                describe_file(
                    &mut text,
                    "executable",
                    &std::env::current_exe().unwrap_or_default(),
                );
            }
        }
        let digest = format!("{:x}", md5::compute(&text));
        Some(Self { digest, text })
    }

    /// The first thing in which another key differs from this one, as that other one has it.
    pub(super) fn difference<'a>(&self, other: &'a Self) -> &'a str {
        let mut lines = other.text.lines();
        let mut own = self.text.lines();
        lines.find(|line| own.next() != Some(line)).unwrap_or_default()
    }

    /// What tells it from another one.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }
}

fn describe_file(text: &mut String, what: &str, path: &Path) {
    let _ = match FileIdentity::of(path) {
        Ok(identity) => writeln!(text, "{what} {path:?} {identity}"),
        Err(error) => writeln!(text, "{what} {path:?} {error}"),
    };
}

fn may_use_kvm(line: &[OsString]) -> bool {
    line.iter()
        .any(|argument| argument.to_string_lossy().contains("kvm"))
}

/// The processor's model and features: a guest under KVM has seen them.
fn host_processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = text.split("\n\n").next().unwrap_or_default();
    let lines = first.lines().filter(|line| {
        // What changes from one moment to the next is no feature.
        !["cpu MHz", "bogomips", "BogoMIPS"]
            .iter()
            .any(|volatile| line.starts_with(volatile))
    });
    format!("{:x}", md5::compute(lines.collect::<Vec<_>>().join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Machine, MachineBuilder, Result};

    fn ready(_: &Machine) -> Result<()> {
        Ok(())
    }

    fn key(builder: MachineBuilder, cache_key: Option<&str>, type_name: &'static str) -> String {
        let cache_key = cache_key.map(str::to_owned);
        let subject = Subject::new("Linux", builder, &ready, cache_key, type_name);
        Key::of(&subject).expect("QEMU is installed").digest
    }

    fn machine() -> MachineBuilder {
        Machine::builder().arch("x86_64").args(["-machine", "q35"])
    }

    #[test]
    fn whatever_could_make_a_difference_makes_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("ker,nel");
        fs::write(&kernel, "one").unwrap();
        let with_kernel = || machine().arg("-kernel").arg(&kernel);
        let mut keys = vec![
            key(machine(), None, "a::Linux"),
            key(machine(), None, "b::Linux"),
            key(machine(), Some(""), "a::Linux"),
            key(machine(), Some("v2"), "a::Linux"),
            key(machine().arg("-S"), None, "a::Linux"),
            key(machine().console(), None, "a::Linux"),
            key(machine().env("A", "1"), None, "a::Linux"),
            key(machine().wrapper(["nice"]), None, "a::Linux"),
            key(machine().binary("/bin/true"), None, "a::Linux"),
            key(with_kernel(), None, "a::Linux"),
            key(machine().share("s", folder.path()), None, "a::Linux"),
        ];
        fs::write(&kernel, "two two").unwrap();
        keys.push(key(with_kernel(), None, "a::Linux"));
        keys.push(key(machine().share("s", folder.path()), None, "a::Linux"));
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn what_makes_no_difference_makes_no_other_key() {
        let plain = key(machine(), None, "a::Linux");
        assert_eq!(plain, key(machine().name("server"), None, "a::Linux"));
        assert_eq!(
            plain,
            key(
                machine().command_timeout(std::time::Duration::from_secs(1)),
                None,
                "a::Linux"
            )
        );
        // A text of the fixture's own stands for the type, too: other executables have another name for it.
        assert_eq!(
            key(machine(), Some("v1"), "a::Linux"),
            key(machine(), Some("v1"), "b::common::Linux")
        );
    }
}
