//! The rules of the attribute. What breaks one is named at the token that breaks it.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::{Attribute, Error, FnArg, GenericParam, Pat, PatType, Path, Result, ReturnType, Safety, Type};

use super::arguments::{self, Argument, Key};
use super::mistakes::Mistakes;
use super::parse::Function;
use super::placement::{Attributes, Role};
use super::values::Value;

/// A test that keeps all the rules.
pub(super) struct Test {
    /// Where the library is, if not at `::qemu_test`.
    pub(super) library: Option<Path>,
    pub(super) timeout: Option<(Ident, TokenStream)>,
    pub(super) attributes: Attributes,
    pub(super) parameters: Vec<Parameter>,
}

/// A parameter and the machine that it gets.
pub(super) struct Parameter {
    /// As the function has it, without `#[machine(...)]`.
    pub(super) typed: PatType,
    /// What reports call its machine.
    pub(super) label: String,
    pub(super) setup: Vec<Argument>,
}

/// Checks the attribute's arguments against the function.
pub(super) fn test(arguments: Vec<Argument>, function: &Function) -> Result<Test> {
    let mut mistakes = Mistakes::none();
    let attributes = Attributes::sort(&function.attributes);
    check_signature(function, &mut mistakes);
    check_attributes(function, &attributes, &mut mistakes);
    check_setup(&arguments, &mut mistakes);

    let mut library = None;
    let mut timeout = None;
    let mut common = Vec::new();
    for argument in arguments {
        match (argument.key, argument.value) {
            (Key::Crate, Value::Path(path)) => library = Some(path),
            (Key::Timeout, Value::Timeout(duration)) => timeout = Some((argument.name, duration)),
            (key, value) => common.push(Argument {
                key,
                name: argument.name,
                value,
            }),
        }
    }
    let parameters = parameters(function, &common, &mut mistakes);
    mistakes.or(Test {
        library,
        timeout,
        attributes,
        parameters,
    })
}

fn check_signature(function: &Function, mistakes: &mut Mistakes) {
    let signature = &function.signature;
    if let Some(token) = &signature.constness {
        mistakes.add(Error::new_spanned(
            token,
            "a test cannot be a `const fn`: it runs a machine",
        ));
    }
    if let Safety::Unsafe(token) = &signature.safety {
        mistakes.add(Error::new_spanned(
            token,
            "a test cannot be an `unsafe fn`: use an `unsafe` block in its body",
        ));
    }
    if let Some(abi) = &signature.abi {
        mistakes.add(Error::new_spanned(
            abi,
            "a test is an ordinary Rust function: remove the ABI",
        ));
    }
    for parameter in &signature.generics.params {
        // Lifetimes are fine, as they are for `#[test]`.
        if !matches!(parameter, GenericParam::Lifetime(_)) {
            let message = "a test cannot be generic: nothing says for which type it would run";
            mistakes.add(Error::new_spanned(parameter, message));
        }
    }
    if let Some(variadic) = &signature.variadic {
        mistakes.add(Error::new_spanned(
            variadic,
            "a test takes a fixed number of machines: `vm: &Machine`",
        ));
    }
}

fn check_attributes(function: &Function, attributes: &Attributes, mistakes: &mut Mistakes) {
    let mut tests = attributes
        .outer
        .iter()
        .filter_map(|attribute| match attribute.role {
            Role::Test { builtin } => Some(builtin),
            _ => None,
        });
    if let Some(token) = &function.signature.asyncness
        && tests.all(|builtin| builtin)
    {
        let message = "an `async` test needs a runtime: add its test attribute below this one, such as \
                       `#[tokio::test]`";
        mistakes.add(Error::new_spanned(token, message));
    }
    for attribute in &attributes.outer {
        match &attribute.role {
            Role::Again(path) => {
                mistakes.add(Error::new_spanned(
                    path,
                    "this is a `#[qemu_test]` already: remove one of them",
                ));
            }
            Role::ShouldPanic { .. } if attribute.condition.is_none() => {
                mistakes.keep(check_returns_nothing(&function.signature.output));
            }
            _ => {}
        }
    }
}

/// The rule of `#[should_panic]` itself, which cannot see the type any more once the test is generated.
pub(super) fn check_returns_nothing(output: &ReturnType) -> Result<()> {
    match output {
        ReturnType::Type(_, ty) if !matches!(plain(ty), Type::Tuple(tuple) if tuple.elems.is_empty()) => {
            Err(Error::new_spanned(
                ty,
                "a test with `#[should_panic]` must return `()`: only a panic is what it expects",
            ))
        }
        _ => Ok(()),
    }
}

/// The arguments of one machine that exclude each other.
fn check_setup(arguments: &[Argument], mistakes: &mut Mistakes) {
    let position = |key| arguments.iter().position(|argument| argument.key == key);
    let mut conflict = |one: Key, other: Key, why: &str| {
        let (Some(one), Some(other)) = (position(one), position(other)) else {
            return false;
        };
        let (first, second) = (&arguments[one.min(other)], &arguments[one.max(other)]);
        let message = format!("`{second}` conflicts with `{first}`: {why}");
        mistakes.add(Error::new(second.name.span(), message));
        true
    };
    conflict(Key::Arch, Key::Binary, "both say which QEMU program to run");
    const HOW: &str = "`isolation` says how a fixture's machine is given to the test";
    if arguments
        .iter()
        .any(|argument| matches!(argument.value, Value::NoFixture))
    {
        conflict(Key::Fixture, Key::Isolation, HOW);
    } else if !conflict(
        Key::Fixture,
        Key::Machine,
        "both say where the machine comes from",
    ) {
        conflict(Key::Machine, Key::Isolation, HOW);
    }
}

fn parameters(function: &Function, common: &[Argument], mistakes: &mut Mistakes) -> Vec<Parameter> {
    let signature = &function.signature;
    let mut parameters = Vec::new();
    for input in &signature.inputs {
        let typed = match input {
            FnArg::Typed(typed) => typed,
            FnArg::Receiver(receiver) => {
                let message =
                    "a test is a free function: it takes machines, such as `vm: &Machine`, and no `self`";
                mistakes.add(Error::new_spanned(receiver, message));
                continue;
            }
        };
        mistakes.keep(check_type(&typed.ty));
        let (own, others): (Vec<_>, Vec<_>) = typed
            .attrs
            .iter()
            .cloned()
            .partition(|attribute| attribute.path().is_ident("machine"));
        for attribute in &others {
            if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
                let message = "a parameter cannot be conditional: put the `#[cfg]` on the function";
                mistakes.add(Error::new_spanned(attribute, message));
            }
        }
        let setup = own_setup(&own, mistakes).unwrap_or_else(|| common.to_vec());
        let typed = PatType {
            attrs: others,
            ..typed.clone()
        };
        let label = label(&typed.pat);
        parameters.push(Parameter { typed, label, setup });
    }
    if signature.inputs.is_empty() && signature.variadic.is_none() {
        let message = format!(
            "a `#[qemu_test]` takes its machine as a parameter: `fn {}(vm: &Machine)`; an attribute that takes \
             parameters away, such as `#[serial]`, goes below it",
            signature.ident
        );
        mistakes.add(Error::new(signature.paren_token.span.join(), message));
    }
    if signature.inputs.len() > 1
        && let Some(argument) = common.iter().find(|argument| argument.key == Key::Name)
    {
        let message =
            "`name` cannot be the name of several machines: give each its own with `#[machine(name = ...)]`";
        mistakes.add(Error::new(argument.name.span(), message));
    }
    check_shared(&parameters, mistakes);
    tell_apart(&mut parameters);
    parameters
}

/// The arguments of the parameter's own `#[machine(...)]`, which replace the attribute's.
fn own_setup(attributes: &[Attribute], mistakes: &mut Mistakes) -> Option<Vec<Argument>> {
    let [attribute, more @ ..] = attributes else {
        return None;
    };
    for again in more {
        mistakes.add(Error::new_spanned(
            again,
            "one `#[machine(...)]` says it all: put the arguments into the first",
        ));
    }
    let setup = mistakes
        .keep(arguments::of_parameter(attribute))
        .unwrap_or_default();
    check_setup(&setup, mistakes);
    Some(setup)
}

fn check_type(ty: &Type) -> Result<()> {
    let Type::Reference(reference) = plain(ty) else {
        return Err(Error::new_spanned(
            ty,
            "a parameter of a `#[qemu_test]` is a machine by reference: `&Machine`",
        ));
    };
    if let Some(token) = &reference.mutability {
        let message = "a machine is shared with the library while the test runs: take it as `&Machine`, which can do \
                       everything";
        return Err(Error::new_spanned(token, message));
    }
    match &reference.lifetime {
        Some(lifetime) if lifetime.ident == "static" => Err(Error::new_spanned(
            lifetime,
            "a machine ends with its test: take it as `&Machine`",
        )),
        _ => Ok(()),
    }
}

/// The type without the parentheses and invisible groups around it.
pub(super) fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Paren(inner) => plain(&inner.elem),
        Type::Group(inner) => plain(&inner.elem),
        other => other,
    }
}

/// One machine cannot be two parameters. That two expressions name one fixture is seen when the test runs; that they
/// are the same, now.
fn check_shared(parameters: &[Parameter], mistakes: &mut Mistakes) {
    let mut seen = Vec::new();
    for parameter in parameters {
        let shared = parameter.setup.iter().find(|argument| match &argument.value {
            Value::Variant(variant) => argument.key == Key::Isolation && variant == "Shared",
            _ => false,
        });
        let Some(shared) = shared else { continue };
        let fixture = parameter.setup.iter().find_map(|argument| match &argument.value {
            Value::Expr(expr) if argument.key == Key::Fixture => Some(expr.to_token_stream().to_string()),
            _ => None,
        });
        let fixture = fixture.unwrap_or_default();
        if seen.contains(&fixture) {
            let message =
                "one fixture has one shared machine, which cannot be two parameters: take `fork` or `boot`";
            mistakes.add(Error::new(shared.name.span(), message));
            return;
        }
        seen.push(fixture);
    }
}

/// What to call the machine of a parameter: `vm` for `vm`, `mut vm` and `_vm`, and `machine` for `_`.
fn label(pattern: &Pat) -> String {
    match pattern {
        Pat::Ident(pattern) => {
            let name = pattern.ident.unraw().to_string();
            match name.trim_start_matches('_') {
                "" => name,
                trimmed => trimmed.to_owned(),
            }
        }
        Pat::Paren(pattern) => label(&pattern.pat),
        _ => "machine".to_owned(),
    }
}

/// Labels that came out the same get a number: `_: &Machine, _: &Machine`.
fn tell_apart(parameters: &mut [Parameter]) {
    for position in 1..parameters.len() {
        let (earlier, rest) = parameters.split_at_mut(position);
        let label = &mut rest[0].label;
        let plain = label.clone();
        let mut number = 1;
        while earlier.iter().any(|parameter| parameter.label == *label) {
            number += 1;
            *label = format!("{plain}{number}");
        }
    }
}
