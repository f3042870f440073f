//! What the processors do, told from two looks at their registers (`info registers -a` of the human monitor) and from
//! the time that their threads took in between.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::Regex;

use super::threads::Time;

/// A processor whose thread wanted less than this share of the time between the looks does little but wait. One that
/// is at work wants all of it; on a busy host, one that wakes for its clock waits for its turn each time.
const IDLE: f64 = 0.5;

/// One processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) number: usize,
    pub(super) doing: Doing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It waits for an interrupt; `for_good` where it has turned those off.
    Halted { for_good: bool },
    /// It runs: where it was at the two looks.
    Busy { first: Option<u64>, second: Option<u64> },
}

/// What `info registers` says of one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Registers {
    pc: Option<u64>,
    /// `None` where the architecture's registers do not tell.
    halted: Option<bool>,
    interrupts: Option<bool>,
}

/// Compares two looks; `before` and `after` are the times of the processors' threads, in their order.
pub(super) fn compare(
    first: &str,
    second: &str,
    before: &[Option<Time>],
    after: &[Option<Time>],
) -> Vec<Cpu> {
    let (first, second) = (parse(first), parse(second));
    (0..before.len())
        .map(|number| {
            let looks = [&first, &second].map(|look| look.get(&number).copied().unwrap_or_default());
            let busy = match (before[number], after.get(number).copied().flatten()) {
                (Some(before), Some(after)) => Some(after.share_since(before) >= IDLE),
                _ => None,
            };
            let doing = judge(looks, busy);
            Cpu { number, doing }
        })
        .collect()
}

fn judge([first, second]: [Registers; 2], busy: Option<bool>) -> Doing {
    let halted = match (first.halted, second.halted, busy) {
        // A guest that is idle wakes for its clock now and then.
        (Some(true), Some(true), _) | (_, _, Some(false)) => true,
        (None, None, None) => first.pc.is_some() && first.pc == second.pc,
        _ => false,
    };
    if halted {
        let for_good = second.halted == Some(true) && second.interrupts == Some(false);
        Doing::Halted { for_good }
    } else {
        Doing::Busy {
            first: first.pc,
            second: second.pc,
        }
    }
}

/// The program counter by the names that QEMU's targets have for it, x86's flags, and its sign of `hlt`.
fn parse(text: &str) -> BTreeMap<usize, Registers> {
    static PATTERNS: OnceLock<[Regex; 3]> = OnceLock::new();
    let [pc, flags, halted] = PATTERNS.get_or_init(|| {
        [
            // 32-bit Arm calls it R15, which is an ordinary register of x86-64's, twice as wide.
            r"(?:^|\s)(?:(?:[ER]IP|PC|pc|NIP|PSW=mask [0-9a-fA-F]+ addr)[= ]\s*(?:0x)?([0-9a-fA-F]{4,16})|R15=([0-9a-fA-F]{8}))\b",
            r"\b[ER]FL=([0-9a-fA-F]{8})\b",
            r"\bHLT=([01])\b",
        ]
        .map(|pattern| Regex::new(pattern).expect("a pattern of registers"))
    });
    let mut cpus = BTreeMap::new();
    let mut current = 0;
    for line in text.lines() {
        if let Some(number) = line.trim().strip_prefix("CPU#") {
            current = number.trim().parse().unwrap_or(current);
        }
        let registers: &mut Registers = cpus.entry(current).or_default();
        let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
        if let Some(found) = pc.captures(line).filter(|_| registers.pc.is_none()) {
            registers.pc = found
                .get(1)
                .or(found.get(2))
                .and_then(|digits| hex(digits.as_str()));
        }
        if let Some(found) = flags.captures(line) {
            registers.interrupts = hex(&found[1]).map(|flags| flags & 0x200 != 0);
        }
        if let Some(found) = halted.captures(line) {
            registers.halted = Some(&found[1] == "1");
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOP: &str = "\nCPU#0\nEAX=0000aa55 EBX=00000000\n\
                        EIP=00007c00 EFL=00000202 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\n\
                        \nCPU#1\nEIP=000fd0cf EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\n";

    fn time(cpu: u64) -> Option<Time> {
        Some(Time::at(cpu, 1_000_000_000))
    }

    #[test]
    fn the_program_counter_is_found_whatever_the_target_calls_it() {
        let pc = |text: &str| parse(text)[&0].pc;
        assert_eq!(
            pc(" PC=ffffc1b7e1ac370c X00=ffff17ef8818d240"),
            Some(0xffff_c1b7_e1ac_370c)
        );
        assert_eq!(
            pc("RIP=ffffffff81a3c9cf RFL=00000246 [---Z-P-] CPL=0 HLT=1"),
            Some(0xffff_ffff_81a3_c9cf)
        );
        assert_eq!(
            pc("R12=00000000 R13=40a00000 R14=00000000 R15=60000010"),
            Some(0x6000_0010)
        );
        assert_eq!(
            pc(" pc       ffffffff80003f2a\n mhartid  0000000000000000"),
            Some(0xffff_ffff_8000_3f2a)
        );
        assert_eq!(
            pc("NIP c000000000010a1c   LR 0000000000000000 CTR 00"),
            Some(0xc000_0000_0001_0a1c)
        );
        assert_eq!(
            pc("PSW=mask 0002000180000000 addr 00000000001167de cc 00"),
            Some(0x1167de)
        );
        assert_eq!(
            pc("EAX=0000aa55 EBX=00000000 PCI=1234\nR14=0000000000000000 R15=0000000000000000"),
            None
        );
    }

    #[test]
    fn one_processor_in_a_loop_and_one_halted_are_told_apart() {
        let cpus = compare(LOOP, LOOP, &[time(0), time(0)], &[time(900_000_000), time(0)]);
        let looping = Doing::Busy {
            first: Some(0x7c00),
            second: Some(0x7c00),
        };
        assert_eq!(cpus[0].doing, looping);
        assert_eq!(cpus[1].doing, Doing::Halted { for_good: true });
    }

    #[test]
    fn a_thread_that_took_no_time_is_a_processor_that_waits() {
        let text = " PC=0000000040080000 X00=0";
        assert_eq!(
            compare(text, text, &[time(0)], &[time(0)])[0].doing,
            Doing::Halted { for_good: false }
        );
        assert!(matches!(
            compare(text, text, &[time(0)], &[time(700_000_000)])[0].doing,
            Doing::Busy { .. }
        ));
        // Without the times, a counter that does not move is all there is.
        assert_eq!(
            compare(text, text, &[None], &[None])[0].doing,
            Doing::Halted { for_good: false }
        );
    }

    #[test]
    fn an_idle_guest_that_is_woken_by_its_clock_is_halted() {
        let idle = "RIP=ffffffff81a3c9cf RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1";
        let cpus = compare(idle, idle, &[time(0)], &[time(300_000_000)]);
        assert_eq!(cpus[0].doing, Doing::Halted { for_good: false });
    }
}
