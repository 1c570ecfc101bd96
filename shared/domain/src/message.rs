//! Messages: what a producer posts, and what is kept of it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::{
    filter::Destination,
    id::MessageId,
    list::UniqueList,
    name::{Channel, EventId, EventTypeName, Tag},
    timestamp::Timestamp,
};

/// The largest payload: 256 KiB of JSON, counted as posted.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// The channels of a message: 1 to 5.
pub type MessageChannels = UniqueList<Channel, 1, 5>;

/// The tags of a message: 1 to 5.
pub type MessageTags = UniqueList<Tag, 1, 5>;

/// The body of `POST /api/v1/app/{app_id}/msg`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageIn {
    /// The kind of event.
    pub event_type: EventTypeName,
    /// What is delivered.
    pub payload: Payload,
    /// The caller's own id: a second message with it is refused.
    pub event_id: Option<EventId>,
    /// Topics that endpoints may filter on.
    pub channels: Option<MessageChannels>,
    /// Free labels. Not in the contract's version; newer official clients send them.
    pub tags: Option<MessageTags>,
    /// Days to keep the payload.
    pub payload_retention_period: Option<RetentionDays>,
}

/// A JSON object, byte for byte as it was posted: key order, spaces and escapes are kept.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Payload(Box<RawValue>);

impl Payload {
    /// The exact text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Takes text that was a payload before, as a store or a task returns it.
    ///
    /// # Errors
    /// When the text is not one JSON object.
    pub fn from_text(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&text)
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Payload {}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        if raw.get().starts_with('{') {
            Ok(Self(raw))
        } else {
            Err(serde::de::Error::custom("must be a JSON object"))
        }
    }
}

/// Days that a message is kept: 5 to 90, by default 90.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct RetentionDays(u16);

impl RetentionDays {
    /// When a message that was created then may be removed.
    pub fn end(self, created_at: Timestamp) -> Timestamp {
        created_at.plus(std::time::Duration::from_secs(u64::from(self.0) * 86_400))
    }
}

impl Default for RetentionDays {
    fn default() -> Self {
        Self(90)
    }
}

impl TryFrom<i64> for RetentionDays {
    type Error = &'static str;

    fn try_from(days: i64) -> Result<Self, Self::Error> {
        match u16::try_from(days) {
            Ok(days @ 5..=90) => Ok(Self(days)),
            _ => Err("must be from 5 to 90"),
        }
    }
}

/// A message, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, the `webhook-id` of its attempts.
    pub id: MessageId,
    /// The kind of event.
    pub event_type: EventTypeName,
    /// The caller's own id.
    pub event_id: Option<EventId>,
    /// Topics.
    pub channels: Option<MessageChannels>,
    /// Free labels.
    pub tags: Option<MessageTags>,
    /// What is delivered.
    pub payload: Payload,
    /// The endpoints considered when it was accepted, and why any was skipped.
    pub destinations: Vec<Destination>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it may be removed.
    pub expires_at: Timestamp,
}

/// A message as the API shows it (`MessageOut`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageOut<'a> {
    channels: Option<&'a MessageChannels>,
    event_id: Option<&'a EventId>,
    event_type: &'a EventTypeName,
    id: &'a MessageId,
    payload: Shown<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a MessageTags>,
    #[serde(with = "crate::timestamp::rfc3339")]
    timestamp: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Payload(&'a Payload),
    Hidden {},
}

impl Message {
    /// How the API shows it; `with_content` false leaves an empty object for the payload.
    pub fn to_out(&self, with_content: bool) -> MessageOut<'_> {
        let payload = if with_content {
            Shown::Payload(&self.payload)
        } else {
            Shown::Hidden {}
        };
        MessageOut {
            channels: self.channels.as_ref(),
            event_id: self.event_id.as_ref(),
            event_type: &self.event_type,
            id: &self.id,
            payload,
            tags: self.tags.as_ref(),
            timestamp: self.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::parse_body;

    #[test]
    fn a_payload_keeps_its_bytes() {
        let body = br#"{"eventType":"a","payload": { "z" : 1, "a":"\u00e9\ud83d\ude80 \u00fc", "n":1.50e2 } }"#;
        let message: MessageIn = parse_body(body).unwrap();
        assert_eq!(
            message.payload.as_str(),
            r#"{ "z" : 1, "a":"\u00e9\ud83d\ude80 \u00fc", "n":1.50e2 }"#
        );
    }

    #[test]
    fn every_field_names_itself_when_it_is_wrong() {
        for (field, body) in [
            ("eventType", r#"{"payload":{}}"#),
            ("eventType", r#"{"eventType":"a b","payload":{}}"#),
            ("payload", r#"{"eventType":"a"}"#),
            ("payload", r#"{"eventType":"a","payload":[1]}"#),
            ("payload", r#"{"eventType":"a","payload":"x"}"#),
            ("payload", r#"{"eventType":"a","payload":null}"#),
            ("eventId", r#"{"eventType":"a","payload":{},"eventId":""}"#),
            (
                "channels",
                r#"{"eventType":"a","payload":{},"channels":[]}"#,
            ),
            (
                "channels",
                r#"{"eventType":"a","payload":{},"channels":["a","a"]}"#,
            ),
            ("tags", r#"{"eventType":"a","payload":{},"tags":["a b"]}"#),
            (
                "payloadRetentionPeriod",
                r#"{"eventType":"a","payload":{},"payloadRetentionPeriod":4}"#,
            ),
        ] {
            let error = parse_body::<MessageIn>(body.as_bytes()).unwrap_err();
            assert_eq!(error.loc[..2], ["body", field], "{body}");
        }
    }
}
