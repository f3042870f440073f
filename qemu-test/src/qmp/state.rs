//! What is known of a conversation at a moment: the commands under way, the events that nobody has taken, and
//! whether more can come. No input or output happens here.

use std::collections::{BTreeMap, VecDeque};

use super::decoder::{Malformed, piece};
use super::event::Unread;
use super::message::{Answers, Message};
use super::reading::Reader;
use super::{Event, EventFilter};

/// How much memory unread events may take.
const MAX_UNREAD: usize = 64 << 20;

/// Ids are one digit long as long as there are no more commands than that under way: QEMU takes its time over each
/// byte. They go round, so that neighbours in the log differ.
const IDS: u64 = 10;

pub(super) struct State {
    /// What reading needs; `None` while some thread has it and reads.
    pub(super) reader: Option<Reader>,
    /// Whether some thread has the turn to write.
    pub(super) writing: bool,
    /// How many threads sleep until something changes.
    pub(super) sleepers: usize,
    /// Whether there was a greeting, and whether it offered execution out of band.
    pub(super) greeting: Option<bool>,
    /// Why nothing more can come.
    pub(super) ended: Option<String>,
    commands: BTreeMap<u64, Progress>,
    last_id: u64,
    events: VecDeque<Numbered>,
    next_number: u64,
    unread: usize,
}

enum Progress {
    Sent,
    /// Nobody waits for it any more. Its id is not given again before its reply came.
    Abandoned,
    Answered(Box<[u8]>),
}

/// The number tells a wait how far it has looked, whatever others take meanwhile.
struct Numbered {
    number: u64,
    event: Unread,
}

impl State {
    pub(super) fn new(reader: Reader) -> Self {
        Self {
            reader: Some(reader),
            writing: false,
            sleepers: 0,
            greeting: None,
            ended: None,
            commands: BTreeMap::new(),
            last_id: 0,
            events: VecDeque::new(),
            next_number: 0,
            unread: 0,
        }
    }

    /// The id of a command that is about to be sent.
    pub(super) fn begin(&mut self) -> u64 {
        let round = (1..IDS).map(|step| (self.last_id + step) % IDS).chain(IDS..);
        let id = { round }
            .find(|id| !self.commands.contains_key(id))
            .unwrap_or(u64::MAX);
        if id < IDS {
            self.last_id = id;
        }
        self.commands.insert(id, Progress::Sent);
        id
    }

    /// The text of the reply to a command, once, when it is there.
    pub(super) fn take_reply(&mut self, id: u64) -> Option<Box<[u8]>> {
        match self.commands.remove(&id)? {
            Progress::Answered(reply) => Some(reply),
            progress => {
                self.commands.insert(id, progress);
                None
            }
        }
    }

    /// Nobody waits for the reply any more; `sent` says whether one can still come.
    pub(super) fn abandon(&mut self, id: u64, sent: bool) {
        match self.commands.get_mut(&id) {
            Some(progress @ Progress::Sent) if sent => *progress = Progress::Abandoned,
            _ => drop(self.commands.remove(&id)),
        }
    }

    /// Takes in what the peer sent. `client` is for the log.
    pub(super) fn take_in(&mut self, message: Message, text: &[u8], client: &str) -> Result<(), Malformed> {
        match message {
            Message::Greeting { out_of_band } if self.greeting.is_none() => self.greeting = Some(out_of_band),
            Message::Greeting { .. } => return Err(Malformed::new("a second greeting came", text)),
            Message::Event(event) => self.queue(event)?,
            Message::Reply(_) if self.greeting.is_none() => {
                return Err(Malformed::new("a reply came instead of the greeting", text));
            }
            Message::Reply(answers) => self.answer(&answers, text, client),
        }
        Ok(())
    }

    fn queue(&mut self, event: Unread) -> Result<(), Malformed> {
        self.unread += event.size();
        if self.unread > MAX_UNREAD {
            let what = format!(
                "more than {} MiB of events came that nobody took, {} events, the last being",
                MAX_UNREAD >> 20,
                self.events.len() + 1
            );
            return Err(Malformed::new(what, event.name().as_bytes()));
        }
        let number = self.next_number;
        self.next_number += 1;
        self.events.push_back(Numbered { number, event });
        Ok(())
    }

    fn answer(&mut self, answers: &Answers, text: &[u8], client: &str) {
        let id = match answers {
            Answers::Command(id) => Some(*id),
            Answers::Unparsed => self.only_command(),
            Answers::Nothing => None,
        };
        match id.and_then(|id| Some((id, self.commands.get_mut(&id)?))) {
            Some((_, progress @ Progress::Sent)) => *progress = Progress::Answered(text.into()),
            Some((id, Progress::Abandoned)) => {
                self.commands.remove(&id);
                log::warn!("{client}: dropped a reply that came too late: {}", piece(text));
            }
            Some((_, Progress::Answered(_))) | None => {
                log::warn!(
                    "{client}: dropped a reply that answers no command: {}",
                    piece(text)
                );
            }
        }
    }

    /// The command that an error without an id must be about.
    fn only_command(&self) -> Option<u64> {
        match self.commands.first_key_value() {
            Some((id, _)) if self.commands.len() == 1 => Some(*id),
            _ => None,
        }
    }

    /// Takes the first unread event from number `from` on that `filter` takes, and puts in `from` how far it looked.
    pub(super) fn take_event(&mut self, filter: Option<&EventFilter>, from: &mut u64) -> Option<Event> {
        let first = self.events.partition_point(|event| event.number < *from);
        *from = self.next_number;
        for position in first..self.events.len() {
            let unread = &self.events[position].event;
            if filter.is_some_and(|filter| !filter.may_match(unread.name())) {
                continue;
            }
            let event = unread.event();
            if filter.is_none_or(|filter| filter.matches(&event)) {
                self.unread -= unread.size();
                self.events.remove(position);
                return Some(event);
            }
        }
        None
    }

    /// The number of the next event.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Takes all unread events.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        self.unread = 0;
        // Not `drain`: its memory would stay.
        std::mem::take(&mut self.events)
            .into_iter()
            .map(|numbered| numbered.event.event())
            .collect()
    }

    /// The last unread events, one per line, for the error of a wait that none of them ended.
    pub(super) fn unread_events(&self) -> String {
        const SHOWN: usize = 10;
        let mut text = String::new();
        let skipped = self.events.len().saturating_sub(SHOWN);
        if skipped > 0 {
            text.push_str(&format!("{skipped} earlier events\n"));
        }
        for numbered in self.events.iter().skip(skipped) {
            let event = numbered.event.event().to_string();
            text.push_str(&piece(event.as_bytes()));
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state() -> State {
        let mut state = State::new(Reader::new());
        state.greeting = Some(false);
        state
    }

    fn take_in(state: &mut State, text: &str) -> Result<(), Malformed> {
        state.take_in(Message::parse(text.as_bytes())?, text.as_bytes(), "test")
    }

    #[test]
    fn ids_are_one_digit_and_never_those_of_a_reply_that_may_still_come() {
        let mut state = state();
        for round in 0..30 {
            let id = state.begin();
            assert_eq!(id, (round + 1) % 10);
            take_in(&mut state, &format!(r#"{{"return": {{}}, "id": {id}}}"#)).unwrap();
            assert!(state.take_reply(id).is_some());
        }
        let late = state.begin();
        state.abandon(late, true);
        let mut ids: Vec<u64> = (0..12).map(|_| state.begin()).collect();
        assert!(!ids.contains(&late), "{ids:?}");
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 12);
    }

    #[test]
    fn a_late_reply_is_not_taken_for_the_next_commands() {
        let mut state = state();
        let late = state.begin();
        state.abandon(late, true);
        let next = state.begin();
        take_in(&mut state, &format!(r#"{{"return": "late", "id": {late}}}"#)).unwrap();
        assert!(state.take_reply(next).is_none());
        take_in(&mut state, r#"{"return": "unknown", "id": 77}"#).unwrap();
        take_in(&mut state, r#"{"return": "odd", "id": "x"}"#).unwrap();
        take_in(&mut state, &format!(r#"{{"return": "own", "id": {next}}}"#)).unwrap();
        assert!(String::from_utf8_lossy(&state.take_reply(next).unwrap()).contains("own"));
        assert!(state.commands.is_empty());
    }

    #[test]
    fn a_reply_without_id_goes_to_the_only_command_there_is() {
        let mut state = state();
        let error = r#"{"error": {"class": "GenericError", "desc": "JSON parse error"}}"#;
        let (first, second) = (state.begin(), state.begin());
        take_in(&mut state, error).unwrap();
        assert!(state.take_reply(first).is_none() && state.take_reply(second).is_none());
        state.abandon(second, false);
        take_in(&mut state, error).unwrap();
        assert!(state.take_reply(first).is_some());
    }

    #[test]
    fn a_wait_takes_the_first_match_and_leaves_the_rest_in_order() {
        let mut state = state();
        for number in 0..6 {
            let name = if number % 2 == 0 { "EVEN" } else { "ODD" };
            take_in(
                &mut state,
                &format!(r#"{{"event": "{name}", "data": {{"n": {number}}}}}"#),
            )
            .unwrap();
        }
        let odd_three = EventFilter::new("ODD").data(json!({ "n": 3 }));
        let mut from = 0;
        assert_eq!(
            state.take_event(Some(&odd_three), &mut from).unwrap().data["n"],
            3
        );
        assert!(state.take_event(Some(&odd_three), &mut from).is_none());
        assert_eq!(state.take_event(None, &mut 0).unwrap().data["n"], 0);
        let rest: Vec<_> = state.take_events().iter().map(|e| e.data["n"].clone()).collect();
        assert_eq!(rest, [1, 2, 4, 5]);
        // Numbers go on: a wait that began before looks at what comes after.
        take_in(&mut state, r#"{"event": "ODD", "data": {"n": 3}}"#).unwrap();
        assert!(state.take_event(Some(&odd_three), &mut from).is_some());
        assert_eq!(state.unread, 0);
    }

    #[test]
    fn unread_events_are_kept_up_to_a_limit_and_not_beyond() {
        let mut state = state();
        let text = format!(r#"{{"event": "BIG", "data": "{}"}}"#, "x".repeat(1 << 20));
        for _ in 0..63 {
            take_in(&mut state, &text).unwrap();
        }
        let error = take_in(&mut state, &text).unwrap_err().to_string();
        assert!(
            error.contains("more than 64 MiB of events") && error.contains("64 events"),
            "{error}"
        );
        assert_eq!(state.take_events().len(), 63);
        take_in(&mut state, &text).unwrap();
    }

    #[test]
    fn only_the_first_message_but_events_is_a_greeting() {
        let mut state = State::new(Reader::new());
        take_in(&mut state, r#"{"event": "EARLY"}"#).unwrap();
        let error = take_in(&mut state, r#"{"return": {}}"#).unwrap_err().to_string();
        assert!(error.contains("instead of the greeting"), "{error}");
        let greeting = r#"{"QMP": {"version": {}, "capabilities": []}}"#;
        take_in(&mut state, greeting).unwrap();
        assert!(
            take_in(&mut state, greeting)
                .unwrap_err()
                .to_string()
                .contains("second greeting")
        );
    }
}
