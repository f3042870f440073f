//! The form of the repository itself: what rustfmt and clippy do not look at.

use std::fs;
use std::path::{Path, PathBuf};

/// A longer file is one that nobody holds in the head.
const MOST_LINES: usize = 600;

/// The only files outside tests that may need `unsafe`, each with its reason at the top.
const WITH_UNSAFE: &[&str] = &[
    "qemu-test/src/process/guardian.rs",
    "qemu-test/src/process/sys.rs",
    "qemu-test/src/qmp/credentials.rs",
];

/// A source file, by its path below the workspace's root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_of_tests(&self) -> bool {
        let path = &self.path;
        let folders = ["tests/", "examples/tests/"];
        folders.iter().any(|folder| path.starts_with(folder))
            || path.contains("/tests/")
            || path.ends_with("/tests.rs")
    }

    /// What is no unit test.
    fn code(&self) -> &str {
        let code = self.text.split("#[cfg(test)]\nmod ").next();
        code.filter(|_| !self.is_of_tests()).unwrap_or_default()
    }
}

/// Every Rust file that is written by hand.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sources = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if name.ends_with(".rs") {
                sources.push(source(root, path));
            }
        }
    }
    assert!(sources.len() > 100, "only {} files were found", sources.len());
    sources
}

fn source(root: &Path, path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).unwrap();
    let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    Source { path, text }
}

/// Fails with all of `broken`, so that one run tells everything.
#[track_caller]
fn none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

fn paths(sources: &[Source], breaks: impl Fn(&Source) -> bool) -> Vec<String> {
    let broken = sources.iter().filter(|source| breaks(source));
    broken.map(|source| source.path.clone()).collect()
}

#[test]
fn every_module_says_first_what_it_is_about() {
    let sources = sources();
    let undocumented = paths(&sources, |source| {
        !source.path.contains("/ui/") && !source.text.starts_with("//!")
    });
    none("these do not begin with `//!`", undocumented);
}

#[test]
fn no_file_is_too_long_to_be_held_in_the_head() {
    let long = paths(&sources(), |source| source.text.lines().count() > MOST_LINES);
    none(&format!("these have more than {MOST_LINES} lines"), long);
}

#[test]
fn unsafe_code_is_where_it_is_known_to_be_needed() {
    let attribute = ["unsafe_code", ","].concat();
    let elsewhere = paths(&sources(), |source| {
        !source.is_of_tests()
            && source.text.contains(&attribute)
            && !WITH_UNSAFE.contains(&source.path.as_str())
    });
    none("these have `unsafe` code without being known for it", elsewhere);
}

#[test]
fn the_library_waits_for_things_and_not_for_time() {
    let sleep = ["thread::", "sleep"].concat();
    let sleeping = paths(&sources(), |source| {
        source.path.starts_with("qemu-test/src/") && source.code().contains(&sleep)
    });
    none("these sleep", sleeping);
}

#[test]
fn every_variable_that_is_read_is_in_the_crates_documentation() {
    let sources = sources();
    let table = &sources
        .iter()
        .find(|source| source.path == "qemu-test/src/lib.rs")
        .expect("the library's root")
        .text;
    let mut undocumented = Vec::new();
    let of_library = |source: &&Source| source.path.starts_with("qemu-test") && !source.is_of_tests();
    for source in sources.iter().filter(of_library) {
        let quoted = source
            .text
            .split('"')
            .filter(|text| text.starts_with("QEMU_TEST_"));
        for variable in quoted.filter(|text| text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')) {
            // Where the library's own tests find their guests.
            if source.path != "qemu-test/src/testing.rs" && !table.contains(&format!("`{variable}")) {
                undocumented.push(format!("{variable} in {}", source.path));
            }
        }
    }
    none("these variables are not in the table", undocumented);
}
