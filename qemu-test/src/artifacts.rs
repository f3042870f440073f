//! Where a test's files are: one folder per run of a test, one in it per machine.
//!
//! `<target>/qemu-test/<package>/<binary>/<module>/<test>/<run>/<machine>/`. A folder is made by the machine that
//! needs it and removed by the run that passes; nobody ever touches another run's.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use crate::error::{Error, Result};

/// Which test it is whose files these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestPath {
    pub(crate) package: String,
    pub(crate) binary: String,
    /// `module::submodule::test`.
    pub(crate) test: String,
}

impl TestPath {
    /// The test that runs on this thread, as far as a program can tell: libtest names the thread after it, unless
    /// one thread runs them all.
    pub(crate) fn of_this_thread() -> Self {
        let test = std::thread::current()
            .name()
            .unwrap_or("unnamed-thread")
            .to_owned();
        Self {
            package: package(),
            binary: binary(),
            test,
        }
    }

    fn folder(&self) -> PathBuf {
        let mut folder = PathBuf::from(component(&self.package));
        folder.push(component(&self.binary));
        folder.extend(self.test.split("::").map(component));
        folder
    }
}

/// The package under test: cargo and nextest say so to the programs they run.
fn package() -> String {
    std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "unknown-package".to_owned())
}

/// The name of the running executable without the hash that cargo appends.
pub(crate) fn binary() -> String {
    let executable = std::env::current_exe().unwrap_or_default();
    let name = executable
        .file_stem()
        .unwrap_or(OsStr::new("unknown-binary"))
        .to_string_lossy();
    match name.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        _ => name.into_owned(),
    }
}

/// `name` as one component of a path: no separator, no control character, not hidden, not over-long.
fn component(name: &str) -> String {
    // A file name may have 255 bytes; a suffix that tells two machines of one name apart must fit as well.
    const LONGEST: usize = 120;
    let fit = |c: char| {
        if c == '/' || c == '\\' || c.is_control() {
            '_'
        } else {
            c
        }
    };
    let mut clean: String = name.chars().map(fit).collect();
    while clean.len() > LONGEST {
        clean.pop();
    }
    match clean.as_bytes().first() {
        None => "_".to_owned(),
        Some(b'.') => format!("_{clean}"),
        Some(_) => clean,
    }
}

/// The folder under which all artifacts are.
pub(crate) fn root() -> PathBuf {
    if let Some(root) = std::env::var_os("QEMU_TEST_DIR").filter(|root| !root.is_empty()) {
        return PathBuf::from(root);
    }
    place("qemu-test")
}

/// A folder of this name below cargo's target folder, else in the temporary one.
pub(crate) fn place(name: &str) -> PathBuf {
    match target_dir() {
        Some(target) => target.join(name),
        // Shared with other users of this machine: a folder of our own keeps their permissions out of the way.
        None => std::env::temp_dir().join(format!("{name}-{}", rustix::process::getuid().as_raw())),
    }
}

/// Cargo's target folder, which the running executable is in.
pub(crate) fn target_dir() -> Option<PathBuf> {
    target_dir_of(&std::env::current_exe().ok()?)
}

/// Cargo marks a target folder as a cache where it makes it itself; in one that it finds (a volume that is mounted
/// there) it leaves only its notes on the compiler.
fn target_dir_of(executable: &Path) -> Option<PathBuf> {
    const MARKS: [&str; 2] = ["CACHEDIR.TAG", ".rustc_info.json"];
    let is_target = |folder: &&Path| MARKS.iter().any(|mark| folder.join(mark).is_file());
    executable.ancestors().skip(1).find(is_target).map(Path::to_owned)
}

/// The folder of one run of one test.
#[derive(Debug)]
pub(crate) struct RunDir {
    root: PathBuf,
    path: PathBuf,
}

impl RunDir {
    /// Makes the folder: new for each process and each attempt.
    pub(crate) fn create(root: &Path, test: &TestPath) -> Result<Self> {
        static RUN: AtomicU32 = AtomicU32::new(0);
        let root =
            std::path::absolute(root).map_err(|e| Error::io(format!("resolving {}", root.display()), e))?;
        let started = humantime::format_rfc3339_seconds(SystemTime::now())
            .to_string()
            .replace(':', "");
        loop {
            let number = RUN.fetch_add(1, Ordering::Relaxed);
            let run = format!("{started}-{}-{number}", std::process::id());
            let path = root.join(test.folder()).join(run);
            match make_new(&path) {
                Ok(()) => return Ok(Self { root, path }),
                // Another process with this id, in another PID namespace that shares the folder.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(cannot_create(&path, e)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder in it for a machine; a second machine of that name gets a number behind it.
    pub(crate) fn machine_dir(&self, name: &str) -> Result<PathBuf> {
        let name = component(name);
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        for candidate in std::iter::once(name.clone()).chain(numbered) {
            let path = self.path.join(candidate);
            let made = match fs::create_dir(&path) {
                // Its last machine took the folder along, and another one comes in its place.
                Err(e) if e.kind() == io::ErrorKind::NotFound => make_new(&path),
                made => made,
            };
            match made {
                Ok(()) => return Ok(path),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(cannot_create(&path, e)),
            }
        }
        unreachable!("there are more numbers than folders")
    }

    /// Removes the folder, and those above it that are empty then.
    pub(crate) fn remove(&self) -> io::Result<()> {
        // An empty one goes even where this process has no descriptor left to look into it.
        match fs::remove_dir(&self.path).or_else(|_| fs::remove_dir_all(&self.path)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let above = self
            .path
            .ancestors()
            .skip(1)
            .take_while(|folder| *folder != self.root);
        for folder in above {
            // Another run of the test, or another test, is in it.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn cannot_create(path: &Path, error: io::Error) -> Error {
    Error::io(format!("creating the artifact folder {}", path.display()), error)
}

/// Makes a folder that was not there, with all above it. A run that ends removes empty folders, so that one above
/// may vanish between two calls.
fn make_new(path: &Path) -> io::Result<()> {
    const TRIES: usize = 100;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let mut tries = 0;
    loop {
        let made = fs::create_dir_all(parent).and_then(|()| fs::create_dir(path));
        tries += 1;
        match made {
            Err(e) if e.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
            made => return made,
        }
    }
}

/// Whether the artifacts of passing tests stay, too.
pub(crate) fn keep() -> bool {
    std::env::var_os("QEMU_TEST_KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_path() -> TestPath {
        TestPath {
            package: "p".into(),
            binary: "b".into(),
            test: "net::tap::pings".into(),
        }
    }

    #[test]
    fn a_component_never_leaves_its_folder() {
        for (name, expected) in [
            ("../../etc", "_.._.._etc"),
            ("", "_"),
            ("a\nb", "a_b"),
            ("größe", "größe"),
        ] {
            assert_eq!(component(name), expected);
        }
        assert!(component(&"ß".repeat(500)).len() <= 120);
    }

    #[test]
    fn a_target_folder_is_known_by_either_of_cargos_marks() {
        let root = tempfile::tempdir().unwrap();
        let deps = root.path().join("target/debug/deps");
        fs::create_dir_all(&deps).unwrap();
        let found = || target_dir_of(&deps.join("test-0123456789abcdef"));
        // What is above the scratch folder does not count.
        assert!(found().is_none_or(|found| !found.starts_with(root.path())));
        for mark in ["CACHEDIR.TAG", ".rustc_info.json"] {
            let mark = root.path().join("target").join(mark);
            fs::write(&mark, "").unwrap();
            assert_eq!(found(), Some(root.path().join("target")));
            fs::remove_file(mark).unwrap();
        }
    }

    #[test]
    fn two_runs_and_two_machines_of_one_name_have_folders_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        let runs = [(); 2].map(|()| RunDir::create(root.path(), &test_path()).unwrap());
        assert_ne!(runs[0].path(), runs[1].path());
        assert!(runs[0].path().starts_with(root.path().join("p/b/net/tap/pings")));
        let machines = [(); 2].map(|()| runs[0].machine_dir("vm").unwrap());
        assert!(machines[0].ends_with("vm") && machines[1].ends_with("vm-2"));
    }

    #[test]
    fn a_run_removes_its_own_files_and_nobody_elses() {
        let root = tempfile::tempdir().unwrap();
        let runs = [(); 2].map(|()| RunDir::create(root.path(), &test_path()).unwrap());
        fs::write(runs[0].machine_dir("vm").unwrap().join("qemu.log"), "x").unwrap();
        runs[0].remove().unwrap();
        assert!(!runs[0].path().exists() && runs[1].path().exists());
        runs[1].remove().unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn runs_that_come_and_go_at_once_do_not_disturb_each_other() {
        let root = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        RunDir::create(root.path(), &test_path())
                            .unwrap()
                            .remove()
                            .unwrap();
                    }
                });
            }
        });
    }
}
