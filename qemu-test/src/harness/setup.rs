//! What `#[qemu_test]` says of one machine, in the order in which the user wrote it.

use std::ffi::OsStr;

use crate::accel::Accel;
use crate::error::Result;
use crate::guest::AllowedLine;
use crate::{Machine, MachineBuilder};

type Edit = Box<dyn FnOnce(MachineBuilder) -> MachineBuilder>;

/// One machine of a test: where it comes from, and what goes on top.
#[must_use]
pub struct Setup {
    parameter: &'static str,
    base: Option<MachineBuilder>,
    edits: Vec<Edit>,
}

impl Setup {
    /// A machine that is called `parameter` unless it gets another name.
    pub fn new(parameter: &'static str) -> Self {
        Self {
            parameter,
            base: None,
            edits: Vec::new(),
        }
    }

    /// The crate that the test is in, whose default fixture it uses when it names none.
    pub fn in_crate(self, _crate: &'static str) -> Self {
        self
    }

    /// The builder to start from.
    pub fn machine(mut self, builder: MachineBuilder) -> Self {
        self.base = Some(builder);
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

    /// The builder that all this comes to.
    pub(super) fn builder(self) -> MachineBuilder {
        let base = self.base.unwrap_or_default();
        let builder = self.edits.into_iter().fold(base, |builder, edit| edit(builder));
        if builder.name.is_some() {
            builder
        } else {
            builder.name(self.parameter)
        }
    }
}

/// Launches what was set up.
pub(super) fn launch(builder: &MachineBuilder) -> Result<Machine> {
    builder.launch()
}

fn owned<I: IntoIterator<Item: AsRef<OsStr>>>(words: I) -> Vec<std::ffi::OsString> {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect()
}
