//! Files into and out of a guest, and a folder of the host's in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::api::{Shell, shown, unexpected};
use super::session::{Reply, execute, execute_with};
use crate::Result;
use crate::deadline::Deadline;
use crate::error::Error;

/// # Files
///
/// All of these go over the console, and so take what a [serial port](crate::console::shell) takes: a few hundred KB a
/// second out of the guest, and 50 KB a second into it. What is larger belongs on a disk, in the initramfs, or in a
/// [shared folder](crate::MachineBuilder::share).
///
/// Each fails with [`Error::Guest`], with the guest's own words, where the guest refuses (a read-only file system, a
/// missing folder), and with what [`run`](Shell::run) fails with.
impl Shell {
    /// Makes `contents` the content of the guest's file `path`, which keeps its mode where it exists.
    ///
    /// # Errors
    ///
    /// See [above](#files).
    ///
    /// ```no_run
    /// # fn example(shell: &qemu_test::console::Shell) -> qemu_test::Result<()> {
    /// shell.write_file("/etc/motd", "hello\n")?;
    /// assert_eq!(shell.read_file("/etc/motd")?, b"hello\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_file(&self, path: impl AsRef<str>, contents: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        // No `>` before the upload: what refuses the file should leave it as it is.
        let command = format!("cat $qt_d/i >{0} && rm -f $qt_d/i", quoted(path));
        let job = self.job(
            format!("writing the guest's file `{}`", shown(path)),
            Deadline::never(),
        );
        let reply = execute_with(&job, contents.as_ref(), command.as_bytes())?;
        check(&job.doing, reply).map(drop)
    }

    /// The content of the guest's file `path`, exactly. Files of `/proc`, `/sys` and devices that end are fine.
    ///
    /// # Errors
    ///
    /// See [above](#files).
    pub fn read_file(&self, path: impl AsRef<str>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let job = self.job(
            format!("reading the guest's file `{}`", shown(path)),
            Deadline::never(),
        );
        let reply = execute(&job, format!("cat <{}", quoted(path)).as_bytes())?;
        check(&job.doing, reply)
    }

    /// Copies the file `host` of the host to the guest's `guest`, with its permission bits.
    ///
    /// # Errors
    ///
    /// See [above](#files); [`Error::Io`] where the host's file cannot be read.
    pub fn copy_in(&self, host: impl AsRef<Path>, guest: impl AsRef<str>) -> Result<()> {
        let (host, guest) = (host.as_ref(), guest.as_ref());
        let doing = || format!("reading `{}` to copy it into the guest", host.display());
        let contents = fs::read(host).map_err(|error| Error::io(doing(), error))?;
        let mode = fs::metadata(host)
            .map_err(|error| Error::io(doing(), error))?
            .permissions()
            .mode();
        self.write_file(guest, contents)?;
        let job = self.job(
            format!("setting the mode of the guest's file `{}`", shown(guest)),
            Deadline::never(),
        );
        let reply = execute(
            &job,
            format!("chmod {:o} {}", mode & 0o7777, quoted(guest)).as_bytes(),
        )?;
        check(&job.doing, reply).map(drop)
    }

    /// Copies the guest's file `guest` to the host's `host`. The mode is the one of any new file.
    ///
    /// # Errors
    ///
    /// See [above](#files); [`Error::Io`] where the host's file cannot be written.
    pub fn copy_out(&self, guest: impl AsRef<str>, host: impl AsRef<Path>) -> Result<()> {
        let (guest, host) = (guest.as_ref(), host.as_ref());
        let contents = self.read_file(guest)?;
        let doing = || {
            format!(
                "writing `{}`, copied from the guest's `{}`",
                host.display(),
                shown(guest)
            )
        };
        fs::write(host, contents).map_err(|error| Error::io(doing(), error))
    }
}

/// Statuses of a command of ours that say what the guest lacks; other commands have others (`sysexits.h` has these two
/// for the operating system).
const NO_DISK: i32 = 71;
const NO_TAR: i32 = 72;

impl Shell {
    /// Puts a copy of the folder that the builder [shares](crate::MachineBuilder::share) as `tag` into the guest's folder
    /// `guest`, which is made where it does not exist. The files belong to root, and keep their modes.
    ///
    /// # Errors
    ///
    /// [`Error::Guest`] where the guest lacks what it takes, and says what that is: a driver for virtio-blk, a mounted
    /// `/sys` to find the disk by, `tar`, the room for the files. Else as [`run`](Self::run).
    pub fn unpack_shared(&self, tag: impl AsRef<str>, guest: impl AsRef<str>) -> Result<()> {
        let (tag, guest) = (tag.as_ref(), guest.as_ref());
        let doing = format!(
            "unpacking the shared folder `{}` into `{}`",
            shown(tag),
            shown(guest)
        );
        let job = self.job(doing, Deadline::never());
        let command = format!(
            "d=; for b in /sys/block/*; do if [ \"$(cat $b/serial 2>/dev/null)\" = {tag} ]; then d=/dev/${{b##*/}}; fi; done\n\
             [ -n \"$d\" ] || exit {NO_DISK}; command -v tar >/dev/null || exit {NO_TAR}\n\
             mkdir -p {guest} && tar -xof $d -C {guest}",
            tag = quoted(tag),
            guest = quoted(guest),
        );
        let reply = execute(&job, command.as_bytes())?;
        match reply.status {
            NO_DISK => Err(job.failed(
                format!(
                    "the guest has no disk with the serial number `{tag}`: the machine shares no folder by that name, \
                     the guest's kernel has no driver for virtio-blk, or /sys is not mounted"
                ),
                "",
            )),
            NO_TAR => Err(job.failed("the guest has no tar", "")),
            _ => check(&job.doing, reply).map(drop),
        }
    }
}

/// The output of a command that must succeed.
fn check(doing: &str, reply: Reply) -> Result<Vec<u8>> {
    if reply.status != 0 {
        return Err(unexpected(doing, "", reply));
    }
    Ok(reply.stdout)
}

/// `word` as one word of a POSIX shell, a file name that starts with `-` included.
fn quoted(path: &str) -> String {
    let prefix = if path.starts_with('-') { "./" } else { "" };
    format!("'{prefix}{}'", path.replace('\'', r"'\''"))
}
