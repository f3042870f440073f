//! What a fuzzer calls, where the crate is built for one: the targets themselves are in `fuzz/`, outside the workspace.

use super::decoder::{Decoder, MAX_MESSAGE};
use super::message::Message;

/// Decodes a stream, and panics where what comes of it depends on how the reads cut it. The first byte says how.
pub fn decode(input: &[u8]) {
    let Some((&size, stream)) = input.split_first() else {
        return;
    };
    let whole = outcome(stream, stream.len().max(1));
    let pieces = outcome(stream, usize::from(size) + 1);
    assert_eq!(whole.messages, pieces.messages, "the cut of the reads shows");
    assert_eq!(
        whole.error.is_some(),
        pieces.error.is_some(),
        "the cut of the reads shows"
    );
    for error in [whole.error, pieces.error].into_iter().flatten() {
        assert!(error.len() < 2000, "an error of {} bytes", error.len());
        assert!(
            !error.chars().any(char::is_control),
            "{error:?} does something to a terminal"
        );
    }
}

struct Outcome {
    messages: Vec<Vec<u8>>,
    error: Option<String>,
}

fn outcome(stream: &[u8], size: usize) -> Outcome {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for piece in stream.chunks(size) {
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => {
                    assert!(message.len() <= MAX_MESSAGE);
                    messages.push(message.to_vec());
                    if let Err(error) = Message::parse(message) {
                        let error = Some(error.to_string());
                        return Outcome { messages, error };
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let error = Some(error.to_string());
                    return Outcome { messages, error };
                }
            }
        }
        if let Some(rest) = decoder.unfinished() {
            assert!(rest.len() < 2000, "{} bytes for what is not complete", rest.len());
        }
    }
    Outcome {
        messages,
        error: None,
    }
}
