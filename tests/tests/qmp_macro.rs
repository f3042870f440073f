//! What `qmp!` makes of values, at run time.

use std::panic::{catch_unwind, set_hook, take_hook};
use std::sync::Mutex;

use qemu_test::qmp;
use serde_json::json;

#[test]
fn the_value_form_is_the_object_it_spells() {
    let node_name = String::from("d0");
    let some = Some(3);
    let none: Option<&str> = None;
    let rest = json!({ "node-name": "loses", "kept_as_it_is": true });
    assert_eq!(
        qmp!({
            node_name,
            r#type: "t",
            if: 1 << 4,
            "raw_key": null,
            some?,
            none?,
            list: [1, null, "x", { deep_key: [] }, [2, 3,]],
            length: [1, 2].len(),
            nested: { a_b: { c_d: 'x' }, ..Some(()).map(|()| json!({ "e_f": 1 })).unwrap() },
            ..rest
        }),
        json!({
            "node-name": "d0",
            "type": "t",
            "if": 16,
            "raw_key": null,
            "some": 3,
            "list": [1, null, "x", { "deep-key": [] }, [2, 3]],
            "length": 2,
            "nested": { "a-b": { "c-d": "x" }, "e_f": 1 },
            "kept_as_it_is": true,
        })
    );
    // Everything was borrowed.
    assert_eq!(node_name, "d0");
    assert!(rest.is_object());
}

#[test]
fn values_come_through_macros_by_example() {
    macro_rules! through {
        ($key:ident, $text:literal, $value:expr, $object:tt) => {
            qmp!({ $key: $value, $text: $object })
        };
    }
    assert_eq!(
        through!(a_b, "c_d", 1 + 1, { e_f: 2 }),
        json!({ "a-b": 2, "c_d": { "e-f": 2 } })
    );
}

/// The message of the panic.
fn panic_of(body: fn() -> serde_json::Value) -> String {
    let payload = catch_unwind(body).expect_err("it does not panic");
    payload.downcast_ref::<String>().expect("a message").clone()
}

#[test]
fn what_is_no_json_panics_and_says_which_value() {
    let message = panic_of(|| qmp!({ big_number: u128::MAX }));
    assert!(
        message.starts_with("qmp!: the value of `big-number` cannot be serialised as JSON: "),
        "{message}"
    );
    let message = panic_of(|| qmp!({ list: [1, u128::MAX] }));
    assert!(
        message.starts_with("qmp!: element 1 of an array cannot be serialised as JSON: "),
        "{message}"
    );
    let message = panic_of(|| qmp!({ ..[1, 2] }));
    assert_eq!(
        message,
        "qmp!: what `..` merges must be an object, and is an array: [1,2]"
    );
}

#[test]
fn the_panic_is_the_callers() {
    static SEEN: Mutex<Option<(String, u32)>> = Mutex::new(None);
    let this_thread = std::thread::current().id();
    let earlier = take_hook();
    set_hook(Box::new(move |info| {
        if std::thread::current().id() == this_thread {
            *SEEN.lock().unwrap() = info
                .location()
                .map(|place| (place.file().to_owned(), place.line()));
        } else {
            earlier(info);
        }
    }));
    let here = line!() + 1;
    let outcome = catch_unwind(|| qmp!({ big_number: u128::MAX }));
    let _ = take_hook();
    assert!(outcome.is_err());
    assert_eq!(SEEN.lock().unwrap().take(), Some((file!().to_owned(), here)));
}
