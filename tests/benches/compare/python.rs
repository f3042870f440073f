//! QEMU's own Python client: a process that measures itself whenever it is asked to.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Result;

/// Where `cargo xtask bench` says that there is a Python with the package `qemu.qmp`.
const VARIABLE: &str = "QEMU_TEST_BENCH_PYTHON";

pub(crate) struct Python {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    name: String,
}

impl Python {
    /// Starts `client.py` with these arguments; the error says why that cannot be.
    pub(crate) fn start(arguments: &[&str]) -> std::result::Result<Self, String> {
        let python = std::env::var_os(VARIABLE)
            .ok_or_else(|| format!("QEMU's Python client: {VARIABLE} names no Python that has it"))?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/client.py");
        let cannot = |error: std::io::Error| format!("QEMU's Python client: {}: {error}", python.display());
        let mut child = Command::new(&python)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are pipes")
        };
        let mut python = Self {
            child,
            questions: Some(questions),
            answers: BufReader::new(answers),
            name: String::new(),
        };
        python.name = python.line().map_err(cannot)?;
        Ok(python)
    }

    /// `qemu.qmp 0.0.6`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Lets it measure once.
    pub(crate) fn figures<const N: usize>(&mut self, question: &str) -> Result<[f64; N]> {
        let Some(questions) = &mut self.questions else {
            unreachable!("closed by drop only")
        };
        writeln!(questions, "{question}")?;
        let line = self.line()?;
        let figures = line
            .split_whitespace()
            .map(str::parse)
            .collect::<std::result::Result<Vec<f64>, _>>()?;
        figures
            .try_into()
            .map_err(|_| format!("client.py answered `{line}`").into())
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(std::io::Error::other("client.py ended"));
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // The end of its questions is its own end.
        self.questions = None;
        let _ = self.child.wait();
    }
}
