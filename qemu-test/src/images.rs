//! How a command line names disk images, and the same command line with its images opened otherwise.
//!
//! Only arguments are looked at, and only those forms that can be told with certainty; whatever else there is stays
//! as the user wrote it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use serde_json::Value;

use crate::command_line::{escaped, option_name, options};

/// The block drivers that open a file or a device of the host.
const OF_HOST: [&str; 2] = ["file", "host_device"];

/// Those that write to something else that is not the machine's own.
const ELSEWHERE: [&str; 12] = [
    "host_device",
    "iscsi",
    "nbd",
    "nfs",
    "nvme",
    "nvme-io_uring",
    "rbd",
    "ssh",
    "virtio-blk-vfio-pci",
    "virtio-blk-vhost-user",
    "virtio-blk-vhost-vdpa",
    "vvfat",
];

/// The options that take the path of an image and nothing else.
const PATH_ONLY: [&str; 9] = [
    "hda", "hdb", "hdc", "hdd", "sd", "mtdblock", "pflash", "fda", "fdb",
];

/// The same arguments with images that QEMU takes no locks on. A machine whose images are written by overlays alone
/// needs none, and with them it could not start while any other one has the same image: QEMU opens it to write first.
pub(crate) fn without_locks(arguments: &[OsString]) -> Vec<OsString> {
    map_values(arguments, |option, value| match option {
        "drive" => drive_without_locks(value),
        "blockdev" => edit_nodes(value, &mut |node| {
            (OF_HOST.contains(&node.driver) && !node.locking).then(|| ("locking", "off".to_owned()))
        }),
        option if PATH_ONLY.contains(&option) && Path::new(value).is_file() => {
            let file = serde_json::json!({ "driver": "file", "filename": value.to_str()?, "locking": "off" });
            Some(format!("json:{}", serde_json::json!({ "file": file })).into())
        }
        _ => None,
    })
}

/// The block nodes that `-snapshot` does not keep from being written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// The arguments with `{dir}/image-<number>` in place of each image in [`files`](Self::files).
    pub(crate) arguments: Vec<OsString>,
    pub(crate) files: Vec<String>,
    /// The drivers of those that are no files.
    pub(crate) elsewhere: Vec<String>,
}

impl Written {
    pub(crate) fn by(arguments: &[OsString]) -> Self {
        let (mut files, mut elsewhere) = (Vec::new(), Vec::new());
        let arguments = map_values(arguments, |option, value| {
            if option != "blockdev" {
                return None;
            }
            edit_nodes(value, &mut |node| {
                if node.read_only {
                    return None;
                }
                if ELSEWHERE.contains(&node.driver) {
                    elsewhere.push(node.driver.to_owned());
                    return None;
                }
                let file = node.filename.filter(|_| node.driver == "file")?;
                files.push(file.to_owned());
                Some(("filename", format!("{{dir}}/image-{}", files.len() - 1)))
            })
        });
        Self {
            arguments,
            files,
            elsewhere,
        }
    }
}

/// The arguments with what `map` makes of the values of options, which it gets without their hyphens.
fn map_values(
    arguments: &[OsString],
    mut map: impl FnMut(&str, &OsStr) -> Option<OsString>,
) -> Vec<OsString> {
    let mut option = None;
    arguments
        .iter()
        .map(|argument| {
            if let Some(option) = option.take() {
                return map(option, argument).unwrap_or_else(|| argument.clone());
            }
            option = option_name(argument)
                .filter(|option| ["drive", "blockdev"].contains(option) || PATH_ONLY.contains(option));
            argument.clone()
        })
        .collect()
}

fn drive_without_locks(value: &OsStr) -> Option<OsString> {
    let list = Options::read(value)?;
    if list.get("file.locking").is_some() {
        return None;
    }
    let of_file = list
        .get("file.driver")
        .is_none_or(|driver| OF_HOST.contains(&driver));
    let path = list.get("file").or_else(|| list.get("file.filename"));
    // Anything but a path that is there may be an address, which takes other options.
    if !of_file || !path.is_some_and(|path| Path::new(path).exists()) {
        return None;
    }
    let mut value = value.to_owned();
    value.push(",file.locking=off");
    Some(value)
}

/// A node of a block graph, as the value of `-blockdev` has it.
struct Node<'a> {
    driver: &'a str,
    filename: Option<&'a str>,
    read_only: bool,
    locking: bool,
}

/// An option for a node, and its value.
type Edit = (&'static str, String);

/// The value of a `-blockdev` with what `edit` has for each of its nodes.
fn edit_nodes(value: &OsStr, edit: &mut dyn FnMut(&Node<'_>) -> Option<Edit>) -> Option<OsString> {
    if value.as_bytes().first() == Some(&b'{') {
        let mut json = serde_json::from_slice(value.as_bytes()).ok()?;
        return edit_json(&mut json, false, edit).then(|| json.to_string().into());
    }
    let mut list = Options::read(value)?;
    let prefixes: Vec<String> = list
        .0
        .iter()
        .filter_map(|(key, _)| key.strip_suffix("driver"))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        .map(str::to_owned)
        .collect();
    let mut edits = Vec::new();
    for prefix in prefixes {
        let of_node = |key: &str| list.get(&format!("{prefix}{key}"));
        // A node below one that is only read is only read, too.
        let read_only = prefix
            .char_indices()
            .filter(|(_, c)| *c == '.')
            .map(|(at, _)| &prefix[..=at])
            .chain([""])
            .any(|above| {
                matches!(
                    list.get(&format!("{above}read-only")),
                    Some("on" | "yes" | "true" | "y")
                )
            });
        let node = Node {
            driver: of_node("driver").unwrap_or_default(),
            filename: of_node("filename"),
            read_only,
            locking: of_node("locking").is_some(),
        };
        if let Some((key, value)) = edit(&node) {
            edits.push((format!("{prefix}{key}"), value));
        }
    }
    if edits.is_empty() {
        return None;
    }
    for (key, value) in edits {
        list.set(key, value);
    }
    Some(list.write())
}

fn edit_json(value: &mut Value, read_only: bool, edit: &mut dyn FnMut(&Node<'_>) -> Option<Edit>) -> bool {
    let Value::Object(fields) = value else {
        return false;
    };
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let read_only = read_only || fields.get("read-only") == Some(&Value::Bool(true));
    let wanted = text("driver").and_then(|driver| {
        edit(&Node {
            driver,
            filename: text("filename"),
            read_only,
            locking: fields.contains_key("locking"),
        })
    });
    let mut edited = wanted.is_some();
    if let Some((key, value)) = wanted {
        fields.insert(key.to_owned(), value.into());
    }
    for below in fields.values_mut() {
        edited |= edit_json(below, read_only, edit);
    }
    edited
}

/// A list of options as QEMU takes it: `key=value` with commas between, `,,` being a comma in a value.
struct Options(Vec<(String, String)>);

impl Options {
    /// `None` for what is no UTF-8.
    fn read(list: &OsStr) -> Option<Self> {
        let pair = |(number, option): (usize, String)| match option.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            // The one key that may be left out where it comes first.
            None if number == 0 => ("driver".to_owned(), option),
            None => (option, "on".to_owned()),
        };
        let options: Option<Vec<String>> = options(list)
            .into_iter()
            .map(|option| option.into_string().ok())
            .collect();
        Some(Self(options?.into_iter().enumerate().map(pair).collect()))
    }

    /// The last one counts, as it does for QEMU.
    fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(other, _)| other == key);
        found.map(|(_, value)| value.as_str())
    }

    fn set(&mut self, key: String, value: String) {
        self.0.retain(|(other, _)| *other != key);
        self.0.push((key, value));
    }

    fn write(&self) -> OsString {
        let mut bytes = Vec::new();
        for (key, value) in &self.0 {
            if !bytes.is_empty() {
                bytes.push(b',');
            }
            bytes.extend_from_slice(key.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(escaped(OsStr::new(value)).as_bytes());
        }
        OsString::from_vec(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(arguments: &[&str]) -> Vec<OsString> {
        arguments.iter().map(OsString::from).collect()
    }

    #[test]
    fn every_form_of_an_image_goes_without_locks() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("a,b");
        std::fs::write(&image, "").unwrap();
        let path = image.to_str().unwrap();
        let doubled = path.replace(',', ",,");
        let unlocked = |option: &str, value: &str| {
            let line = without_locks(&line(&["-S", option, value]));
            assert_eq!(line[..2], ["-S", option]);
            line[2].to_str().unwrap().to_owned()
        };
        for drive in [
            format!("if=virtio,file={doubled}"),
            format!("file.filename={doubled},file.driver=file"),
        ] {
            assert_eq!(unlocked("-drive", &drive), format!("{drive},file.locking=off"));
        }
        assert_eq!(
            unlocked("--hda", path),
            format!(r#"json:{{"file":{{"driver":"file","filename":"{path}","locking":"off"}}}}"#)
        );
        assert_eq!(
            unlocked("-blockdev", &format!("file,node-name=a,filename={doubled}")),
            format!("driver=file,node-name=a,filename={doubled},locking=off")
        );
        assert_eq!(
            unlocked(
                "-blockdev",
                &format!("driver=raw,file.driver=file,file.filename={doubled}")
            ),
            format!("driver=raw,file.driver=file,file.filename={doubled},file.locking=off")
        );
        let nested = r#"{"driver":"raw","file":{"driver":"host_device","filename":"/dev/x"}}"#;
        assert_eq!(
            unlocked("-blockdev", nested),
            r#"{"driver":"raw","file":{"driver":"host_device","filename":"/dev/x","locking":"off"}}"#
        );
    }

    #[test]
    fn what_is_no_file_or_says_itself_how_it_is_locked_stays() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, "").unwrap();
        let image = image.display();
        for (option, value) in [
            ("-drive", "file=nbd://localhost/x,if=virtio".to_owned()),
            ("-drive", "file=fat:rw:/tmp".to_owned()),
            ("-drive", format!("file={image},file.locking=on")),
            ("-drive", "if=none,id=empty".to_owned()),
            ("-hda", "nbd://localhost/x".to_owned()),
            ("-blockdev", format!("driver=file,locking=auto,filename={image}")),
            ("-blockdev", "driver=null-co,node-name=n".to_owned()),
            ("-blockdev", "{ no JSON".to_owned()),
            ("-append", format!("file={image}")),
            ("-drive", String::new()),
        ] {
            let line = line(&[option, &value]);
            assert_eq!(without_locks(&line), line);
        }
    }

    #[test]
    fn block_nodes_that_are_written_are_found() {
        let written = Written::by(&line(&[
            "-drive",
            "file=/drive",
            "-blockdev",
            "driver=qcow2,node-name=a,file.driver=file,file.filename=/a",
            "-blockdev",
            r#"{"driver":"file","filename":"/b","node-name":"b"}"#,
            "-blockdev",
            "driver=raw,read-only=on,file.driver=file,file.filename=/c",
            "-blockdev",
            r#"{"driver":"raw","read-only":true,"file":{"driver":"file","filename":"/d"}}"#,
            "-blockdev",
            "nbd,server.type=unix,server.path=/e,node-name=e",
        ]));
        assert_eq!(written.files, ["/a", "/b"]);
        assert_eq!(written.elsewhere, ["nbd"]);
        assert_eq!(
            written.arguments[3],
            "driver=qcow2,node-name=a,file.driver=file,file.filename={dir}/image-0"
        );
        assert_eq!(
            written.arguments[5],
            r#"{"driver":"file","filename":"{dir}/image-1","node-name":"b"}"#
        );
        assert_eq!(
            written.arguments[7],
            "driver=raw,read-only=on,file.driver=file,file.filename=/c"
        );
    }
}
