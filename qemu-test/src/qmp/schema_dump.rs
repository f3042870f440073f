//! What a QEMU says of itself, in the form that `qmp!` reads at build time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Client, Command};
use crate::{Error, Result};

/// What `qmp!` recognises a dump by.
const FORMAT: &str = "qemu-test schema dump 1";

/// What there is to say of a device type.
pub(crate) enum Properties {
    /// The names, sorted.
    Of(Vec<String>),
    /// It exists as a name only.
    None,
    /// It ended the QEMU that was asked; with that one's last words.
    Fatal(String),
}

impl Client {
    /// This QEMU's schema, and the properties of its devices, as one line of JSON for `QEMU_TEST_SCHEMA`, by which
    /// [`qmp!`](crate::qmp!) learns the names of a QEMU that is newer than its table, or patched.
    ///
    /// Some builds of QEMU have device types that they cannot make, such as those of a module whose libraries are not
    /// there, and end when they are asked about one. That is an error here, which names the type, and the end of the
    /// QEMU: ask one that nobody needs any more. [`Machine::schema_dump`](crate::Machine::schema_dump), which can start
    /// another, and `cargo xtask schema --dump` go around such types.
    ///
    /// # Errors
    ///
    /// As for [`command`](Self::command).
    ///
    /// ```no_run
    /// # fn f(monitor: &qemu_test::qmp::Client) -> qemu_test::Result<()> {
    /// std::fs::write("qemu-schema.json", monitor.schema_dump()?)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn schema_dump(&self) -> Result<String> {
        self.schema_dump_by(&mut |kind| self.device_properties(kind))
    }

    /// The same, with somebody else to ask about the device types.
    pub(crate) fn schema_dump_by(
        &self,
        properties: &mut dyn FnMut(&str) -> Result<Properties>,
    ) -> Result<String> {
        let version = self.command("query-version")?;
        let version = ["major", "minor", "micro"].map(|part| version["qemu"][part].to_string());
        let target = &self.command("query-target")?["arch"];
        let schema = self.command("query-qmp-schema")?;
        let types =
            Command::new("qom-list-types").arguments(json!({ "implements": "device", "abstract": false }));
        let mut devices = BTreeMap::new();
        let mut left_out = Vec::new();
        for kind in names(&self.command(types)?) {
            match properties(&kind)? {
                Properties::Of(properties) => drop(devices.insert(kind, properties)),
                Properties::None => {}
                Properties::Fatal(why) => left_out.push(json!({ "name": kind, "why": why })),
            }
        }
        // Only a help text knows the aliases: `name "virtio-net-pci", bus PCI, alias "virtio-net"`.
        for line in self.hmp("device_add help")?.lines() {
            let quoted = |before: &str| line.split_once(before)?.1.split('"').next();
            let (name, alias) = (quoted("name \""), quoted(", alias \""));
            if let (Some(properties), Some(alias)) = (name.and_then(|name| devices.get(name)), alias) {
                devices.insert(alias.to_owned(), properties.clone());
            }
        }
        let dump = json!({
            "format": FORMAT,
            "version": version.join("."),
            "target": target,
            "schema": schema,
            "devices": groups(&devices),
            "left-out": left_out,
        });
        Ok(format!("{dump}\n"))
    }

    pub(crate) fn device_properties(&self, kind: &str) -> Result<Properties> {
        let list = Command::new("device-list-properties").arguments(json!({ "typename": kind }));
        match self.command(list) {
            Ok(properties) => {
                let mut properties = names(&properties);
                properties.sort_unstable();
                Ok(Properties::Of(properties))
            }
            Err(Error::Qmp(_)) => Ok(Properties::None),
            Err(error) => Err(error),
        }
    }
}

/// Devices with equal properties together: processors have hundreds of them.
fn groups(devices: &BTreeMap<String, Vec<String>>) -> Value {
    let mut groups: BTreeMap<&[String], Vec<&str>> = BTreeMap::new();
    for (name, properties) in devices {
        groups.entry(properties).or_default().push(name);
    }
    let groups = groups.into_iter();
    groups
        .map(|(properties, names)| json!({ "names": names, "properties": properties }))
        .collect()
}

fn names(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items
        .filter_map(|item| item["name"].as_str())
        .map(str::to_owned)
        .collect()
}
