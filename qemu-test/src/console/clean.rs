//! From the raw bytes of a terminal to text: escape sequences and control characters go, invalid UTF-8 is replaced,
//! `\r\n` becomes `\n`. It holds whatever a read may have cut in two.

use vte::{Parser, Perform};

/// Nothing of an OSC string (a window title, say) is kept, so its buffer may be small. Without a limit an
/// unterminated one would grow for ever.
const OSC_BYTES: usize = 16;

/// CAN: aborts whatever sequence is under way, without printing anything.
const ABORT: &[u8] = b"\x18\n";

/// Turns bytes into text, in pieces of any size.
pub(super) struct Cleaner {
    parser: Parser<OSC_BYTES>,
    /// Carriage returns that belong to a line's end if a newline follows.
    returns: usize,
}

impl Cleaner {
    pub(super) fn new() -> Self {
        Self {
            parser: Parser::new_with_size(),
            returns: 0,
        }
    }

    /// Appends the text of `bytes` to `out`.
    pub(super) fn clean(&mut self, bytes: &[u8], out: &mut String) {
        out.reserve(bytes.len());
        let mut printer = Printer {
            out,
            returns: self.returns,
        };
        let mut rest = bytes;
        // A newline ends every sequence. On a real terminal it need not, but there one stray `ESC P` or `ESC ]` in
        // binary output would swallow all that follows, and a test would wait for a prompt that is on the screen.
        while let Some(newline) = memchr::memchr(b'\n', rest) {
            self.parser.advance(&mut printer, &rest[..newline]);
            self.parser.advance(&mut printer, ABORT);
            rest = &rest[newline + 1..];
        }
        self.parser.advance(&mut printer, rest);
        self.returns = printer.returns;
    }
}

struct Printer<'a> {
    out: &'a mut String,
    returns: usize,
}

impl Printer<'_> {
    fn push(&mut self, c: char) {
        while self.returns > 0 {
            self.out.push('\r');
            self.returns -= 1;
        }
        self.out.push(c);
    }
}

impl Perform for Printer<'_> {
    fn print(&mut self, c: char) {
        if c != '\x7f' {
            self.push(c);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => {
                self.returns = 0;
                self.out.push('\n');
            }
            b'\r' => self.returns += 1,
            b'\t' => self.push('\t'),
            // Bells, backspaces, NUL: nothing that a person would call text.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of `bytes`, however a read cuts them.
    fn cleaned(bytes: &[u8]) -> String {
        let mut whole = String::new();
        Cleaner::new().clean(bytes, &mut whole);
        for size in 1..bytes.len() {
            let (mut cleaner, mut pieces) = (Cleaner::new(), String::new());
            bytes
                .chunks(size)
                .for_each(|piece| cleaner.clean(piece, &mut pieces));
            assert_eq!(pieces, whole, "read {size} bytes at a time");
        }
        whole
    }

    #[test]
    fn escape_sequences_go_however_reads_cut_them() {
        let bytes = b"\x1b[1;32mok\x1b[0m\x1b[J \x1b]0;title\x07a\x1b(B\x1b[?25hb\x1b[6n\x1bPdcs\x1b\\c\x1b=\x1b[01;01H";
        assert_eq!(cleaned(bytes), "ok abc");
    }

    #[test]
    fn characters_survive_however_reads_cut_them_and_invalid_ones_are_replaced() {
        assert_eq!(cleaned("größe ✓ 𝄞\n".as_bytes()), "größe ✓ 𝄞\n");
        assert_eq!(cleaned(b"a\xffb\xe2\x82\nc\xc3"), "a\u{fffd}b\u{fffd}\nc");
    }

    #[test]
    fn a_line_ends_with_one_newline_whatever_its_carriage_returns() {
        assert_eq!(cleaned(b"a\r\nb\r\r\nc\nd"), "a\nb\nc\nd");
        assert_eq!(cleaned(b"10%\r20%\r\n"), "10%\r20%\n");
    }

    #[test]
    fn control_characters_other_than_tab_go() {
        assert_eq!(cleaned(b"a\x07\x08\0\tb\x7f\x0e"), "a\tb");
    }

    #[test]
    fn an_unterminated_sequence_does_not_swallow_the_next_line() {
        for start in [&b"\x1bP"[..], b"\x1b]0;", b"\x1bX", b"\x1b[12", b"\x1b_"] {
            let bytes = [b"a", start, b"lost\nnext"].concat();
            assert!(cleaned(&bytes).ends_with("\nnext"), "{start:?}");
        }
    }
}
