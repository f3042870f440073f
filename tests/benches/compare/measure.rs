//! Two things that take turns, and their medians.

use std::io::{IsTerminal, Write};

use crate::Result;

/// How many turns come first and do not count: they fill caches.
const WARM_UP: usize = 2;

/// Figures of two things, pair by pair.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Pairs {
    pub(crate) fn medians(&self) -> (f64, f64) {
        (median(self.ours.clone()), median(self.theirs.clone()))
    }

    /// The median of the pairs' own ratios: what slows the whole machine down for a while slows both of a pair.
    pub(crate) fn ratio(&self) -> f64 {
        let ratios = self
            .ours
            .iter()
            .zip(&self.theirs)
            .map(|(ours, theirs)| ours / theirs);
        median(ratios.collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.ours.len()
    }
}

/// Lets the two take `turns` turns, each giving `N` figures at a time. Who begins changes from turn to turn.
pub(crate) fn in_turns<const N: usize>(
    what: &str,
    turns: usize,
    mut ours: impl FnMut() -> Result<[f64; N]>,
    mut theirs: impl FnMut() -> Result<[f64; N]>,
) -> Result<[Pairs; N]> {
    let mut pairs = [(); N].map(|()| Pairs::default());
    for turn in 0..WARM_UP + turns {
        progress(what, turn, WARM_UP + turns);
        let (our, their) = if turn % 2 == 0 {
            let our = ours()?;
            (our, theirs()?)
        } else {
            let their = theirs()?;
            (ours()?, their)
        };
        if turn >= WARM_UP {
            for (index, pair) in pairs.iter_mut().enumerate() {
                pair.ours.push(our[index]);
                pair.theirs.push(their[index]);
            }
        }
    }
    progress(what, WARM_UP + turns, WARM_UP + turns);
    Ok(pairs)
}

/// One line per measurement; on a terminal it counts.
fn progress(what: &str, turn: usize, turns: usize) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        eprint!("\r\x1b[2K  measuring {what}: {turn} of {turns}");
        if turn == turns {
            eprintln!();
        }
        // Nothing useful can be done about a closed terminal.
        let _ = stderr.flush();
    } else if turn == 0 {
        eprintln!("  measuring {what}: {turns} turns");
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => (figures[middle - 1] + figures[middle]) / 2.0,
        _ => figures[middle],
    }
}
