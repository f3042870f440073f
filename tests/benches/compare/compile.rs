//! What `qmp!` costs a build: a crate with many calls, against the same ones written with `json!`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::Result;
use crate::measure::in_turns;
use crate::table::{Aim, Table, Unit};

const TURNS: usize = 10;
/// How many times each of the calls below is written: 300 in all.
const TIMES: usize = 60;

/// The calls: a name with the arguments for `qmp!`, and the same for `json!`.
const CALLS: [[&str; 2]; 5] = [
    [
        r#"blockdev_add { driver: "qcow2", node_name: name, read_only: true, file: { driver: "file", filename: path, cache: { direct: false, no_flush: true } } }"#,
        r#""blockdev-add", { "driver": "qcow2", "node-name": name, "read-only": true, "file": { "driver": "file", "filename": path, "cache": { "direct": false, "no-flush": true } } }"#,
    ],
    [
        r#"chardev_add { id: name, backend: { type: "socket", data: { addr: { type: "unix", data: { path: path } }, server: true, wait: false } } }"#,
        r#""chardev-add", { "id": name, "backend": { "type": "socket", "data": { "addr": { "type": "unix", "data": { "path": path } }, "server": true, "wait": false } } }"#,
    ],
    [
        r#"device_add { driver: "virtio-blk-pci", id: name, drive: path, num_queues: 1 + 1, disable_legacy: "on" }"#,
        r#""device_add", { "driver": "virtio-blk-pci", "id": name, "drive": path, "num-queues": 1 + 1, "disable-legacy": "on" }"#,
    ],
    [
        r#"transaction { actions: [{ type: "block-dirty-bitmap-add", data: { node: name, name: path, granularity: 65536 } }, { type: "abort", data: {} }] }"#,
        r#""transaction", { "actions": [{ "type": "block-dirty-bitmap-add", "data": { "node": name, "name": path, "granularity": 65536 } }, { "type": "abort", "data": {} }] }"#,
    ],
    [
        r#"object_add { qom_type: "throttle-group", id: name, limits: { iops_total: 100, iops_size: 4096, bps_total: 1 << 20 } }"#,
        r#""object-add", { "qom-type": "throttle-group", "id": name, "limits": { "iops-total": 100, "iops-size": 4096, "bps-total": 1 << 20 } }"#,
    ],
];

pub(crate) fn measure(table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let package = |name: &str, uses: &str, call: &dyn Fn(&[&str; 2]) -> String| {
        write_package(&folder.path().join(name), name, uses, call)
    };
    let ours = package("with_qmp", "use qemu_test::qmp;", &|[qmp, _]| {
        format!("qmp!({qmp})")
    })?;
    let uses = "use qemu_test::{qmp::Command, serde_json::json};";
    let theirs = package("with_json", uses, &|[_, json]| {
        let (name, arguments) = json.split_once(", ").unwrap_or_default();
        format!("Command::new({name}).arguments(json!({arguments}))")
    })?;
    let [times] = in_turns(
        "`cargo check` of 300 calls",
        TURNS,
        || check(&ours),
        || check(&theirs),
    )?;
    let what = "`cargo check`, 300 nested calls";
    table.row(
        what,
        "the same with `json!`",
        Unit::Time,
        &times,
        Some(Aim::AtMost(1.0)),
    );
    Ok(())
}

/// Writes a crate of its own with all the calls; gives its folder.
fn write_package(
    folder: &Path,
    name: &str,
    uses: &str,
    call: &dyn Fn(&[&str; 2]) -> String,
) -> Result<PathBuf> {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../qemu-test");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nedition = \"2024\"\n\n[dependencies]\nqemu-test = {{ path = {library:?} }}\n\n\
         [workspace]\n\n[profile.dev]\ndebug = \"line-tables-only\"\n"
    );
    let mut source = format!("{uses}\n");
    for number in 0..TIMES {
        writeln!(source, "\npub fn calls_{number}(name: &str, path: &str) {{")?;
        for line in &CALLS {
            writeln!(source, "    let _ = {};", call(line))?;
        }
        writeln!(source, "}}")?;
    }
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("src/lib.rs"), source)?;
    // The same versions as here, so that what is built already is used.
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/own_schema/Cargo.lock"),
        folder.join("Cargo.lock"),
    )?;
    Ok(folder.to_owned())
}

/// Checks a crate that has changed since; gives the seconds.
fn check(folder: &Path) -> Result<[f64; 1]> {
    let source = folder.join("src/lib.rs");
    let text = fs::read_to_string(&source)?;
    // Without what the compiler remembers of the last time: each turn sees all calls anew.
    fs::write(&source, format!("{text}\n"))?;
    let executable = std::env::current_exe()?;
    // <target>/<profile>/deps/<executable>
    let target = executable.ancestors().nth(3).ok_or("no target folder")?;
    let began = Instant::now();
    let output = Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--offline"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "0")
        .output()?;
    let seconds = began.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok([seconds])
}
