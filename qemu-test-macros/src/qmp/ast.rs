//! What a `qmp!` says, before and after its names have got their spelling on the wire.

use proc_macro2::Span;
use syn::ext::IdentExt as _;
use syn::{Expr, Ident, LitStr};

/// One `qmp!`.
pub(super) enum Input {
    /// `query_status`, `blockdev_add { ... }`, `"x-command" { ... }`.
    Command(Call),
    /// `STOP`, `DEVICE_DELETED { ... }`.
    Event(Call),
    /// `{ ... }`.
    Value(Object),
    /// Nothing that says which of these it was to be.
    Unknown,
}

/// A command or an event, with what comes in braces after its name.
pub(super) struct Call {
    pub(super) name: Name,
    pub(super) object: Option<Object>,
    /// The versions of QEMU that have the command, in words: `resolve` fills it in.
    pub(super) known_in: Option<String>,
}

/// The name of a command, of an event, or of a key.
pub(super) struct Name {
    pub(super) written: Written,
    /// What goes over the wire: `resolve` fills it in.
    pub(super) wire: String,
}

/// A name as the user wrote it.
pub(super) enum Written {
    /// An identifier: to be resolved.
    Identifier(Ident),
    /// A string literal: sent as it is.
    Verbatim(LitStr),
}

impl Written {
    /// The name without what marks it as one.
    pub(super) fn plain(&self) -> String {
        match self {
            Written::Identifier(ident) => ident.unraw().to_string(),
            Written::Verbatim(literal) => literal.value(),
        }
    }
}

impl Name {
    pub(super) fn new(written: Written) -> Self {
        let wire = written.plain();
        Self { written, wire }
    }

    pub(super) fn span(&self) -> Span {
        match &self.written {
            Written::Identifier(ident) => ident.span(),
            Written::Verbatim(literal) => literal.span(),
        }
    }

    /// The name as it stands in the source, for messages.
    pub(super) fn source(&self) -> String {
        match &self.written {
            Written::Identifier(ident) => ident.to_string(),
            Written::Verbatim(literal) => format!("{:?}", literal.value()),
        }
    }
}

/// What stands in braces.
pub(super) struct Object {
    pub(super) span: Span,
    pub(super) fields: Vec<Field>,
    /// `..expr`, which may supply any key that is not in `fields`.
    pub(super) merge: Option<Expr>,
}

/// `key: value`, `key?: value`, and the shorthands of both.
pub(super) struct Field {
    pub(super) key: Name,
    /// Left out at run time where the value is `None`.
    pub(super) optional: bool,
    pub(super) value: Value,
}

/// What stands in brackets.
pub(super) struct Array {
    pub(super) span: Span,
    pub(super) elements: Vec<Value>,
}

/// What stands after a key, or in brackets.
pub(super) enum Value {
    /// A Rust expression.
    Expr(Expr),
    /// `null`.
    Null(Span),
    /// `_`, which matches whatever an event has there.
    Any,
    /// `{ ... }`.
    Object(Object),
    /// `[ ... ]`.
    Array(Array),
    /// What could not be read: a message about it is on its way.
    Unreadable,
}
