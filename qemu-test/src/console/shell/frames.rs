//! The lines of a conversation with a guest's shell: telling them from whatever else the console shows, healing those
//! that the kernel wrote into, and putting a command's output together. What is said when is left to `session`.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::Digest;
use regex::Regex;

/// A line that starts with the conversation's mark: `MARK:ID:WORD:ARGUMENT...:.`, here without mark and end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marked<'l> {
    pub(super) id: u32,
    pub(super) word: &'l str,
    pub(super) arguments: Vec<&'l str>,
}

impl<'l> Marked<'l> {
    /// Finds one in `line`, behind whatever a program wrote without a newline.
    pub(super) fn parse(line: &'l str, mark: &str) -> Option<Self> {
        let (_, rest) = line.rsplit_once(mark)?;
        let (body, _) = rest.strip_prefix(':')?.split_once(":.")?;
        let mut words = body.split(':');
        let id = words.next()?.parse().ok()?;
        Some(Self {
            id,
            word: words.next()?,
            arguments: words.collect(),
        })
    }
}

/// Joins lines that kernel messages have split: the kernel writes to its console wherever a program's output happens
/// to be, and each of its messages starts with a time stamp and ends with a newline.
#[derive(Default)]
pub(super) struct Healer {
    carry: String,
}

/// More than any line of a conversation has.
const CARRY_BYTES: usize = 4096;

impl Healer {
    /// The line that `line` ends, if it ends one.
    pub(super) fn heal(&mut self, line: &str) -> Option<String> {
        static STAMP: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new(r"\[ *\d+\.\d{6}\](\[ *[CT]\d+\])? ").ok());
        let stamp = STAMP.as_ref().and_then(|stamp| stamp.find(line));
        let own = &line[..stamp.map_or(line.len(), |stamp| stamp.start())];
        self.carry.push_str(own.trim_end_matches('\r'));
        if stamp.is_some() && self.carry.len() <= CARRY_BYTES {
            return None;
        }
        Some(std::mem::take(&mut self.carry))
    }
}

/// How a guest writes bytes as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// `base64`, as busybox and coreutils have it.
    Base64,
    /// `od -tx1`, for guests without.
    Hex,
}

impl Code {
    /// How many bytes a line has, the last one aside: base64 breaks after 76 characters (RFC 2045), od after 16 bytes.
    fn line_bytes(self) -> usize {
        match self {
            Self::Base64 => 57,
            Self::Hex => 16,
        }
    }

    fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Base64 => BASE64.decode(text).ok(),
            Self::Hex => {
                let digits: Option<Vec<u8>> = text.chars().map(|c| Some(c.to_digit(16)? as u8)).collect();
                let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
                Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
            }
        }
    }
}

/// The output of a command while it comes.
#[derive(Debug)]
pub(super) struct Transfer {
    code: Code,
    sum: Digest,
    bytes: Vec<u8>,
    /// Which lines have come.
    here: Vec<bool>,
    missing: usize,
}

impl Transfer {
    pub(super) fn new(code: Code, size: usize, sum: Digest) -> Self {
        let lines = size.div_ceil(code.line_bytes());
        Self {
            code,
            sum,
            bytes: vec![0; size],
            here: vec![false; lines],
            missing: lines,
        }
    }

    /// Takes a numbered line, if `line` is one that is whole and was missing.
    pub(super) fn take(&mut self, line: &str) -> bool {
        self.place(line).is_some()
    }

    fn place(&mut self, line: &str) -> Option<()> {
        let (number, text) = line.split_once(':')?;
        let index = number.parse::<usize>().ok()?.checked_sub(1)?;
        let here = self.here.get_mut(index).filter(|here| !**here)?;
        let start = index * self.code.line_bytes();
        let end = (start + self.code.line_bytes()).min(self.bytes.len());
        let decoded = self
            .code
            .decode(text)
            .filter(|decoded| decoded.len() == end - start)?;
        self.bytes[start..end].copy_from_slice(&decoded);
        *here = true;
        self.missing -= 1;
        Some(())
    }

    /// How many lines are missing.
    pub(super) fn missing(&self) -> usize {
        self.missing
    }

    /// The output, once all of it is here; none and everything missing again if it is not what the guest has.
    pub(super) fn finish(&mut self) -> Option<Vec<u8>> {
        if self.missing > 0 {
            return None;
        }
        if md5::compute(&self.bytes) == self.sum {
            return Some(std::mem::take(&mut self.bytes));
        }
        self.here.fill(false);
        self.missing = self.here.len();
        None
    }

    /// A sed script that prints the missing lines, or as many of them as fit on a typed line.
    pub(super) fn script(&self) -> String {
        const SCRIPT_BYTES: usize = 300;
        let mut script = String::new();
        let mut index = 0;
        while let Some(first) = self.here[index..]
            .iter()
            .position(|here| !here)
            .map(|skipped| index + skipped)
        {
            let length = self.here[first..].iter().position(|here| *here);
            index = length.map_or(self.here.len(), |length| first + length);
            let _ = write!(script, "{},{index}p;", first + 1);
            if script.len() > SCRIPT_BYTES {
                break;
            }
        }
        script
    }
}

/// The digest that `md5sum` prints. It guards against accidents only, and is what every busybox has.
pub(super) fn parse_sum(text: &str) -> Option<Digest> {
    let bytes = Code::Hex.decode(text)?;
    Some(Digest(bytes.try_into().ok()?))
}

/// `bytes` for `printf %b` within single quotes, of characters that no interactive shell takes for an order: no quote,
/// no tab, no control character, no `!`. What is typed is echoed, and a test that looks for `Kernel panic` must not be
/// taken for a guest that has one: no word begins with a capital.
pub(super) fn percent_b(bytes: &[u8]) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    let before = std::iter::once(b' ').chain(bytes.iter().copied());
    for (before, &byte) in before.zip(bytes) {
        match byte {
            b'\'' | b'\\' | b'!' => {}
            b'A'..=b'Z' if !before.is_ascii_alphanumeric() => {}
            b' '..=b'~' => {
                escaped.push(char::from(byte));
                continue;
            }
            _ => {}
        }
        let _ = write!(escaped, "\\0{byte:03o}");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// What a program of the host prints when it is given `input`.
    fn filter(program: &str, arguments: &[&str], input: &[u8]) -> String {
        let mut command = Command::new(program);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    fn transfer(code: Code, bytes: &[u8]) -> Transfer {
        Transfer::new(code, bytes.len(), md5::compute(bytes))
    }

    #[test]
    fn the_sum_is_the_one_of_md5sum() {
        for bytes in [&b""[..], b"x", &[0xff; 70_000]] {
            let printed = filter("md5sum", &[], bytes);
            assert_eq!(
                parse_sum(printed.split(' ').next().unwrap()),
                Some(md5::compute(bytes))
            );
        }
        assert_eq!(parse_sum("d41d8cd98f00b204e9800998ecf842"), None);
    }

    #[test]
    fn printf_reads_back_what_was_escaped() {
        let bytes: Vec<u8> = (1..=255).chain(*b"0\\01!'%s' Kernel").collect();
        let script = format!("printf %b '{}' | od -An -v -tu1", percent_b(&bytes));
        let read = filter("sh", &["-c", &script], b"");
        let read: Vec<u8> = read
            .split_whitespace()
            .map(|byte| byte.parse().unwrap())
            .collect();
        assert_eq!(read, bytes);
    }

    #[test]
    fn a_typed_command_does_not_sound_like_a_guest_in_trouble() {
        let typed = percent_b(b"dmesg | grep -e 'Kernel panic - not syncing' -e ^BUG: -e Oops -e aBc");
        for word in ["Kernel", "BUG", "Oops"] {
            assert!(!typed.contains(word), "{typed}");
        }
        assert!(typed.ends_with("-e aBc"), "{typed}");
    }

    #[test]
    fn output_is_put_together_from_both_codes() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * 7) as u8).collect();
        let encoded = filter("base64", &[], &bytes);
        let hex: Vec<String> = bytes
            .chunks(16)
            .map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect();
        for (code, encoded) in [(Code::Base64, encoded), (Code::Hex, hex.join("\n"))] {
            let mut transfer = transfer(code, &bytes);
            for (index, line) in encoded.lines().enumerate() {
                assert_eq!(transfer.finish(), None);
                assert!(transfer.take(&format!("{}:{line}", index + 1)), "{line}");
            }
            assert_eq!(transfer.finish(), Some(bytes.clone()));
        }
    }

    #[test]
    fn damaged_lines_are_refused_and_asked_for_again() {
        let mut transfer = transfer(Code::Hex, &[0xab; 90]);
        let line = "ab".repeat(16);
        for number in [2, 3, 5] {
            assert!(transfer.take(&format!("{number}:{line}")));
        }
        let short = &line[2..];
        for damaged in [
            format!("1:{short}"),
            format!("1:{short}zz"),
            format!("7:{line}"),
            format!("0:{line}"),
        ] {
            assert!(!transfer.take(&damaged), "{damaged}");
        }
        assert!(
            !transfer.take(&format!("2:{line}")),
            "a line that is here already"
        );
        assert_eq!(
            (transfer.missing(), transfer.script().as_str()),
            (3, "1,1p;4,4p;6,6p;")
        );
    }

    #[test]
    fn whole_lines_of_wrong_bytes_are_all_asked_for_again() {
        let mut transfer = transfer(Code::Hex, b"right");
        assert!(transfer.take(&format!("1:{}", "00".repeat(5))));
        assert_eq!(transfer.finish(), None);
        assert_eq!(transfer.script(), "1,1p;");
    }

    #[test]
    fn kernel_messages_within_and_between_lines_are_healed() {
        let mut healer = Healer::default();
        let shown = "12:abcd[    3.123456] random: crng init done\n[ 1234.000001][    T1] two\nefgh\n13:ij\r[   4.000000] x\n\n14:k";
        let healed: Vec<String> = shown.lines().filter_map(|line| healer.heal(line)).collect();
        assert_eq!(healed, ["12:abcdefgh", "13:ij", "14:k"]);
    }

    #[test]
    fn a_marked_line_is_found_behind_unfinished_output_and_only_when_whole() {
        let expected = Marked {
            id: 7,
            word: "end",
            arguments: vec!["0", "12", "34"],
        };
        assert_eq!(Marked::parse("oopsqt1:7:end:0:12:34:.", "qt1"), Some(expected));
        for line in ["qt1:7:end:0:12", "qt2:7:end:.", "qt1:x:end:.", "qt''1:7:end:."] {
            assert_eq!(Marked::parse(line, "qt1"), None, "{line}");
        }
    }
}
