//! Gives every name the spelling that it has on the wire, and finds what QEMU would not accept.
//!
//! [`place`] knows what stands where, [`literal`] which values are plain to see, [`words`] how to say what is wrong.
//! The rule above all others: what one of the table's versions accepts is no mistake.

mod literal;
mod place;
mod words;

use std::collections::HashMap;

use proc_macro2::Span;

use self::literal::{Kind, Literal};
use self::place::{Member, Place, Spelling, View};
use super::ast::{Array, Call, Field, Input, Name, Object, Value, Written};
use super::errors::Errors;
use super::schema::Schema;
use super::schema::table::model::Type;

pub(super) fn resolve(input: &mut Input, schema: &'static Schema, errors: &mut Errors) {
    let readable = errors.is_empty();
    let event = matches!(input, Input::Event(_));
    let mut resolver = Resolver {
        schema,
        errors,
        event,
        readable,
    };
    match input {
        Input::Command(call) => resolver.command(call),
        Input::Event(call) => resolver.event(call),
        Input::Value(object) => resolver.object(object, &Place::unknown(), &Trail::none()),
        Input::Unknown => {}
    }
}

struct Resolver<'e> {
    schema: &'static Schema,
    errors: &'e mut Errors,
    /// In an event filter nothing is mandatory, and `null` matches anything.
    event: bool,
    /// Whether everything could be read: else, what seems to be missing may be what could not.
    readable: bool,
}

/// Where an object stands, for messages.
struct Trail {
    /// `blockdev_add`, `blockdev_add.file`
    path: String,
    /// The token that a missing argument is told at.
    at: Span,
    /// Whether it holds the arguments of `device_add`, with the properties of its driver among them.
    is_device: bool,
}

impl Trail {
    fn none() -> Self {
        Self {
            path: String::new(),
            at: Span::call_site(),
            is_device: false,
        }
    }

    fn into(&self, name: &Name) -> Self {
        Self {
            path: format!("{}.{}", self.path, name.written.plain()),
            at: name.span(),
            is_device: false,
        }
    }
}

impl Resolver<'_> {
    fn command(&mut self, call: &mut Call) {
        let Written::Identifier(_) = call.name.written else {
            return self.unknown(call);
        };
        let schema = self.schema;
        let found = schema.commands(&call.name.wire);
        let exact = found.iter().find(|entry| entry.name == call.name.wire);
        let entry = match (exact, found.as_slice()) {
            (Some(entry), _) | (None, [entry]) => entry,
            (None, []) => {
                self.complain(call.name.span(), || words::no_command(schema, &call.name));
                return self.unknown(call);
            }
            (None, several) => {
                let names: Vec<_> = several.iter().map(|entry| entry.name).collect();
                self.complain(call.name.span(), || words::ambiguous(&call.name, &names));
                return self.unknown(call);
            }
        };
        call.known_in = Some(schema.known_in(entry));
        call.name.wire = entry.name.to_owned();
        self.arguments(call, schema.get(entry.takes), entry.name == "device_add");
    }

    fn event(&mut self, call: &mut Call) {
        let schema = self.schema;
        let found = schema.events(&call.name.wire);
        let Some(entry) = found.first() else {
            self.complain(call.name.span(), || words::no_event(schema, &call.name));
            return self.unknown(call);
        };
        call.name.wire = entry.name.to_owned();
        self.arguments(call, schema.get(entry.takes), false);
    }

    fn arguments(&mut self, call: &mut Call, takes: &'static Type, is_device: bool) {
        let place = Place::of(vec![takes]);
        let trail = Trail {
            path: call.name.written.plain(),
            at: call.name.span(),
            is_device,
        };
        match &mut call.object {
            Some(object) => self.object(object, &place, &trail),
            None => {
                let mut nothing = Object {
                    span: call.name.span(),
                    fields: Vec::new(),
                    merge: None,
                };
                self.object(&mut nothing, &place, &trail);
            }
        }
    }

    /// A command that the schema does not have: there is none for its arguments either.
    fn unknown(&mut self, call: &mut Call) {
        if let Written::Identifier(_) = call.name.written {
            call.name.wire = dashed(&call.name.wire);
        }
        if let Some(object) = &mut call.object {
            self.object(object, &Place::unknown(), &Trail::none());
        }
    }

    fn object(&mut self, object: &mut Object, place: &Place, trail: &Trail) {
        let view = View::new(self.schema, place, object, trail.is_device);
        let mut unknown = false;
        for field in &mut object.fields {
            let inside = match self.key(&mut field.key, &view, trail) {
                Some(inside) => inside,
                None => {
                    unknown = true;
                    Place::unknown()
                }
            };
            let trail = trail.into(&field.key);
            self.field(field, &inside, &trail);
        }
        self.duplicates(object);
        if !unknown && self.readable && !self.event && object.merge.is_none() {
            let given = |name: &str| object.fields.iter().any(|field| field.key.wire == name);
            let missing: Vec<_> = view.mandatory().filter(|name| !given(name)).collect();
            if !missing.is_empty() && !view.is_lenient() {
                self.complain(trail.at, || words::missing(&trail.path, &view, &missing));
            }
        }
    }

    /// Spells a key, and gives the place of its value; `None` for a key that is a mistake.
    fn key(&mut self, key: &mut Name, view: &View, trail: &Trail) -> Option<Place> {
        let Written::Identifier(_) = key.written else {
            return Some(view.verbatim(&key.wire));
        };
        match view.spelling(&key.wire) {
            Spelling::One(Member { name, place }) => {
                key.wire = name;
                return Some(place);
            }
            Spelling::Free => {
                key.wire = dashed(&key.wire);
                return Some(Place::unknown());
            }
            Spelling::Several(names) => {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                self.complain(key.span(), || words::ambiguous(key, &names));
            }
            Spelling::None => {
                let event = self.event;
                self.complain(key.span(), || words::no_key(&trail.path, view, key, event));
            }
        }
        key.wire = dashed(&key.wire);
        None
    }

    fn field(&mut self, field: &mut Field, place: &Place, trail: &Trail) {
        if let (true, Value::Expr(_)) = (field.optional, &field.value) {
            return;
        }
        self.value(&mut field.value, place, trail);
    }

    fn value(&mut self, value: &mut Value, place: &Place, trail: &Trail) {
        match value {
            Value::Object(object) => {
                self.kind(Kind::Object, object.span, place, trail);
                self.object(object, place, trail);
            }
            Value::Array(Array { span, elements }) => {
                self.kind(Kind::Array, *span, place, trail);
                let inside = place.elements(self.schema);
                for element in elements {
                    let trail = Trail {
                        path: format!("{}[]", trail.path),
                        at: span_of(element).unwrap_or(trail.at),
                        is_device: false,
                    };
                    self.value(element, &inside, &trail);
                }
            }
            // It matches anything.
            Value::Null(_) if self.event => {}
            Value::Null(span) => self.kind(Kind::Null, *span, place, trail),
            Value::Expr(expr) => {
                if let Some(literal) = Literal::of(expr) {
                    self.literal(&literal, place, trail);
                }
            }
            Value::Any | Value::Unreadable => {}
        }
    }

    fn kind(&mut self, kind: Kind, span: Span, place: &Place, trail: &Trail) {
        self.literal(&Literal { kind, span }, place, trail);
    }

    fn literal(&mut self, literal: &Literal, place: &Place, trail: &Trail) {
        if place.is_lenient() || place.takes(&literal.kind) {
            return;
        }
        let message = || words::wrong_value(&trail.path, place, &literal.kind);
        self.complain(literal.span, message);
    }

    /// Two keys that are one on the wire: JSON would keep one of them without a word.
    fn duplicates(&mut self, object: &Object) {
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
            self.errors.add(field.key.span(), message);
        }
    }

    /// Says what is wrong, unless the table is not the one that the user wanted.
    fn complain(&mut self, span: Span, message: impl FnOnce() -> String) {
        if self.schema.own.is_usable() {
            self.errors.add(span, message());
        }
    }
}

fn dashed(name: &str) -> String {
    name.replace('_', "-")
}

/// Where an element of an array begins; an expression is told at its own literal.
fn span_of(value: &Value) -> Option<Span> {
    match value {
        Value::Object(object) => Some(object.span),
        Value::Array(array) => Some(array.span),
        _ => None,
    }
}
