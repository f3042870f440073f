//! What QEMU itself says of a machine, before anything in it runs: how much memory, which kind of machine, which images.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::files::FileIdentity;
use super::manifest::Images;
use crate::error::Result;
use crate::machine::{self, Extras, Home};
use crate::qmp::Command;
use crate::{Machine, MachineBuilder};

/// What a machine is.
#[derive(Debug)]
pub(super) struct Facts {
    /// QEMU's version, with its packager's suffix.
    pub(super) qemu: String,
    /// Whether its platform takes a `vmgenid` device.
    pub(super) takes_vmgenid: bool,
    /// The bytes of RAM.
    pub(super) memory: u64,
    /// Why its RAM cannot be put into a file, if so.
    pub(super) obstacle: Option<String>,
    /// The files of all images, backing ones included.
    pub(super) images: Images,
}

/// Starts the machine, paused, and asks.
pub(super) fn probe(builder: &MachineBuilder, home: Arc<dyn Home>) -> Result<Facts> {
    let builder = builder.clone().name("probe");
    let extras = Extras {
        arguments: vec![OsString::from("-S")],
        of_fixture: true,
        ..Extras::default()
    };
    let vm = machine::launch_with(&builder, home, extras)?;
    let facts = facts(&vm)?;
    vm.shutdown()?;
    Ok(facts)
}

fn facts(vm: &Machine) -> Result<Facts> {
    let property = |name: &str| {
        let arguments = json!({ "path": "/machine", "property": name });
        let value = vm.command(Command::new("qom-get").arguments(arguments));
        value
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    let kind = property("type");
    let memory = vm.command("query-memory-size-summary")?["base-memory"]
        .as_u64()
        .unwrap_or_default();
    let machines = vm.command("query-machines")?;
    let default_backend = machines
        .as_array()
        .into_iter()
        .flatten()
        .find(|machine| machine["name"].as_str() == kind.strip_suffix("-machine"))
        .and_then(|machine| machine["default-ram-id"].as_str().map(str::to_owned));
    let obstacle = obstacle(
        memory,
        &property("memory-backend"),
        default_backend.as_deref(),
        &vm.command("query-memdev")?,
    );
    let images = vm.command("query-named-block-nodes")?;
    Ok(Facts {
        qemu: version(vm)?,
        takes_vmgenid: kind.starts_with("pc-"),
        memory,
        obstacle,
        images: images
            .as_array()
            .into_iter()
            .flatten()
            .filter(|node| node["drv"] == "file")
            .filter_map(|node| {
                let path = node["file"].as_str()?;
                Some((path.to_owned(), FileIdentity::of(Path::new(path)).ok()?))
            })
            .collect(),
    })
}

/// QEMU's version as it says it.
pub(super) fn version(vm: &Machine) -> Result<String> {
    let version = vm.command("query-version")?;
    let number = |part: &str| version["qemu"][part].as_u64().unwrap_or_default();
    let package = version["package"].as_str().unwrap_or_default();
    Ok(format!(
        "{}.{}.{} {package}",
        number("major"),
        number("minor"),
        number("micro")
    ))
}

/// `used` is the path of the backend that the machine's RAM is in, `default` the name that QEMU gives to its own.
fn obstacle(memory: u64, used: &str, default: Option<&str>, backends: &Value) -> Option<String> {
    let own = used.rsplit('/').next().unwrap_or_default();
    if memory == 0 {
        return None;
    }
    let Some(default) = default else {
        return Some("a machine of this type does not take its memory from a file".to_owned());
    };
    if own.is_empty() {
        return Some("its memory is made of backends of its own (`-numa node,memdev=...`)".to_owned());
    }
    if own != default {
        return Some(format!(
            "its memory is in the backend `{own}` of its own (`-machine memory-backend={own}`)"
        ));
    }
    // A copy must not share memory with anybody else, and the state would not hold what is in it.
    let shared = backends
        .as_array()?
        .iter()
        .find(|backend| backend["share"] == true)?;
    let id = shared["id"].as_str().unwrap_or_default();
    Some(format!(
        "its memory backend `{id}` is shared with other programs (`share=on`)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_users_own_making_is_named() {
        let none = json!([]);
        let why = |used, default, backends: &Value| obstacle(1, used, default, backends).unwrap_or_default();
        assert_eq!(why("/objects/pc.ram", Some("pc.ram"), &none), "");
        assert_eq!(obstacle(0, "", Some("ram"), &none), None);
        assert!(why("/objects/mine", Some("pc.ram"), &none).contains("`mine`"));
        assert!(why("", Some("pc.ram"), &none).contains("-numa"));
        assert!(why("", None, &none).contains("of this type"));
        let shared = json!([{ "id": "a", "share": false }, { "id": "b", "share": true }]);
        assert!(why("/objects/pc.ram", Some("pc.ram"), &shared).contains("`b`"));
    }
}
