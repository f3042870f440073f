//! `QEMU_TEST_SCHEMA` from the outside: a crate that uses a command of a QEMU that nobody else has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use qemu_test::{Machine, qemu_test};
use serde_json::{Value, json};

/// What a real machine says of itself, and a command more, whose argument is spelt as given.
fn dump(vm: &Machine, argument: &str) -> qemu_test::Result<String> {
    let mut dump: Value = serde_json::from_str(&vm.schema_dump()?)?;
    let schema = dump["schema"].as_array_mut().expect("the types");
    schema.push(
        json!({ "name": "x-vendor_frob", "meta-type": "command", "arg-type": "own", "ret-type": "own" }),
    );
    let member = json!({ "name": argument, "type": "int" });
    schema.push(json!({ "name": "own", "meta-type": "object", "members": [member] }));
    Ok(dump.to_string())
}

#[qemu_test(args = ["-machine", "none", "-nodefaults"])]
fn a_crate_is_built_again_when_its_schema_changes(vm: &Machine) -> qemu_test::Result<()> {
    let folder = tempfile::tempdir()?;
    let (first, second) = (
        folder.path().join("first.json"),
        folder.path().join("second.json"),
    );
    fs::write(&first, dump(vm, "vendor-level")?)?;
    fs::write(&second, dump(vm, "vendor_level")?)?;
    let dashed = r#"{"execute":"x-vendor_frob","arguments":{"vendor-level":1}}"#;
    let underscored = r#"{"execute":"x-vendor_frob","arguments":{"vendor_level":1}}"#;

    // Without the variable, nobody knows the command.
    let unknown = "has no command `x_vendor_frob`";
    run(None).fails_with(unknown);
    // The variable counts, and so does its change.
    run(Some(&first)).prints(dashed);
    run(Some(&second)).prints(underscored);
    run(Some(&first)).prints(dashed);
    // So does the file's.
    fs::copy(&second, &first)?;
    run(Some(&first)).prints(underscored);
    // A dump alone is enough.
    run(Some(Path::new(&format!("only:{}", second.display())))).prints(underscored);
    // What cannot be used is told once, with the reason, and nothing else is.
    let missing = run(Some(&folder.path().join("none.json")));
    missing.fails_with("QEMU_TEST_SCHEMA: cannot read `");
    assert_eq!(missing.output.matches("error: ").count(), 2, "{}", missing.output);
    fs::write(&first, "{}")?;
    run(Some(&first)).fails_with("is no schema dump (it is no `qemu-test schema dump 1`)");
    run(None).fails_with(unknown);
    Ok(())
}

struct Run {
    succeeded: bool,
    output: String,
}

impl Run {
    #[track_caller]
    fn prints(&self, line: &str) {
        assert!(self.succeeded, "{}", self.output);
        let printed: Vec<_> = self.output.lines().filter(|line| line.starts_with('{')).collect();
        assert_eq!(printed, [line, r#"{"execute":"query-status"}"#]);
    }

    #[track_caller]
    fn fails_with(&self, message: &str) {
        assert!(
            !self.succeeded && self.output.contains(message),
            "{}",
            self.output
        );
    }
}

/// Runs the fixture crate. It shares the target folder, and with it all that is built already.
fn run(schema: Option<&Path>) -> Run {
    let executable = std::env::current_exe().unwrap();
    // <target>/<profile>/deps/<executable>
    let target = executable.ancestors().nth(3).unwrap();
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["run", "--quiet"])
        .current_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/own_schema"))
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("QEMU_TEST_SCHEMA");
    if let Some(schema) = schema {
        command.env("QEMU_TEST_SCHEMA", schema);
    }
    let output = command.output().unwrap();
    Run {
        succeeded: output.status.success(),
        output: [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat(),
    }
}
