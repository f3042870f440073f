//! Gives every name the spelling that it has on the wire.

use std::collections::HashMap;

use super::ast::{Input, Name, Object, Value, Written};
use super::errors::Errors;

/// The commands that QEMU spells with `_`, in every version there is.
const WITH_UNDERSCORE: [&str; 16] = [
    "add_client",
    "block_resize",
    "block_set_io_throttle",
    "client_migrate_info",
    "device_add",
    "device_del",
    "expire_password",
    "migrate_cancel",
    "netdev_add",
    "netdev_del",
    "qmp_capabilities",
    "set_link",
    "set_password",
    "system_powerdown",
    "system_reset",
    "system_wakeup",
];

pub(super) fn resolve(input: &mut Input, errors: &mut Errors) {
    match input {
        Input::Command(call) => {
            if !WITH_UNDERSCORE.contains(&call.name.wire.as_str()) {
                to_dashes(&mut call.name);
            }
            call.object.iter_mut().for_each(|object| keys(object, errors));
        }
        Input::Event(call) => call.object.iter_mut().for_each(|object| keys(object, errors)),
        Input::Value(object) => keys(object, errors),
        Input::Unknown => {}
    }
}

fn keys(object: &mut Object, errors: &mut Errors) {
    for field in &mut object.fields {
        to_dashes(&mut field.key);
        values(&mut field.value, errors);
    }
    duplicates(object, errors);
}

fn values(value: &mut Value, errors: &mut Errors) {
    match value {
        Value::Object(object) => keys(object, errors),
        Value::Array(elements) => elements.iter_mut().for_each(|element| values(element, errors)),
        Value::Expr(_) | Value::Null | Value::Any | Value::Unreadable => {}
    }
}

fn to_dashes(name: &mut Name) {
    if let Written::Identifier(_) = name.written {
        name.wire = name.wire.replace('_', "-");
    }
}

/// Two keys that are one on the wire: JSON would keep one of them without a word.
fn duplicates(object: &Object, errors: &mut Errors) {
    let mut seen = HashMap::<&str, &Name>::new();
    for field in &object.fields {
        let Some(first) = seen.insert(&field.key.wire, &field.key) else {
            continue;
        };
        let (first, second, wire) = (first.source(), field.key.source(), &field.key.wire);
        let message = if first == second {
            format!("`{second}` is given twice")
        } else {
            format!("`{wire}` is given twice: as `{first}` before, and as `{second}` here")
        };
        errors.add(field.key.span(), message);
    }
}
