//! What intercepted interrupt lines do.

use std::collections::VecDeque;
use std::fmt;

/// So many events are kept for a test that does not look.
const KEPT: usize = 1 << 16;

/// A change of an interrupt line, after [`irq_intercept_in`](super::Qtest::irq_intercept_in) or
/// [`irq_intercept_out`](super::Qtest::irq_intercept_out).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Irq {
    /// The number of the line among the device's inputs or outputs.
    pub line: u32,
    /// Whether it was raised; lowered otherwise.
    pub raised: bool,
}

impl Irq {
    /// The message `IRQ raise 4` or `IRQ lower 4`; `None` for any other line.
    pub(super) fn parse(message: &str) -> Option<Self> {
        let (verb, line) = message.strip_prefix("IRQ ")?.split_once(' ')?;
        let raised = match verb {
            "raise" => true,
            "lower" => false,
            _ => return None,
        };
        Some(Self {
            line: line.parse().ok()?,
            raised,
        })
    }
}

impl fmt::Display for Irq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.raised { "raise" } else { "lower" };
        write!(f, "IRQ {verb} {}", self.line)
    }
}

/// The events that no test has taken, oldest first, in bounded memory.
#[derive(Default)]
pub(super) struct IrqQueue {
    queue: VecDeque<Irq>,
    lost: u64,
}

impl IrqQueue {
    pub(super) fn push(&mut self, irq: Irq) {
        if self.queue.len() == KEPT {
            self.queue.pop_front();
            self.lost += 1;
        }
        self.queue.push_back(irq);
    }

    pub(super) fn take_all(&mut self) -> Vec<Irq> {
        self.queue.drain(..).collect()
    }

    /// Takes the oldest that equals `wanted`; the others stay.
    pub(super) fn take(&mut self, wanted: Irq) -> Option<Irq> {
        let position = self.queue.iter().position(|irq| *irq == wanted)?;
        self.queue.remove(position)
    }

    /// What is queued, for the error of a wait.
    pub(super) fn describe(&self) -> String {
        let mut text = match self.lost {
            0 => String::new(),
            lost => format!("({lost} older events were dropped)\n"),
        };
        let skipped = self.queue.len().saturating_sub(10);
        if skipped > 0 {
            text.push_str(&format!("({skipped} more before)\n"));
        }
        for irq in self.queue.iter().skip(skipped) {
            text.push_str(&format!("{irq}\n"));
        }
        if self.queue.is_empty() {
            text.push_str("(no interrupt)");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_as_it_was_and_anything_else_is_none() {
        for message in ["IRQ raise 4", "IRQ lower 23"] {
            assert_eq!(Irq::parse(message).unwrap().to_string(), message);
        }
        for other in [
            "OK",
            "IRQ raise",
            "IRQ blink 4",
            "IRQ raise four",
            "FAIL IRQ raise 4",
        ] {
            assert_eq!(Irq::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_oldest_of_too_many_events_go_and_are_counted() {
        let mut queue = IrqQueue::default();
        for line in 0..KEPT as u32 + 2 {
            queue.push(Irq { line, raised: true });
        }
        assert!(queue.describe().starts_with("(2 older events were dropped)"));
        assert_eq!(
            queue.take(Irq {
                line: 1,
                raised: true
            }),
            None
        );
        assert!(
            queue
                .take(Irq {
                    line: 2,
                    raised: true
                })
                .is_some()
        );
        assert_eq!(queue.take_all().len(), KEPT - 1);
    }
}
