//! The rows, and how they are printed.

use std::fmt;

use crate::measure::Pairs;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds; less is better.
    Time,
    /// Per second; more is better.
    Rate,
}

/// What a ratio should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    AtMost(f64),
    AtLeast(f64),
}

impl Aim {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(limit) => ratio <= limit,
            Self::AtLeast(limit) => ratio >= limit,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {limit:.2}"),
            Self::AtLeast(limit) => write!(f, "≥ {limit:.2}"),
        }
    }
}

/// All rows, and what could not be measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 7]>,
    remarks: Vec<String>,
    notes: Vec<String>,
}

impl Table {
    /// Adds `what`, ours against `other`.
    pub(crate) fn row(&mut self, what: &str, other: &str, unit: Unit, pairs: &Pairs, aim: Option<Aim>) {
        let (ours, theirs) = pairs.medians();
        let ratio = pairs.ratio();
        let verdict = match aim {
            None => String::new(),
            Some(aim) if aim.is_met(ratio) => format!("{aim}"),
            Some(aim) => format!("{aim}: missed"),
        };
        self.rows.push([
            what.to_owned(),
            figure(ours, unit),
            figure(theirs, unit),
            other.to_owned(),
            format!("{ratio:.3}"),
            verdict,
            pairs.len().to_string(),
        ]);
    }

    /// Says below the table what is compared with nothing.
    pub(crate) fn remark(&mut self, remark: impl fmt::Display) {
        self.remarks.push(remark.to_string());
    }

    /// Says below the table what is not in it, and why.
    pub(crate) fn note(&mut self, note: impl fmt::Display) {
        self.notes.push(note.to_string());
    }
}

fn figure(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Time if value < 1.0 => format!("{:.2} ms", value * 1e3),
        Unit::Time => format!("{value:.2} s"),
        Unit::Rate => format!("{value:.0}/s"),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = [
            "median of",
            "qemu-test",
            "the other",
            "which is",
            "ratio",
            "aim",
            "pairs",
        ]
        .map(str::to_owned);
        let lines: Vec<&[String; 7]> = std::iter::once(&headings).chain(&self.rows).collect();
        let mut widths = [0; 7];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line.iter()) {
                *width = (*width).max(cell.chars().count());
            }
        }
        writeln!(f)?;
        for line in lines {
            let mut text = String::new();
            for (index, (cell, width)) in line.iter().zip(widths).enumerate() {
                let padding = " ".repeat(width - cell.chars().count());
                // Figures to the right, words to the left.
                let is_figure = matches!(index, 1 | 2 | 4 | 6);
                text += &if is_figure {
                    format!("{padding}{cell}  ")
                } else {
                    format!("{cell}{padding}  ")
                };
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        for remark in &self.remarks {
            writeln!(f, "{remark}")?;
        }
        for note in &self.notes {
            writeln!(f, "not measured: {note}")?;
        }
        Ok(())
    }
}
