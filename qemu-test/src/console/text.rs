//! Text of which the beginning can be forgotten, so that a stream is held in bounded memory. What it is made of and
//! who reads it is left to others.

/// The end of a stream of text. Positions count the bytes of the whole stream, forgotten ones included.
#[derive(Debug, Default)]
pub(super) struct Text {
    buffer: String,
    /// How much of `buffer` is forgotten: moving the rest down each time would make forgetting quadratic.
    forgotten: usize,
    /// The position in the stream at which `buffer` starts.
    base: u64,
}

impl Text {
    pub(super) fn as_str(&self) -> &str {
        &self.buffer[self.forgotten..]
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.forgotten
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where in the stream the text that is left starts.
    pub(super) fn start(&self) -> u64 {
        self.base + self.forgotten as u64
    }

    /// Where in the stream the text ends.
    pub(super) fn end(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    pub(super) fn push_str(&mut self, text: &str) {
        self.buffer.push_str(text);
    }

    /// Moves all of `later` to the end of this text, and says how many bytes are missing between the two: then
    /// what was here is forgotten, because nothing may be taken for adjacent that is not.
    pub(super) fn append(&mut self, later: &mut Self) -> u64 {
        let missing = later.start().saturating_sub(self.end());
        if missing > 0 || self.is_empty() {
            std::mem::swap(self, later);
            later.buffer.clear();
            later.forgotten = 0;
        } else {
            self.push_str(later.as_str());
            later.forget(later.len());
        }
        later.base = self.end();
        missing
    }

    /// Forgets the first `bytes`, which must end at a character boundary.
    pub(super) fn forget(&mut self, bytes: usize) {
        self.forgotten += bytes;
        if self.forgotten == self.buffer.len() {
            self.base = self.end();
            self.buffer.clear();
            self.forgotten = 0;
        } else if self.forgotten > self.len() {
            // Moves no more bytes than were forgotten since the last time: constant cost per byte of the stream.
            self.base += self.forgotten as u64;
            self.buffer.drain(..self.forgotten);
            self.forgotten = 0;
        }
    }

    /// Forgets all but about the last `bytes`, and says how many it forgot.
    pub(super) fn keep_last(&mut self, bytes: usize) -> u64 {
        let Some(excess) = self.len().checked_sub(bytes).filter(|excess| *excess > 0) else {
            return 0;
        };
        let boundary = ceil_char_boundary(self.as_str(), excess);
        self.forget(boundary);
        boundary as u64
    }
}

/// The first character boundary from `at` on.
fn ceil_char_boundary(text: &str, at: usize) -> usize {
    (at..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len())
}

/// The last character boundary up to `at`.
pub(super) fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// The last `lines` lines of `text`, and of these no more than about the last `bytes`.
pub(super) fn last_lines(text: &str, lines: usize, bytes: usize) -> &str {
    let text = &text[ceil_char_boundary(text, text.len().saturating_sub(bytes))..];
    let body = text.strip_suffix('\n').unwrap_or(text);
    let start = match lines.checked_sub(1) {
        Some(before_last) => body
            .rmatch_indices('\n')
            .nth(before_last)
            .map_or(0, |(at, _)| at + 1),
        None => text.len(),
    };
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &str) -> Text {
        Text {
            buffer: content.to_owned(),
            ..Text::default()
        }
    }

    #[test]
    fn positions_survive_forgetting() {
        let mut text = text("0123456789");
        for forgotten in [3, 4, 2] {
            text.forget(forgotten);
        }
        assert_eq!((text.as_str(), text.start(), text.end()), ("9", 9, 10));
        text.push_str("abc");
        text.forget(4);
        assert_eq!((text.as_str(), text.start(), text.end()), ("", 13, 13));
    }

    #[test]
    fn no_character_is_cut_when_the_oldest_goes() {
        let mut text = text("ééé");
        assert_eq!(text.keep_last(3), 4);
        assert_eq!((text.as_str(), text.start()), ("é", 4));
        assert_eq!(text.keep_last(2), 0);
    }

    #[test]
    fn what_is_not_adjacent_is_never_joined() {
        let mut later = text("abcdef");
        later.forget(1);
        let mut window = text("x");
        window.base = 0;
        assert_eq!(window.append(&mut later), 0);
        assert_eq!((window.as_str(), later.as_str()), ("xbcdef", ""));
        later.push_str("ghi");
        later.forget(2);
        assert_eq!(window.append(&mut later), 2);
        assert_eq!((window.as_str(), window.start(), window.end()), ("i", 8, 9));
        assert_eq!((later.as_str(), later.start()), ("", 9));
    }

    #[test]
    fn the_last_lines_end_with_the_unfinished_one() {
        let text = "one\ntwo\nthree\n# ";
        assert_eq!(last_lines(text, 2, 100), "three\n# ");
        assert_eq!(last_lines("one\ntwo\n", 1, 100), "two\n");
        assert_eq!(last_lines(text, 9, 100), text);
        assert_eq!(last_lines(text, 9, 4), "e\n# ");
        assert_eq!(last_lines(text, 0, 100), "");
    }
}
