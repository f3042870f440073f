//! What a wait looks for, and the search for it in text that grows: linear in the text, however it arrives.

use std::fmt;

use memchr::memmem::Finder;
use regex::Regex;

use super::text::{Text, floor_char_boundary};

/// What [`Console::wait_for`](super::Console::wait_for) waits for: a text, or a regular expression.
///
/// ```
/// use qemu_test::console::Pattern;
/// use qemu_test::regex::Regex;
///
/// assert_eq!(Pattern::from("login: ").to_string(), "`login: `");
/// assert_eq!(Pattern::from(Regex::new("[#$] $").unwrap()).to_string(), "`/[#$] $/`");
/// ```
#[derive(Clone, Debug)]
pub struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Text(String),
    Regex(Regex),
}

impl Pattern {
    /// Whether `text` ends with it.
    pub(super) fn ends(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Text(end) => text.ends_with(end),
            Kind::Regex(regex) => regex.find_iter(text).any(|found| found.end() == text.len()),
        }
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self(Kind::Text(text.to_owned()))
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self(Kind::Text(text))
    }
}

impl From<&String> for Pattern {
    fn from(text: &String) -> Self {
        Self(Kind::Text(text.clone()))
    }
}

impl From<Regex> for Pattern {
    fn from(regex: Regex) -> Self {
        Self(Kind::Regex(regex))
    }
}

impl From<&Regex> for Pattern {
    fn from(regex: &Regex) -> Self {
        Self(Kind::Regex(regex.clone()))
    }
}

impl From<&Pattern> for Pattern {
    fn from(pattern: &Pattern) -> Self {
        pattern.clone()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            // A newline or a quote in the text must not be taken for one of the message.
            Kind::Text(text) => write!(f, "`{}`", text.escape_debug()),
            Kind::Regex(regex) => write!(f, "`/{regex}/`"),
        }
    }
}

/// How far back from its end the text is searched again for a regular expression each time some arrives.
const REACH: u64 = 64 * 1024;

/// A search that remembers how far it has looked.
pub(super) struct Search<'p> {
    kind: SearchKind<'p>,
    /// Up to where in the stream the text has been searched.
    searched: u64,
    /// How much text there was when all of it was searched for a regular expression.
    whole: usize,
}

enum SearchKind<'p> {
    Text(Box<Finder<'p>>),
    Regex(&'p Regex),
}

impl<'p> Search<'p> {
    pub(super) fn new(pattern: &'p Pattern) -> Self {
        let kind = match &pattern.0 {
            Kind::Text(text) => SearchKind::Text(Box::new(Finder::new(text))),
            Kind::Regex(regex) => SearchKind::Regex(regex),
        };
        Self {
            kind,
            searched: 0,
            whole: 0,
        }
    }

    /// Up to where in the stream the text has been searched.
    pub(super) fn searched(&self) -> u64 {
        self.searched
    }

    /// Where in `text` the match ends, if what came since the last call completes one.
    ///
    /// A regular expression cannot go on from where it stopped, and searching all of the text each time would be
    /// quadratic. So it is searched from [`REACH`] before the new text, and from the start whenever the text has
    /// doubled: a match longer than that is found late, by [`last_look`](Self::last_look) at the latest.
    pub(super) fn advance(&mut self, text: &Text) -> Option<usize> {
        let before = match &self.kind {
            SearchKind::Text(finder) => (finder.needle().len() as u64).saturating_sub(1),
            SearchKind::Regex(_) if text.len() >= self.whole.saturating_mul(2) => u64::MAX,
            SearchKind::Regex(_) => REACH,
        };
        let from = self.searched.saturating_sub(before).max(text.start()) - text.start();
        self.search(text, from as usize)
    }

    /// As [`advance`](Self::advance), for the last time: finds what it may have left for later.
    pub(super) fn last_look(&mut self, text: &Text) -> Option<usize> {
        match self.kind {
            SearchKind::Text(_) => self.advance(text),
            SearchKind::Regex(_) => self.search(text, 0),
        }
    }

    fn search(&mut self, text: &Text, from: usize) -> Option<usize> {
        self.searched = text.end();
        let haystack = text.as_str();
        match &self.kind {
            SearchKind::Text(finder) => {
                let found = finder.find(&haystack.as_bytes()[from..])?;
                Some(from + found + finder.needle().len())
            }
            SearchKind::Regex(regex) => {
                let from = floor_char_boundary(haystack, from);
                if from == 0 {
                    self.whole = haystack.len();
                }
                let found = regex.find_at(haystack, from)?;
                // An earlier start may belong to the match that a person sees.
                let found = if from == 0 { found } else { regex.find(haystack)? };
                Some(found.end())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where each pattern's match ends when `content` arrives in pieces of `size`.
    fn found(pattern: impl Into<Pattern>, content: &str, size: usize) -> Option<usize> {
        let pattern = pattern.into();
        let (mut search, mut text) = (Search::new(&pattern), Text::default());
        for piece in content.as_bytes().chunks(size) {
            text.push_str(std::str::from_utf8(piece).unwrap());
            if let Some(end) = search.advance(&text) {
                return Some(end);
            }
        }
        search.last_look(&text)
    }

    #[test]
    fn a_text_is_found_wherever_a_read_cuts_it() {
        let content = "loglogin: \n";
        for size in 1..content.len() {
            assert_eq!(
                found("login: ", content, size),
                Some(10),
                "{size} bytes at a time"
            );
        }
        assert_eq!(found("", content, 4), Some(0));
        assert_eq!(found("login:  ", content, 4), None);
    }

    #[test]
    fn a_regular_expression_is_found_wherever_a_read_cuts_it() {
        let content = "Linux version 6.1.0-56 (gcc)\n~ # ";
        let prompt = Regex::new(r"# $").unwrap();
        let version = Regex::new(r"version (\d+\.)+\d-").unwrap();
        for size in 1..content.len() {
            assert_eq!(found(&prompt, content, size), Some(content.len()));
            assert_eq!(found(&version, content, size), Some(20));
        }
    }

    #[test]
    fn a_match_longer_than_the_reach_is_found_late_but_found() {
        let regex = Regex::new("(?s)begin.*end").unwrap();
        let content = format!("begin{}end", "-".repeat(3 * REACH as usize));
        assert_eq!(found(&regex, &content, 4096), Some(content.len()));
        let more = format!("{content}{}", "+".repeat(content.len()));
        assert!(found(&regex, &more, 4096).is_some());
    }

    #[test]
    fn a_search_goes_on_after_text_was_consumed() {
        let pattern = Pattern::from("ab");
        let (mut search, mut text) = (Search::new(&pattern), Text::default());
        text.push_str("xxa");
        assert_eq!(search.advance(&text), None);
        text.forget(3);
        text.push_str("bab");
        assert_eq!(
            search.advance(&text),
            Some(3),
            "a consumed `a` must not complete a match"
        );
    }
}
