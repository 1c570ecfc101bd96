//! Messages: what a producer posts, and what is kept of it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    application::ApplicationIn,
    error::ApiError,
    filter::Destination,
    id::{EndpointId, MessageId},
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
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageIn {
    /// Creates the application that the path names, if there is none; its uid must be the path's.
    pub application: Option<ApplicationIn>,
    /// The kind of event.
    pub event_type: EventTypeName,
    /// What is delivered: a JSON object.
    #[schema(value_type = Object)]
    pub payload: Payload,
    /// The caller's own id: a second message with it is refused.
    pub event_id: Option<EventId>,
    /// Topics that endpoints may filter on.
    #[schema(value_type = Option<Vec<Channel>>, min_items = 1, max_items = 5)]
    pub channels: Option<MessageChannels>,
    /// Free labels. Not in the contract's version; newer official clients send them.
    #[schema(value_type = Option<Vec<Tag>>, min_items = 1, max_items = 5)]
    pub tags: Option<MessageTags>,
    /// Days to keep the message: 90 when absent.
    #[schema(value_type = Option<i64>, minimum = 5, maximum = 90)]
    pub payload_retention_period: Option<RetentionDays>,
}

/// The most messages of a batch.
pub const MAX_BATCH: usize = 100;

/// The largest batch: 2 MiB. Lambda takes events of 6 MB, in which every quote of the body is escaped.
pub const MAX_BATCH_BYTES: usize = 2 * 1024 * 1024;

/// The body of `POST /api/v1/app/{app_id}/msg/batch`. Its messages are kept as text: each is read by
/// itself, so that one that is wrong fails alone.
#[derive(Debug, Deserialize, ToSchema)]
pub struct BatchIn {
    /// 1 to 100 messages, each as the body of `POST …/msg` (`MessageIn`). The list takes anything: what is no message
    /// fails alone.
    #[schema(value_type = Vec<serde_json::Value>, min_items = 1, max_items = 100)]
    pub messages: BatchTexts,
}

/// The messages of a batch as text: 1 to [`MAX_BATCH`].
#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<Box<RawValue>>")]
pub struct BatchTexts(Vec<Box<RawValue>>);

impl BatchTexts {
    /// The messages' exact texts.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|text| text.get())
    }
}

impl TryFrom<Vec<Box<RawValue>>> for BatchTexts {
    type Error = String;

    fn try_from(texts: Vec<Box<RawValue>>) -> Result<Self, String> {
        match texts.len() {
            1..=MAX_BATCH => Ok(Self(texts)),
            _ => Err(format!("must have 1 to {MAX_BATCH} messages")),
        }
    }
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchOut {
    /// How many messages were not accepted.
    pub failed: usize,
    /// One for each message, in the order of the batch.
    pub results: Vec<BatchResult>,
}

/// What became of a message of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchResult {
    /// The status that the message would have got alone: 202 when it was accepted.
    pub status: u16,
    /// The message, when it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageOut>,
    /// The body of the error, when it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub error: Option<ApiError>,
}

impl BatchOut {
    /// Of what became of each message.
    pub fn new(results: Vec<Result<MessageOut, ApiError>>) -> Self {
        let result = |result: Result<MessageOut, ApiError>| BatchResult {
            status: result.as_ref().map_or_else(ApiError::status, |_| 202),
            error: result.as_ref().err().cloned(),
            message: result.ok(),
        };
        let results: Vec<_> = results.into_iter().map(result).collect();
        Self {
            failed: results.iter().filter(|it| it.error.is_some()).count(),
            results,
        }
    }
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
    /// What is delivered; `None` when it was expunged.
    pub payload: Option<Payload>,
    /// The endpoints considered when it was accepted, and why any was skipped.
    pub destinations: Vec<Destination>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it may be removed.
    pub expires_at: Timestamp,
}

/// A message as the API shows it (`MessageOut`).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageOut {
    #[schema(value_type = Option<Vec<Channel>>)]
    channels: Option<MessageChannels>,
    event_id: Option<EventId>,
    event_type: EventTypeName,
    id: MessageId,
    /// Empty when it was not asked for, `{"expired":true}` when it was expunged.
    #[schema(value_type = Object)]
    payload: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Tag>>)]
    tags: Option<MessageTags>,
    #[serde(with = "crate::timestamp::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Shown {
    Payload(Payload),
    Expunged { expired: bool },
    Hidden {},
}

impl Message {
    /// How the API shows it; `with_content` false leaves an empty object for the payload.
    pub fn to_out(&self, with_content: bool) -> MessageOut {
        let payload = match &self.payload {
            _ if !with_content => Shown::Hidden {},
            Some(payload) => Shown::Payload(payload.clone()),
            None => Shown::Expunged { expired: true },
        };
        MessageOut {
            channels: self.channels.clone(),
            event_id: self.event_id.clone(),
            event_type: self.event_type.clone(),
            id: self.id.clone(),
            payload,
            tags: self.tags.clone(),
            timestamp: self.created_at,
        }
    }

    /// Whether its retention is over: tables remove it some time later.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// Whether it was meant for an endpoint, and if so, why it was left out.
    pub fn destination(&self, endpoint: &EndpointId) -> Option<&Destination> {
        self.destinations
            .iter()
            .find(|destination| destination.endpoint == *endpoint)
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
