//! The arguments of `#[qemu_test(...)]` and of `#[machine(...)]`: `key = value` pairs and flags, in the user's order.
//!
//! An argument keeps the token of its name, so that a conflict that is found later still points at it. After a mistake
//! parsing goes on with the next argument: each mistake gives its message. What a value may be is for
//! [`values`](super::values).

use std::fmt;

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::discouraged::Speculative as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Attribute, Error, Expr, Result, Token};

use super::mistakes::Mistakes;
use super::spelling;
use super::values::{self, Value};

/// What an argument is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Args,
    Wrapper,
    Arch,
    Binary,
    Machine,
    Name,
    Timeout,
    Console,
    Qtest,
    Accel,
    AllowConsoleLine,
    ExpectGuestPanic,
    Fixture,
    Isolation,
    Crate,
}

impl Key {
    /// In the order of the documentation.
    const ALL: [(Self, &'static str); 15] = [
        (Self::Args, "args"),
        (Self::Wrapper, "wrapper"),
        (Self::Arch, "arch"),
        (Self::Binary, "binary"),
        (Self::Machine, "machine"),
        (Self::Name, "name"),
        (Self::Timeout, "timeout"),
        (Self::Console, "console"),
        (Self::Qtest, "qtest"),
        (Self::Accel, "accel"),
        (Self::AllowConsoleLine, "allow_console_line"),
        (Self::ExpectGuestPanic, "expect_guest_panic"),
        (Self::Fixture, "fixture"),
        (Self::Isolation, "isolation"),
        (Self::Crate, "crate"),
    ];

    /// A value to show to whoever forgot it; `None` for a flag.
    fn example(self) -> Option<&'static str> {
        Some(match self {
            Self::Console | Self::Qtest | Self::ExpectGuestPanic => return None,
            Self::Args => "[\"-m\", \"64\"]",
            Self::Wrapper => "[\"strace\", \"-f\"]",
            Self::Arch => "\"aarch64\"",
            Self::Binary => "\"/path/to/qemu\"",
            Self::Machine => "Machine::builder()",
            Self::Name => "\"server\"",
            Self::Timeout => "\"90s\"",
            Self::Accel => "auto",
            Self::AllowConsoleLine => "\"Oops\"",
            Self::Fixture => "Linux",
            Self::Isolation => "fork",
            Self::Crate => "path::to::qemu_test",
        })
    }

    /// Whether it is about the test, not about one machine of it.
    fn is_of_test(self) -> bool {
        matches!(self, Self::Timeout | Self::Crate)
    }
}

/// One argument as it was written.
#[derive(Clone)]
pub(super) struct Argument {
    pub(super) key: Key,
    pub(super) name: Ident,
    pub(super) value: Value,
}

/// As messages call it.
impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Value::NoFixture => write!(f, "{} = none", self.name),
            _ => self.name.fmt(f),
        }
    }
}

/// Where the arguments stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Attribute,
    Parameter,
}

/// The arguments of `#[qemu_test(...)]`.
pub(super) fn of_attribute(tokens: TokenStream) -> Result<Vec<Argument>> {
    (|input: ParseStream<'_>| list(input, Place::Attribute)).parse2(tokens)
}

/// The arguments of `#[machine(...)]`.
pub(super) fn of_parameter(attribute: &Attribute) -> Result<Vec<Argument>> {
    match &attribute.meta {
        syn::Meta::Path(_) => Ok(Vec::new()),
        syn::Meta::List(_) => {
            attribute.parse_args_with(|input: ParseStream<'_>| list(input, Place::Parameter))
        }
        syn::Meta::NameValue(pair) => Err(Error::new_spanned(
            pair,
            "the arguments go into parentheses: `#[machine(args = [...])]`",
        )),
    }
}

fn list(input: ParseStream<'_>, place: Place) -> Result<Vec<Argument>> {
    let mut mistakes = Mistakes::none();
    let mut arguments: Vec<Argument> = Vec::new();
    while !input.is_empty() {
        let ahead = input.fork();
        match argument(&ahead, place) {
            Ok(argument) => {
                input.advance_to(&ahead);
                if arguments.iter().any(|earlier| earlier.key == argument.key) {
                    let message = format!("`{}` is given twice: keep one of them", argument.name);
                    mistakes.add(Error::new(argument.name.span(), message));
                } else {
                    arguments.push(argument);
                }
            }
            Err(error) => {
                mistakes.add(error);
                skip(input)?;
            }
        }
        if !values::at_end(input) {
            mistakes.add(input.error("expected `,` and the next argument"));
            skip(input)?;
        }
        input.parse::<Option<Token![,]>>()?;
    }
    mistakes.or(arguments)
}

fn argument(input: ParseStream<'_>, place: Place) -> Result<Argument> {
    let name = input.call(Ident::parse_any).map_err(|error| {
        let message = "expected the name of an argument, such as `args = [\"-m\", \"64\"]`";
        Error::new(error.span(), message)
    })?;
    let key = known(&name, place)?;
    let Some(example) = key.example() else {
        return Ok(Argument {
            key,
            value: values::flag(input, &name)?,
            name,
        });
    };
    values::equals(input, &name, example)?;
    let value = match key {
        Key::Args | Key::Wrapper => values::list(input, &name),
        Key::Machine => values::builder(input),
        Key::AllowConsoleLine => values::words(input, false),
        Key::Timeout => values::timeout(input),
        Key::Fixture => values::fixture(input),
        Key::Accel => values::variant(input, &name, &[("auto", "Auto"), ("kvm", "Kvm"), ("tcg", "Tcg")]),
        Key::Isolation => values::variant(
            input,
            &name,
            &[("fork", "Fork"), ("boot", "Boot"), ("shared", "Shared")],
        ),
        Key::Crate => values::library(input),
        _ => input.parse().map(Value::Expr),
    };
    Ok(Argument {
        key,
        value: value?,
        name,
    })
}

fn known(name: &Ident, place: Place) -> Result<Key> {
    let key = Key::ALL
        .into_iter()
        .find_map(|(key, known)| (name == known).then_some(key));
    let message = match key {
        Some(key) if place == Place::Parameter && key.is_of_test() => {
            format!("`{name}` is about the whole test: give it to `#[qemu_test(...)]`")
        }
        Some(key) => return Ok(key),
        None if OF_BUILDER.iter().any(|known| name == known) => format!(
            "`{name}` is no argument but a method of `MachineBuilder`: start from a builder with \
             `machine = Machine::builder().{name}(...)`"
        ),
        None => {
            let accepted: Vec<_> = Key::ALL
                .into_iter()
                .filter(|(key, _)| place == Place::Attribute || !key.is_of_test())
                .map(|(_, known)| known)
                .collect();
            let name = name.to_string();
            // Whoever is far from all of them may have had an option of QEMU in mind.
            let hint = match spelling::meant(&name, &accepted) {
                Some(_) => "",
                None => "; options of QEMU go into `args = [...]`",
            };
            format!(
                "unknown argument `{name}`: {}{hint}",
                spelling::suggest(&name, &accepted)
            )
        }
    };
    Err(Error::new(name.span(), message))
}

/// What a builder can do and the attribute cannot.
const OF_BUILDER: [&str; 6] = [
    "artifact_dir",
    "env",
    "monitor",
    "add_fd",
    "command_timeout",
    "expect_exit",
];

/// Takes what is left of an argument that is no use.
fn skip(input: ParseStream<'_>) -> Result<()> {
    // As an expression, if it is one: commas between `<` and `>` or `|` and `|` are then no end.
    let ahead = input.fork();
    let well_formed = ahead.call(Ident::parse_any).is_ok()
        && ahead.parse::<Token![=]>().is_ok()
        && ahead.parse::<Expr>().is_ok()
        && values::at_end(&ahead);
    if well_formed {
        input.advance_to(&ahead);
    }
    while !values::at_end(input) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}
