//! The table's forms, on a small schema that has what QEMU's has.

use super::dump::{FORMAT, tables};
use super::json::Json;
use super::merge::merge;
use super::model::{Strings, Table, Version};
use super::{has_identifier, text};

/// A dump of one command, `add`, with the types of `schema` (in JSON, without brackets).
fn dump(version: &str, schema: &str, devices: &str) -> Table {
    let text = format!(
        r#"{{"format":"{FORMAT}","version":"{version}","target":"x","schema":[
            {{"name":"add","meta-type":"command","arg-type":"0","ret-type":"9"}},
            {{"name":"DONE","meta-type":"event","arg-type":"9"}},
            {{"name":"9","meta-type":"object","members":[]}},
            {{"name":"str","meta-type":"builtin","json-type":"string"}},
            {{"name":"int","meta-type":"builtin","json-type":"int"}},
            {schema}],"devices":[{devices}]}}"#
    );
    tables(&text).unwrap().remove(0)
}

fn older() -> Table {
    dump(
        "9.2.0",
        r#"{"name":"0","meta-type":"object","tag":"driver","members":[
                {"name":"driver","type":"1"},{"name":"node-name","type":"str"},{"name":"gone","type":"int"}],
            "variants":[{"case":"raw","type":"2"},{"case":"null","type":"9"}]},
           {"name":"1","meta-type":"enum","values":["raw","null"]},
           {"name":"2","meta-type":"object","members":[{"name":"file","type":"3"}]},
           {"name":"3","meta-type":"alternate","members":[{"type":"str"},{"type":"0"}]}"#,
        r#"{"names":["nic","nic2"],"properties":["mac","host_mtu","3dnow"]},{"names":["disk"],"properties":["mac"]}"#,
    )
}

fn newer() -> Table {
    dump(
        "10.0.0",
        r#"{"name":"0","meta-type":"object","tag":"driver","members":[
                {"name":"driver","type":"4"},{"name":"node-name","type":"str","default":null}],
            "variants":[{"case":"raw","type":"5"},{"case":"new","type":"5"},{"case":"null","type":"9"}]},
           {"name":"4","meta-type":"enum","members":[{"name":"raw"},{"name":"null"},{"name":"new"}]},
           {"name":"5","meta-type":"object","members":[{"name":"file","type":"6"}]},
           {"name":"6","meta-type":"alternate","members":[{"type":"str"},{"type":"0"}]}"#,
        r#"{"names":["nic"],"properties":["mac","queues"]}"#,
    )
}

#[test]
fn a_table_of_several_accepts_what_any_of_them_does() {
    let table = merge(&[older(), newer()]);
    let call = &table.commands["add"];
    assert_eq!(call.versions.len(), 2);
    let object = table.types[call.takes].object.as_ref().unwrap();
    assert!(!object.members["driver"].optional);
    assert!(
        object.members["node-name"].optional,
        "optional in one is optional"
    );
    assert!(object.members["gone"].optional, "absent in one is optional");
    assert_eq!(object.tag.as_deref(), Some("driver"));
    assert_eq!(object.variants.keys().collect::<Vec<_>>(), ["new", "raw"]);
    let drivers = &table.types[object.members["driver"].takes];
    let expected = ["new", "null", "raw"].map(str::to_owned).into();
    assert_eq!(drivers.string, Some(Strings::Of(expected)));
    // The nested object is the same type again.
    let raw = table.types[object.variants["raw"]].object.as_ref().unwrap();
    let file = &table.types[raw.members["file"].takes];
    assert_eq!(file.string, Some(Strings::Any));
    assert!(file.object.as_ref().unwrap().members.contains_key("node-name"));
    assert_eq!(
        table.devices["nic"],
        ["host_mtu", "mac", "queues"].map(str::to_owned).into()
    );
}

#[test]
fn a_written_table_is_read_as_it_was_and_the_order_of_its_sources_does_not_count() {
    let table = merge(&[older(), newer()]);
    let written = text::write(&table);
    assert_eq!(text::read(&written).unwrap(), table);
    assert_eq!(text::write(&merge(&[newer(), older()])), written);
    // Merging what is merged changes nothing.
    assert_eq!(text::write(&merge(&[table.clone(), older()])), written);
    let sources: Vec<_> = table.sources.keys().map(Version::as_str).collect();
    assert_eq!(sources, ["9.2.0", "10.0.0"]);
}

#[test]
fn what_is_no_table_and_no_dump_is_told() {
    for text in ["", "{", "{}", "[1]", r#"{"format":"other"}"#, "nonsense"] {
        assert!(tables(text).is_err(), "{text}");
    }
    let written = text::write(&older());
    for cut in [0, 10, written.len() / 2, written.rfind("nic").unwrap()] {
        assert!(text::read(&written[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn json_is_read_as_it_is_written() {
    for text in [
        r#"{"a":[1,-2.5e3,"x\"y\\",true,false,null],"":{}}"#,
        r#"["é\u0001"]"#,
    ] {
        let parsed = Json::parse_all(text).unwrap();
        assert_eq!(parsed.len(), 1);
        assert_eq!(parsed[0].to_string(), text);
    }
    assert_eq!(Json::parse_all(r#""\u00e9\n\/""#).unwrap(), [Json::from("é\n/")]);
    for text in ["{1:2}", "[1 2]", "[", r#""open"#, "tru", "{\"a\"}", r#""\u12"#] {
        assert!(Json::parse_all(text).is_err(), "{text}");
    }
}

#[test]
fn only_some_names_can_be_identifiers() {
    for name in ["node-name", "sse4.1", "type", "x_y", "_x"] {
        assert!(has_identifier(name), "{name}");
    }
    for name in ["3dnow", "gpio[0]", "", "_", "a b"] {
        assert!(!has_identifier(name), "{name}");
    }
}
