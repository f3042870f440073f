//! The small Linux guests that `cargo xtask setup` makes: a kernel and an initramfs of busybox and a few modules.
//!
//! They lie in `<target>/guest/`, or where the variable `QEMU_TEST_GUEST_DIR` says, and are started with
//! `-kernel`, `-initrd` and `-append console=ttyS0` (`ttyAMA0` on aarch64, `hvc0` for a virtio console). Each
//! offers a shell of root on that console, whose prompt is always [`PROMPT`], and powers off at once when its power
//! button is pressed.

use std::path::{Path, PathBuf};

/// For the kernel's command line on a PC whose host is busy. Under TCG its timer may be late when the kernel tests it,
/// and a kernel that finds that hangs ("8254 timer not connected to IO-APIC"); and its clock may be found too fast by
/// half, so that it calls a stall what is none.
pub const BUSY_HOST: &str = "no_timer_check rcupdate.rcu_cpu_stall_suppress=1 nosoftlockup";

/// What the guest's shell prints when it waits for a command, whatever its folder.
pub const PROMPT: &str = "~ # ";

/// The kernel of the guest for x86_64: Debian's cloud kernel, which boots fast.
///
/// # Panics
///
/// If it is not there: the message is the command that makes it.
#[track_caller]
pub fn kernel() -> PathBuf {
    file("vmlinuz")
}

/// The initramfs that goes with [`kernel`].
///
/// # Panics
///
/// If it is not there: the message is the command that makes it.
#[track_caller]
pub fn initramfs() -> PathBuf {
    file("initramfs.cpio.gz")
}

/// The guest for x86_64 with Debian's ordinary kernel: it boots slower than the default one, and has `vmgenid`, 9p
/// and drivers for most of the devices that QEMU emulates.
pub mod generic {
    use super::{PathBuf, file};

    /// The kernel.
    ///
    /// # Panics
    ///
    /// If it is not there: the message is the command that makes it.
    #[track_caller]
    pub fn kernel() -> PathBuf {
        file("generic/vmlinuz")
    }

    /// The initramfs that goes with [`kernel`].
    ///
    /// # Panics
    ///
    /// If it is not there: the message is the command that makes it.
    #[track_caller]
    pub fn initramfs() -> PathBuf {
        file("generic/initramfs.cpio.gz")
    }
}

/// The guest for aarch64's machine `virt`. Its kernel has no driver for the power button of that machine.
pub mod aarch64 {
    use super::{PathBuf, file};

    /// The kernel.
    ///
    /// # Panics
    ///
    /// If it is not there: the message is the command that makes it.
    #[track_caller]
    pub fn kernel() -> PathBuf {
        file("aarch64/vmlinuz")
    }

    /// The initramfs that goes with [`kernel`].
    ///
    /// # Panics
    ///
    /// If it is not there: the message is the command that makes it.
    #[track_caller]
    pub fn initramfs() -> PathBuf {
        file("aarch64/initramfs.cpio.gz")
    }
}

#[track_caller]
fn file(name: &str) -> PathBuf {
    let file = dir().join(name);
    assert!(
        file.is_file(),
        "there is no guest at `{}`: run `cargo xtask setup`",
        file.display()
    );
    file
}

/// The folder of the guests: setup finds cargo's target directory in this same way.
fn dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("QEMU_TEST_GUEST_DIR") {
        return dir.into();
    }
    let test = std::env::current_exe().unwrap_or_default();
    let marked = |dir: &&Path| dir.join(".rustc_info.json").exists() || dir.join("CACHEDIR.TAG").exists();
    let target = test.ancestors().skip(1).find(marked).map(Path::to_owned);
    target
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
        .join("guest")
}
