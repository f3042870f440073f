//! Which QEMU program a machine runs, and what to say when it is not there.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What the test asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Program {
    /// Nothing: `QEMU_TEST_BINARY`, else the host's architecture.
    #[default]
    Default,
    /// `qemu-system-<arch>`.
    Arch(String),
    /// A path, or a name to look up.
    Binary(OsString),
}

/// The variables that have a say, read once per launch so that tests can state them.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) binary: Option<OsString>,
    pub(crate) bin_dir: Option<OsString>,
    pub(crate) path: Option<OsString>,
}

impl Surroundings {
    pub(crate) fn of_this_process() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            binary: variable("QEMU_TEST_BINARY"),
            bin_dir: variable("QEMU_TEST_BIN_DIR"),
            path: variable("PATH"),
        }
    }
}

/// Why there is no program to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotFound {
    pub(crate) program: OsString,
    pub(crate) reason: String,
    pub(crate) hint: Option<String>,
}

/// Where distributions put a QEMU that is not on `PATH`: RHEL and its kin.
const ELSEWHERE: &[&str] = &["/usr/libexec/qemu-kvm"];

/// The program's path.
pub(crate) fn locate(wanted: &Program, surroundings: &Surroundings) -> Result<PathBuf, NotFound> {
    let name = match wanted {
        Program::Binary(binary) => binary.clone(),
        Program::Arch(arch) => format!("qemu-system-{arch}").into(),
        Program::Default => match &surroundings.binary {
            Some(binary) => binary.clone(),
            None => format!("qemu-system-{}", host_arch()).into(),
        },
    };
    if name.as_bytes().contains(&b'/') {
        return match usable(Path::new(&name)) {
            Ok(()) => Ok(name.into()),
            Err(reason) => Err(NotFound {
                program: name,
                reason,
                hint: None,
            }),
        };
    }
    // A candidate that is there and cannot be run is worth a word when nothing better comes.
    let mut flaw = None;
    let elsewhere = ELSEWHERE
        .iter()
        .map(PathBuf::from)
        .filter(|_| *wanted == Program::Default);
    for candidate in folders(surroundings)
        .map(|folder| folder.join(&name))
        .chain(elsewhere)
    {
        match usable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(reason) if candidate.exists() => flaw = flaw.or(Some(reason)),
            Err(_) => {}
        }
    }
    let looked_in = match &surroundings.bin_dir {
        Some(folder) => format!("`{}` (QEMU_TEST_BIN_DIR) and on PATH", folder.display()),
        None => "the folders of PATH".to_owned(),
    };
    let reason = flaw.unwrap_or_else(|| format!("`{}` is not in {looked_in}", name.display()));
    let hint = name
        .to_str()
        .and_then(|name| name.strip_prefix("qemu-system-"))
        .map(|arch| other_name(arch).unwrap_or_else(|| install_hint(arch)));
    Err(NotFound {
        program: name,
        reason,
        hint,
    })
}

fn folders(surroundings: &Surroundings) -> impl Iterator<Item = PathBuf> {
    let own = surroundings.bin_dir.iter().map(PathBuf::from);
    own.chain(std::env::split_paths(
        surroundings.path.as_deref().unwrap_or(OsStr::new("")),
    ))
    .collect::<Vec<_>>()
    .into_iter()
}

/// Whether `path` can be executed, as far as can be told without trying.
fn usable(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Err(e) => Err(format!("`{}` cannot be run: {e}", path.display())),
        Ok(meta) if meta.is_dir() => Err(format!("`{}` is a directory", path.display())),
        Ok(meta) if meta.permissions().mode() & 0o111 == 0 => Err(format!(
            "`{}` is not executable: no `x` among its permissions",
            path.display()
        )),
        Ok(_) => Ok(()),
    }
}

/// The host's architecture as QEMU spells it.
pub(crate) fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86" => "i386",
        "powerpc" => "ppc",
        "powerpc64" => "ppc64",
        "sparc64" => "sparc64",
        arch => arch,
    }
}

/// QEMU's name for an architecture that others call `arch`, where it has one of its own.
fn other_name(arch: &str) -> Option<String> {
    let name = match arch {
        "amd64" | "x86-64" | "x64" => "x86_64",
        "x86" | "i486" | "i586" | "i686" => "i386",
        "arm64" => "aarch64",
        "armhf" | "armv7" | "armv7l" => "arm",
        "riscv" => "riscv64",
        "powerpc" => "ppc",
        "powerpc64" | "ppc64le" | "ppc64el" => "ppc64",
        "loong64" | "loongarch" => "loongarch64",
        _ => return None,
    };
    Some(format!("QEMU's name for `{arch}` is `{name}`"))
}

/// The command that installs the emulator of `arch` here.
pub(crate) fn install_hint(arch: &str) -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    hint_for(&release, arch)
}

fn hint_for(os_release: &str, arch: &str) -> String {
    let field = |name: &str| {
        let line = os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let family = format!("{} {}", field("ID"), field("ID_LIKE"));
    let is = |id: &str| family.split_whitespace().any(|word| word == id);
    // What Fedora and Arch call the package of several targets.
    let group = match arch {
        "x86_64" | "i386" => "x86",
        "ppc" | "ppc64" => "ppc",
        "mips" | "mipsel" | "mips64" | "mips64el" => "mips",
        "sparc" | "sparc64" => "sparc",
        "riscv32" | "riscv64" => "riscv",
        "sh4" | "sh4eb" => "sh4",
        "microblaze" | "microblazeel" => "microblaze",
        "xtensa" | "xtensaeb" => "xtensa",
        other => other,
    };
    if is("debian") || is("ubuntu") {
        let package = match arch {
            "x86_64" | "i386" => "qemu-system-x86",
            "aarch64" | "arm" => "qemu-system-arm",
            "ppc" | "ppc64" => "qemu-system-ppc",
            "mips" | "mipsel" | "mips64" | "mips64el" => "qemu-system-mips",
            "sparc" | "sparc64" => "qemu-system-sparc",
            // Packages of their own since Debian 13 and Ubuntu 25.04; releases to come have no number yet.
            "riscv32" | "riscv64" if newer_than(&field("VERSION_ID"), 12, 24) => "qemu-system-riscv",
            "s390x" if newer_than(&field("VERSION_ID"), 12, 16) => "qemu-system-s390x",
            _ => "qemu-system-misc",
        };
        format!("install it with `sudo apt-get install {package}`")
    } else if is("rhel") || is("centos") {
        "install it with `sudo dnf install qemu-kvm`".to_owned()
    } else if is("fedora") {
        format!("install it with `sudo dnf install qemu-system-{group}-core`")
    } else if is("arch") {
        format!("install it with `sudo pacman -S qemu-system-{group}`")
    } else if is("suse") || is("opensuse") {
        let package = match arch {
            "x86_64" | "i386" => "qemu-x86",
            "aarch64" | "arm" => "qemu-arm",
            "ppc" | "ppc64" => "qemu-ppc",
            "s390x" => "qemu-s390x",
            _ => "qemu-extra",
        };
        format!("install it with `sudo zypper install {package}`")
    } else if is("alpine") {
        format!("install it with `sudo apk add qemu-system-{arch}`")
    } else {
        format!("install your distribution's package of qemu-system-{arch}")
    }
}

/// Whether a release is newer than the last of Debian, or of Ubuntu, whose numbers begin at 16 here.
fn newer_than(version: &str, debian: u32, ubuntu: u32) -> bool {
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    major.is_none_or(|major| {
        if major < 16 {
            major > debian
        } else {
            major > ubuntu
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn program(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_build_tree_comes_before_path_and_what_is_named_before_the_default() {
        let (tree, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let built = program(tree.path(), "qemu-system-aarch64", 0o755);
        program(path.path(), "qemu-system-aarch64", 0o755);
        let vendor = program(path.path(), "qemu-vendor", 0o755);
        let around = Surroundings {
            binary: Some("qemu-vendor".into()),
            bin_dir: Some(tree.path().into()),
            path: Some(path.path().into()),
        };
        assert_eq!(
            locate(&Program::Arch("aarch64".into()), &around),
            Ok(built.clone())
        );
        assert_eq!(locate(&Program::Default, &around), Ok(vendor));
        assert_eq!(locate(&Program::Binary(built.clone().into()), &around), Ok(built));
    }

    #[test]
    fn what_cannot_be_run_is_told_with_its_flaw() {
        let path = tempfile::tempdir().unwrap();
        fs::create_dir(path.path().join("qemu-folder")).unwrap();
        program(path.path(), "qemu-plain", 0o644);
        let around = Surroundings {
            path: Some(path.path().into()),
            ..Surroundings::default()
        };
        let reason = |name: &str| locate(&Program::Binary(name.into()), &around).unwrap_err().reason;
        assert!(reason("qemu-folder").ends_with("is a directory"));
        assert!(reason("qemu-plain").contains("is not executable"));
        assert_eq!(reason("qemu-none"), "`qemu-none` is not in the folders of PATH");
        assert!(reason("/nowhere/qemu").contains("cannot be run: No such file"));
        let misnamed = locate(&Program::Arch("x86-64".into()), &around).unwrap_err();
        assert_eq!(
            misnamed.hint.as_deref(),
            Some("QEMU's name for `x86-64` is `x86_64`")
        );
        let missing = locate(&Program::Arch("riscv64".into()), &around).unwrap_err();
        assert!(missing.hint.is_some_and(|hint| hint.contains("install")));
    }

    #[test]
    fn each_distribution_gets_its_own_command() {
        let hint = |release| hint_for(release, "aarch64");
        assert!(hint("ID=debian\n").ends_with("`sudo apt-get install qemu-system-arm`"));
        let riscv = |release| hint_for(release, "riscv64");
        assert!(riscv("ID=debian\nVERSION_ID=\"12\"\n").contains("qemu-system-misc`"));
        assert!(riscv("ID=debian\nVERSION_ID=\"13\"\n").contains("qemu-system-riscv`"));
        assert!(riscv("ID=debian\n").contains("qemu-system-riscv`"));
        assert!(riscv("ID=ubuntu\nVERSION_ID=\"24.04\"\n").contains("qemu-system-misc`"));
        assert!(hint("NAME=x\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n").contains("apt-get"));
        assert!(hint("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n").contains("qemu-kvm"));
        assert!(hint("ID=fedora\n").ends_with("`sudo dnf install qemu-system-aarch64-core`"));
        assert!(riscv("ID=fedora\n").ends_with("`sudo dnf install qemu-system-riscv-core`"));
        assert!(hint("ID=arch\n").ends_with("`sudo pacman -S qemu-system-aarch64`"));
        assert!(riscv("ID=arch\n").ends_with("`sudo pacman -S qemu-system-riscv`"));
        assert!(hint("ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n").contains("zypper"));
        assert!(hint("ID=alpine\n").contains("apk add"));
        assert!(hint("").contains("your distribution's"));
    }
}
