//! Fuzzing of the messages that strangers write.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking, and describes itself"
)]

use bolero::check;
use posthorn_contract::{body::parse_body, message::MessageIn};
use posthorn_domain::payload::Payload;

const ITERATIONS: usize = 50_000;

/// Builds text from pieces: most come from a dictionary, the others are any character.
fn text(pieces: &[(u8, char)], dictionary: &[&str]) -> String {
    let piece = |(index, other): &(u8, char)| {
        let known = dictionary.get(usize::from(*index) % (dictionary.len() * 8 / 7 + 1));
        known.map_or_else(|| other.to_string(), |known| (*known).to_owned())
    };
    pieces.iter().map(piece).collect()
}

const MESSAGE_PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "\"eventType\":\"a.b\"",
    "\"payload\":{}",
    "\"payload\":",
    "\"payload\":{\"z\":1.0,\"a\":[]}",
    "\"eventId\":\"e\"",
    "\"channels\":[\"c\"]",
    "\"tags\":[]",
    "null",
    "true",
    "-0",
    "1e999",
    " ",
    "\n",
    "\u{0}",
    "\u{fffe}",
    "\"application\":{\"name\":\"n\"}",
    "\"payloadRetentionPeriod\":5",
    "{\"eventType\":\"a.b\",\"payload\":",
];

#[test]
fn fuzz_a_message_that_is_accepted_keeps_its_payloads_bytes() {
    check!()
        .with_iterations(ITERATIONS)
        .with_type::<Vec<(u8, char)>>()
        .for_each(|pieces| {
            let body = text(pieces, MESSAGE_PIECES);
            let parsed = parse_body::<MessageIn>(body.as_bytes());
            match parsed.and_then(MessageIn::check) {
                Ok(message) => assert!(body.contains(message.payload.as_str()), "{body}"),
                Err(error) => assert_eq!(error.loc[0], "body", "{body}"),
            }
            if let Ok(payload) = Payload::from_text(body.clone()) {
                assert_eq!(payload.as_str(), body);
            }
        });
}

#[test]
fn fuzz_bytes_that_are_not_text_are_refused() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|body: &[u8]| {
            if parse_body::<MessageIn>(body).is_ok() {
                assert!(std::str::from_utf8(body).is_ok());
            }
        });
}
