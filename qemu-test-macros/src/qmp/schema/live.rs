//! Asks a QEMU program for its schema: over its standard input and output, with as little as that needs.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::table::dump::FORMAT;
use super::table::json::Json;

/// What a program told.
pub(crate) struct Told {
    pub(crate) dump: Json,
    /// The device types that ended it when it was asked for their properties, and its last words.
    pub(crate) fatal: Vec<(String, String)>,
}

/// Has `program` tell its schema.
pub(crate) fn ask(program: &Path) -> Result<Told, String> {
    let mut qemu = Qemu::start(program)?;
    let version = qemu.ask("query-version", "{}")?;
    let version = version.get("qemu").map(|version| {
        ["major", "minor", "micro"].map(|part| version.get(part).map_or(String::new(), Json::to_string))
    });
    let target = qemu.ask("query-target", "{}")?;
    let schema = qemu.ask("query-qmp-schema", "{}")?;
    let mut devices: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut fatal = Vec::new();
    let types = qemu.ask("qom-list-types", r#"{"implements":"device","abstract":false}"#)?;
    for name in types.elements().iter().map(|kind| kind.str("name")) {
        let arguments = format!(r#"{{"typename":{}}}"#, Json::from(name));
        match qemu.ask("device-list-properties", &arguments) {
            Ok(properties) => {
                let names = properties.elements().iter().map(|property| property.str("name"));
                let mut names: Vec<_> = names.map(str::to_owned).collect();
                names.sort_unstable();
                devices.insert(name.to_owned(), names);
            }
            Err(error) if qemu.is_gone() => {
                // A type that is not complete in this build, or that this accelerator cannot have, ends QEMU.
                fatal.push((name.to_owned(), error));
                qemu = Qemu::start(program)?;
            }
            // A type that exists as a name only.
            Err(_) => {}
        }
    }
    let help = qemu.ask("human-monitor-command", r#"{"command-line":"device_add help"}"#)?;
    for (alias, device) in aliases(help.as_str().unwrap_or_default()) {
        if let Some(properties) = devices.get(device).cloned() {
            devices.insert(alias.to_owned(), properties);
        }
    }
    let dump = Json::Object(vec![
        (String::from("format"), Json::from(FORMAT)),
        (
            String::from("version"),
            Json::String(version.unwrap_or_default().join(".")),
        ),
        (String::from("target"), Json::from(target.str("arch"))),
        (String::from("schema"), schema),
        (String::from("devices"), groups(&devices)),
        (
            String::from("left-out"),
            Json::Array(fatal.iter().map(left_out).collect()),
        ),
    ]);
    Ok(Told { dump, fatal })
}

fn left_out((name, why): &(String, String)) -> Json {
    Json::Object(vec![
        (String::from("name"), Json::from(name.as_str())),
        (String::from("why"), Json::from(why.as_str())),
    ])
}

/// Devices with equal properties together: processors have hundreds of them.
fn groups(devices: &BTreeMap<String, Vec<String>>) -> Json {
    let mut groups: BTreeMap<&[String], Vec<&str>> = BTreeMap::new();
    for (name, properties) in devices {
        groups.entry(properties).or_default().push(name);
    }
    let strings = |names: &mut dyn Iterator<Item = &str>| Json::Array(names.map(Json::from).collect());
    let group = |(properties, names): (&[String], Vec<&str>)| {
        Json::Object(vec![
            (String::from("names"), strings(&mut names.into_iter())),
            (
                String::from("properties"),
                strings(&mut properties.iter().map(String::as_str)),
            ),
        ])
    };
    Json::Array(groups.into_iter().map(group).collect())
}

/// `alias` and `name` of the lines `name "virtio-net-pci", bus PCI, alias "virtio-net"`.
pub(crate) fn aliases(help: &str) -> impl Iterator<Item = (&str, &str)> {
    help.lines().filter_map(|line| {
        let name = line.strip_prefix("name \"")?.split('"').next()?;
        let alias = line.split_once(", alias \"")?.1.split('"').next()?;
        Some((alias, name))
    })
}

/// A running program with its monitor.
struct Qemu {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Qemu {
    fn start(program: &Path) -> Result<Self, String> {
        let cannot = |error| format!("cannot start `{}`: {error}", program.display());
        let mut child = Command::new(program)
            .args(["-machine", "none", "-nodefaults", "-display", "none"])
            .args(["-S", "-qmp", "stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(String::from("a piped stream is missing"));
        };
        let from = BufReader::new(from);
        let mut qemu = Self { child, to, from };
        qemu.read()
            .map_err(|error| format!("`{}`: {error}", program.display()))?;
        qemu.ask("qmp_capabilities", "{}")?;
        Ok(qemu)
    }

    fn ask(&mut self, command: &str, arguments: &str) -> Result<Json, String> {
        let request = format!("{{\"execute\":\"{command}\",\"arguments\":{arguments}}}\n");
        // Of a QEMU that is gone, reading tells more.
        let _ = self.to.write_all(request.as_bytes());
        loop {
            let mut reply = self.read()?;
            if reply.get("error").is_some() {
                return Err(format!("`{command}`: {reply}"));
            }
            if let Json::Object(members) = &mut reply
                && let Some(at) = members.iter().position(|(name, _)| name == "return")
            {
                return Ok(members.swap_remove(at).1);
            }
        }
    }

    fn read(&mut self) -> Result<Json, String> {
        let mut line = String::new();
        let read = self.from.read_line(&mut line);
        if !read.is_ok_and(|bytes| bytes > 0) {
            return Err(self.last_words());
        }
        let value = Json::parse_all(&line)?.pop();
        value.ok_or_else(|| String::from("an empty line"))
    }

    /// What a program that has closed its monitor wrote last.
    fn last_words(&mut self) -> String {
        let errors = self.child.stderr.take();
        let lines = errors.map(|errors| BufReader::new(errors).lines().map_while(Result::ok));
        let last = lines.and_then(Iterator::last);
        last.unwrap_or_else(|| String::from("it ended without a word"))
    }

    fn is_gone(&self) -> bool {
        self.child.stderr.is_none()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
