//! What can be told of KVM without a guest: whether the program is for this host's processors, and whether the device
//! can be opened at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::locate::host_arch;

const DEVICE: &str = "/dev/kvm";

/// Why `program`'s guests cannot have KVM here, whatever the state of KVM.
pub(super) fn cannot_have(program: &Path) -> Option<String> {
    // One of another name, such as `qemu-kvm`, is left to be tried.
    let name = program.file_name()?.to_str()?;
    let target = name.strip_prefix("qemu-system-")?;
    let target = target.split_once('-').map_or(target, |(target, _)| target);
    let host = host_arch();
    let kin = [(host, host), ("x86_64", "i386"), ("ppc64", "ppc")];
    (!kin.contains(&(host, target))).then(|| format!("the guest is for {target}, and this host is {host}"))
}

/// Why the device cannot be opened.
pub(super) fn closed() -> Option<String> {
    let error = File::options().read(true).write(true).open(DEVICE).err()?;
    Some(match error.kind() {
        io::ErrorKind::NotFound => {
            format!(
                "there is no {DEVICE}: no hardware virtualisation here, or the kernel's module is not loaded"
            )
        }
        io::ErrorKind::PermissionDenied => match fs::metadata(DEVICE) {
            Ok(meta) => not_permitted(
                meta.mode(),
                meta.gid(),
                &fs::read_to_string("/etc/group").unwrap_or_default(),
            ),
            Err(_) => format!("{DEVICE} cannot be opened: {error}"),
        },
        _ => format!("{DEVICE} cannot be opened: {error}"),
    })
}

/// What a user lacks for a device of this mode and group.
fn not_permitted(mode: u32, gid: u32, groups: &str) -> String {
    let of_group = |line: &&str| line.split(':').nth(2) == Some(&gid.to_string());
    let group = groups
        .lines()
        .find(of_group)
        .and_then(|line| line.split(':').next());
    let group = group.map_or_else(|| format!("number {gid}"), |name| format!("`{name}`"));
    let owner_only = mode & 0o060 != 0o060;
    let mode = mode & 0o777;
    if owner_only {
        return format!("{DEVICE} is for its owner only (its mode is {mode:o})");
    }
    format!(
        "{DEVICE} is for the group {group} (its mode is {mode:o}), which this user is not in: \
         `sudo usermod -aG GROUP USER`, and log in again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_other_processors_cannot_have_kvm() {
        let foreign = |name: &str| cannot_have(&Path::new("/usr/bin").join(name));
        let host = host_arch();
        assert_eq!(foreign(&format!("qemu-system-{host}")), None);
        assert_eq!(foreign(&format!("qemu-system-{host}-unsigned")), None);
        assert_eq!(foreign("qemu-kvm"), None);
        assert_eq!(
            foreign("qemu-system-sparc"),
            Some(format!("the guest is for sparc, and this host is {host}"))
        );
    }

    #[test]
    fn a_user_is_told_which_group_to_join() {
        let groups = "root:x:0:\nkvm:x:106:qemu\n";
        assert!(not_permitted(0o20660, 106, groups).contains("for the group `kvm` (its mode is 660)"));
        assert!(not_permitted(0o20660, 7, groups).contains("for the group number 7 "));
        assert!(not_permitted(0o20600, 0, groups).contains("for its owner only (its mode is 600)"));
    }
}
