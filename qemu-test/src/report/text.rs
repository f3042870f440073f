//! Text from a machine, made fit for a terminal.

/// `text` without control characters that a terminal would obey; line ends and tabs stay.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            // A line that ends in CR LF is a line.
            '\r' => {}
            c if c.is_control() => out.extend(c.escape_default()),
            // These turn the reading direction of what follows, the terminal's own text included.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// The last `most` lines of `text`, with how many there are, and no line longer than `width` characters.
pub(super) fn last_lines(text: &str, most: usize, width: usize) -> (Vec<String>, usize) {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let shown = lines
        .iter()
        .skip(lines.len().saturating_sub(most))
        .map(|line| shortened(line, width))
        .collect();
    (shown, lines.len())
}

/// `line`, its middle left out where it is too long.
pub(super) fn shortened(line: &str, width: usize) -> String {
    let count = line.chars().count();
    if count <= width {
        return line.to_owned();
    }
    let half = width.saturating_sub(1) / 2;
    let head: String = line.chars().take(half).collect();
    let tail: String = line.chars().skip(count - half).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_a_machine_wrote() {
        assert_eq!(
            harmless("a\x1b[2Jb\x07\r\n\tc\u{202e}"),
            "a\\u{1b}[2Jb\\u{7}\n\tc\\u{202e}"
        );
    }

    #[test]
    fn only_the_end_of_a_long_text_is_shown_with_its_length() {
        let text = (1..=50).map(|n| format!("line {n}\n")).collect::<String>();
        let (lines, all) = last_lines(&text, 2, 80);
        assert_eq!(
            (lines, all),
            (vec!["line 49".to_owned(), "line 50".to_owned()], 50)
        );
        assert_eq!(last_lines("", 5, 80), (Vec::new(), 0));
    }

    #[test]
    fn a_long_line_keeps_both_its_ends() {
        assert_eq!(shortened("0123456789", 5), "01…89");
        assert_eq!(shortened("0123456789", 10), "0123456789");
    }
}
