//! Where things lie: the workspace, and what setup keeps under cargo's target directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The workspace's root.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Cargo's target directory, which may be anywhere (`CARGO_TARGET_DIR`, `build.target-dir`): this program lies in
/// it, and cargo marks it with these files.
pub(crate) fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let marked = |dir: &&Path| dir.join(".rustc_info.json").exists() || dir.join("CACHEDIR.TAG").exists();
    match program.ancestors().skip(1).find(marked) {
        Some(target) => target.to_owned(),
        None => workspace().join("target"),
    }
}

/// The Linux guests: the default one's files directly in it, the others in folders.
pub(crate) fn guests() -> PathBuf {
    std::env::var_os("QEMU_TEST_GUEST_DIR").map_or_else(|| target().join("guest"), PathBuf::from)
}

/// A sibling of `path` to make it in, so that an interrupted setup leaves nothing that looks complete.
pub(crate) fn partial(path: &Path) -> PathBuf {
    let mut name = OsString::from(".partial-");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}
