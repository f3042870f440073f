//! What `#[qemu_test]` says of one machine, in the order in which the user wrote it.

use std::ffi::OsStr;

use super::home;
use crate::accel::Accel;
use crate::error::{Error, Result};
use crate::fixture::{self, Fixture, Isolation};
use crate::guest::AllowedLine;
use crate::{Machine, MachineBuilder};

type Edit = Box<dyn FnOnce(MachineBuilder) -> MachineBuilder>;

/// One machine of a test: where it comes from, and what goes on top.
#[must_use]
pub struct Setup<'a> {
    parameter: &'static str,
    base: Base<'a>,
    isolation: Option<Isolation>,
    edits: Vec<Edit>,
}

/// What a machine starts from.
enum Base<'a> {
    Builder(Box<MachineBuilder>),
    Fixture(Box<dyn Fixture + 'a>),
    /// The default fixture of this crate, if it has one.
    Default(Option<&'static str>),
}

/// What a setup comes to: the machine that is wanted, and the fixture that it is wanted of.
pub(super) struct Plan<'a> {
    pub(super) builder: MachineBuilder,
    fixture: Option<(Box<dyn Fixture + 'a>, Isolation)>,
}

impl<'a> Setup<'a> {
    /// A machine that is called `parameter` unless it gets another name.
    pub fn new(parameter: &'static str) -> Self {
        Self {
            parameter,
            base: Base::Default(None),
            isolation: None,
            edits: Vec::new(),
        }
    }

    /// The crate that the test is in, whose default fixture it uses when it names none.
    pub fn in_crate(mut self, name: &'static str) -> Self {
        self.base = Base::Default(Some(name));
        self
    }

    /// No fixture, not even the crate's default one.
    pub fn without_fixture(mut self) -> Self {
        self.base = Base::Default(None);
        self
    }

    /// The fixture that the machine comes from.
    pub fn fixture(mut self, fixture: impl Fixture + 'a) -> Self {
        self.base = Base::Fixture(Box::new(fixture));
        self
    }

    /// How the fixture's machine is given to the test.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// The builder to start from.
    pub fn machine(mut self, builder: MachineBuilder) -> Self {
        self.base = Base::Builder(Box::new(builder));
        self
    }

    fn edit(mut self, edit: impl FnOnce(MachineBuilder) -> MachineBuilder + 'static) -> Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// See [`MachineBuilder::arch`].
    pub fn arch(self, arch: impl Into<String>) -> Self {
        let arch = arch.into();
        self.edit(|builder| builder.arch(arch))
    }

    /// See [`MachineBuilder::binary`].
    pub fn binary(self, program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        self.edit(|builder| builder.binary(program))
    }

    /// See [`MachineBuilder::name`].
    pub fn name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.edit(|builder| builder.name(name))
    }

    /// See [`MachineBuilder::arg`].
    pub fn arg(self, argument: impl AsRef<OsStr>) -> Self {
        self.args([argument])
    }

    /// See [`MachineBuilder::args`].
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(self, arguments: I) -> Self {
        let arguments = owned(arguments);
        self.edit(|builder| builder.args(arguments))
    }

    /// One word of [`MachineBuilder::wrapper`].
    pub fn wrapper_arg(self, word: impl AsRef<OsStr>) -> Self {
        self.wrapper([word])
    }

    /// See [`MachineBuilder::wrapper`].
    pub fn wrapper<I: IntoIterator<Item: AsRef<OsStr>>>(self, words: I) -> Self {
        let words = owned(words);
        self.edit(|builder| builder.wrapper(words))
    }

    /// See [`MachineBuilder::console`].
    pub fn console(self) -> Self {
        self.edit(MachineBuilder::console)
    }

    /// See [`MachineBuilder::qtest`].
    pub fn qtest(self) -> Self {
        self.edit(MachineBuilder::qtest)
    }

    /// See [`MachineBuilder::allow_console_line`].
    pub fn allow_console_line<L>(self, line: L) -> Self
    where
        L: TryInto<regex::Regex, Error: std::fmt::Display>,
    {
        let line = AllowedLine::new(line);
        self.edit(|mut builder| {
            builder.allowed_lines.push(line);
            builder
        })
    }

    /// See [`MachineBuilder::expect_guest_panic`].
    pub fn expect_guest_panic(self) -> Self {
        self.edit(MachineBuilder::expect_guest_panic)
    }

    /// See [`MachineBuilder::accel`].
    pub fn accel(self, accel: Accel) -> Self {
        self.edit(move |builder| builder.accel(accel))
    }

    /// What all this comes to.
    ///
    /// # Errors
    ///
    /// Where a fixture is needed and there is none, or more than one.
    pub(super) fn plan(self) -> Result<Plan<'a>> {
        let (base, fixture): (MachineBuilder, Option<Box<dyn Fixture + 'a>>) = match self.base {
            Base::Builder(builder) => (*builder, None),
            Base::Fixture(fixture) => (fixture.machine(), Some(fixture)),
            Base::Default(name) => match name.map(fixture::default_of).transpose()?.flatten() {
                Some(fixture) => (fixture.machine(), Some(Box::new(fixture))),
                None => (MachineBuilder::default(), None),
            },
        };
        let mut builder = self.edits.into_iter().fold(base, |builder, edit| edit(builder));
        builder.name.get_or_insert_with(|| self.parameter.to_owned());
        match (fixture, self.isolation) {
            (None, Some(isolation)) => Err(Error::other(format!(
                "`isolation = {isolation}` says how a fixture's machine is given to the test, and there is no fixture: \
                 say `fixture = ...` or write `qemu_test::default_fixture!(...)` in this crate"
            ))),
            (fixture, isolation) => Ok(Plan {
                builder,
                fixture: fixture.map(|fixture| (fixture, isolation.unwrap_or_default())),
            }),
        }
    }
}

impl Plan<'_> {
    /// Launches the machine.
    pub(super) fn launch(self) -> Result<Machine> {
        match self.fixture {
            None => self.builder.launch(),
            Some((fixture, isolation)) => {
                let home = home::find(self.builder.artifact_dir.as_deref())?;
                fixture::launch(&*fixture, self.builder, isolation, home)
            }
        }
    }
}

fn owned<I: IntoIterator<Item: AsRef<OsStr>>>(words: I) -> Vec<std::ffi::OsString> {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect()
}
