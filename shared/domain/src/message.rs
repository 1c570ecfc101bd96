//! Messages: what a producer posts, and what is stored of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use utoipa::ToSchema;

use crate::{
    application::ApplicationIn,
    error::FieldError,
    form::{MAX_DEPTH, TOO_DEEP, Unsupported, is_deeper_than},
    id::{EndpointId, MessageId},
    list::{UniqueList, empty_as_none},
    name::{Channel, EventId, EventTypeName, Tag},
    payload::{ContentType, Payload},
    timestamp::Timestamp,
};

/// The largest payload: 256 KiB, counted as it is delivered.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// The channels of a message: 1 to 10, as newer official clients may send. The contract's server takes 5.
pub type MessageChannels = UniqueList<Channel, 1, 10>;

/// The tags of a message: 1 to 5.
pub type MessageTags = UniqueList<Tag, 1, 5>;

/// The body of `POST /api/v1/app/{app_id}/msg`, as it is posted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageIn {
    /// Creates the application that the path names, if there is none; its uid must be the path's.
    application: Option<ApplicationIn>,
    /// The kind of event.
    event_type: EventTypeName,
    /// What is delivered: a JSON object; empty if `transformationsParams.rawPayload` is given.
    #[schema(value_type = Object)]
    payload: Option<Box<RawValue>>,
    /// The caller's own id: a second message with it is refused. It works wherever the message's id does, so it may
    /// not be one.
    event_id: Option<EventId>,
    /// Topics that endpoints may filter on.
    #[schema(value_type = Option<Vec<Channel>>, min_items = 1, max_items = 10)]
    channels: Option<MessageChannels>,
    /// Free labels. Not in the contract's version; newer official clients send them.
    #[serde(default, deserialize_with = "empty_as_none")]
    #[schema(value_type = Option<Vec<Tag>>, max_items = 5)]
    tags: Option<MessageTags>,
    /// Days to keep the message: 90 when absent.
    #[schema(value_type = Option<i64>, minimum = 5, maximum = 90)]
    payload_retention_period: Option<RetentionDays>,
    /// Any text to deliver instead of a JSON object, and its content type.
    transformations_params: Option<TransformationsParams>,
    /// Not supported: a time to deliver at.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    #[expect(dead_code, reason = "a value is refused when it is read")]
    deliver_at: Option<Unsupported>,
    /// Not supported: hours to keep the message.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    #[expect(dead_code, reason = "a value is refused when it is read")]
    payload_retention_hours: Option<Unsupported>,
}

/// How official clients send text that must not be changed (`message_in_raw`).
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransformationsParams {
    /// What is delivered, byte for byte.
    raw_payload: Option<String>,
    /// `content-type` only: `application/json` when absent.
    headers: Option<BTreeMap<String, String>>,
}

/// A message to publish.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Creates the application that the path names, if there is none.
    pub application: Option<ApplicationIn>,
    /// The kind of event.
    pub event_type: EventTypeName,
    /// What is delivered.
    pub payload: Payload,
    /// The caller's own id.
    pub event_id: Option<EventId>,
    /// Topics.
    pub channels: Option<MessageChannels>,
    /// Free labels.
    pub tags: Option<MessageTags>,
    /// Days to keep the message.
    pub payload_retention_period: RetentionDays,
}

impl MessageIn {
    /// Checks the rules between fields.
    pub fn check(self) -> Result<NewMessage, FieldError> {
        let TransformationsParams {
            raw_payload,
            headers,
        } = self.transformations_params.unwrap_or_default();
        let payload = Payload {
            text: match raw_payload {
                Some(raw) => only_raw(raw, self.payload.as_deref())?,
                None => json_object(self.payload)?,
            },
            content_type: content_type(headers.unwrap_or_default())?,
        };
        Ok(NewMessage {
            application: self.application,
            event_type: self.event_type,
            payload,
            event_id: own_name(self.event_id)?,
            channels: self.channels,
            tags: self.tags,
            payload_retention_period: self.payload_retention_period.unwrap_or_default(),
        })
    }
}

/// An event that is named as a message could be would stand for that message.
fn own_name(event: Option<EventId>) -> Result<Option<EventId>, FieldError> {
    let is_id = |event: &EventId| event.as_str().parse::<MessageId>().is_ok();
    match event.as_ref().is_some_and(is_id) {
        true => Err(FieldError::body("eventId", "must not be a message's id")),
        false => Ok(event),
    }
}

/// The Java and Kotlin clients send an empty string as the payload, others an empty object.
fn only_raw(raw: String, payload: Option<&RawValue>) -> Result<String, FieldError> {
    let is_empty = |payload: &RawValue| {
        let value = serde_json::from_str(payload.get());
        value.is_ok_and(|value: Value| value == json!({}) || value == json!(""))
    };
    match payload.is_none_or(is_empty) {
        true => Ok(raw),
        false => Err(FieldError::body(
            "payload",
            "must be empty beside `transformationsParams.rawPayload`",
        )),
    }
}

fn json_object(payload: Option<Box<RawValue>>) -> Result<String, FieldError> {
    let refused = |msg: &str| Err(FieldError::body("payload", msg));
    match payload {
        None => Err(FieldError::missing("payload")),
        Some(text) if !text.get().starts_with('{') => refused("must be a JSON object"),
        Some(text) if is_deeper_than(text.get(), MAX_DEPTH) => refused(TOO_DEEP),
        Some(text) => Ok(text.get().to_owned()),
    }
}

/// The headers of a message may only name its payload's content type.
fn content_type(headers: BTreeMap<String, String>) -> Result<Option<ContentType>, FieldError> {
    let mut found = None;
    for (name, value) in headers {
        let refused = |msg: &str| {
            let error = FieldError::body(&name, msg);
            error.within("headers").within("transformationsParams")
        };
        if !name.eq_ignore_ascii_case("content-type") {
            return Err(refused("is not supported: only `content-type` is"));
        }
        if found.is_some() {
            return Err(refused("must be there once"));
        }
        let value = ContentType::try_from(value);
        found = Some(value.map_err(|error| refused(&error.to_string()))?);
    }
    Ok(found)
}

/// Days that a message is kept: 5 to 90, by default 90.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct RetentionDays(u16);

impl RetentionDays {
    /// When a message that was created at this time may be removed.
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

/// An endpoint that a message was meant for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The endpoint.
    #[serde(rename = "e")]
    pub endpoint: EndpointId,
    /// Why nothing is sent to it, if so.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkipReason>,
}

/// Why an endpoint that matches a message is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The endpoint was disabled when the message was accepted.
    Disabled,
}

/// A message, as it is stored.
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
    /// Empty when it was not requested, `{"expired":true}` when it was expunged, and
    /// `{"rawPayload":"…"}` for text that is not a JSON object, because official clients expect an
    /// object.
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
    Json(Box<RawValue>),
    Raw {
        #[serde(rename = "rawPayload")]
        text: String,
    },
    Expunged {
        expired: bool,
    },
    Hidden {},
}

impl Message {
    /// The message as the API shows it; without `with_content`, the payload is an empty object.
    pub fn to_out(&self, with_content: bool) -> MessageOut {
        let payload = match &self.payload {
            _ if !with_content => Shown::Hidden {},
            Some(payload) => match payload.as_json_object() {
                Some(object) => Shown::Json(object),
                None => Shown::Raw {
                    text: payload.as_str().to_owned(),
                },
            },
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

    /// Whether its retention is over; the table removes it some time later.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// The destination for an endpoint, if the message was meant for it.
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

    fn read(body: &str) -> Result<NewMessage, FieldError> {
        parse_body::<MessageIn>(body.as_bytes())?.check()
    }

    fn with(fields: &str) -> String {
        format!(r#"{{"eventType":"a","payload":{{}},{fields}}}"#)
    }

    #[test]
    fn a_payload_keeps_its_bytes() {
        let body = r#"{"eventType":"a","payload": { "z" : 1, "a":"\u00e9\ud83d\ude80 \u00fc", "n":1.50e2 } }"#;
        let message = read(body).unwrap();
        assert_eq!(
            message.payload.as_str(),
            r#"{ "z" : 1, "a":"\u00e9\ud83d\ude80 \u00fc", "n":1.50e2 }"#
        );
        assert_eq!(message.payload.content_type(), "application/json");
    }

    #[test]
    fn a_raw_payload_is_any_text_with_its_content_type() {
        let xml = r#""transformationsParams":{"rawPayload":"<a b=\"1\"/>\n","headers":{"Content-Type":"text/xml; charset=utf-8"}}"#;
        let json = r#""transformationsParams":{"rawPayload":"{ \"n\" : 1 }"}"#;
        for (body, text, content_type) in [
            (with(xml), "<a b=\"1\"/>\n", "text/xml; charset=utf-8"),
            (with(json), "{ \"n\" : 1 }", "application/json"),
            (
                format!(r#"{{"eventType":"a","payload":"",{json}}}"#),
                "{ \"n\" : 1 }",
                "application/json",
            ),
            (
                format!(r#"{{"eventType":"a",{xml}}}"#),
                "<a b=\"1\"/>\n",
                "text/xml; charset=utf-8",
            ),
            (
                with(r#""transformationsParams":{"rawPayload":""}"#),
                "",
                "application/json",
            ),
            (
                with(
                    r#""transformationsParams":{"headers":{"content-type":"application/vnd.a+json"}}"#,
                ),
                "{}",
                "application/vnd.a+json",
            ),
            (
                with(
                    r#""transformationsParams":null,"deliverAt":null,"payloadRetentionHours":null"#,
                ),
                "{}",
                "application/json",
            ),
        ] {
            let payload = read(&body).unwrap().payload;
            assert_eq!(
                (payload.as_str(), payload.content_type()),
                (text, content_type),
                "{body}"
            );
        }
    }

    #[test]
    fn every_field_names_itself_when_it_is_wrong() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(101), "}".repeat(101));
        for (loc, body) in [
            ("eventType", r#"{"payload":{}}"#.to_owned()),
            (
                "eventType",
                r#"{"eventType":"a b","payload":{}}"#.to_owned(),
            ),
            ("payload", r#"{"eventType":"a"}"#.to_owned()),
            ("payload", r#"{"eventType":"a","payload":[1]}"#.to_owned()),
            ("payload", r#"{"eventType":"a","payload":"x"}"#.to_owned()),
            ("payload", r#"{"eventType":"a","payload":null}"#.to_owned()),
            (
                "payload",
                format!(r#"{{"eventType":"a","payload":{deep}}}"#),
            ),
            (
                "payload",
                r#"{"eventType":"a","payload":{"a":1},"transformationsParams":{"rawPayload":"x"}}"#
                    .to_owned(),
            ),
            ("eventId", with(r#""eventId":"""#)),
            (
                "eventId",
                with(r#""eventId":"msg_2KWPBgLlAfxdpx2AI54pPJ85f4W""#),
            ),
            ("channels", with(r#""channels":[]"#)),
            ("channels", with(r#""channels":["a","a"]"#)),
            ("tags.0", with(r#""tags":["a b"]"#)),
            (
                "payloadRetentionPeriod",
                with(r#""payloadRetentionPeriod":4"#),
            ),
            (
                "payloadRetentionHours",
                with(r#""payloadRetentionHours":5"#),
            ),
            ("deliverAt", with(r#""deliverAt":"2030-01-01T00:00:00Z""#)),
            ("eventtype", with(r#""eventtype":"b""#)),
            (
                "transformationsParams.rawPayload",
                with(r#""transformationsParams":{"rawPayload":{}}"#),
            ),
            (
                "transformationsParams.x",
                with(r#""transformationsParams":{"x":1}"#),
            ),
            (
                "transformationsParams.headers.x-a",
                with(r#""transformationsParams":{"headers":{"x-a":"b"}}"#),
            ),
            (
                "transformationsParams.headers.content-type",
                with(
                    r#""transformationsParams":{"headers":{"Content-Type":"a/b","content-type":"a/b"}}"#,
                ),
            ),
            (
                "transformationsParams.headers.content-type",
                with(r#""transformationsParams":{"headers":{"content-type":"a/b\r\nx: y"}}"#),
            ),
        ] {
            let error = read(&body).unwrap_err();
            assert_eq!(error.loc[1..].join("."), loc, "{body}: {error:?}");
        }
    }

    #[test]
    fn text_that_is_no_object_is_shown_inside_of_one() {
        let shown = |text: &str| {
            let mut message = crate::job::tests::message(&[]);
            message.payload = Some(Payload::raw(text.to_owned(), None));
            serde_json::to_string(&message.to_out(true).payload).unwrap()
        };
        let deep = format!("{}1{}", r#"{"a":"#.repeat(101), "}".repeat(101));
        assert_eq!(shown(r#"{ "a" : 1 }"#), r#"{ "a" : 1 }"#);
        assert_eq!(shown("[1]"), r#"{"rawPayload":"[1]"}"#);
        assert_eq!(shown("<a/>"), r#"{"rawPayload":"<a/>"}"#);
        assert_eq!(shown(""), r#"{"rawPayload":""}"#);
        let shown = shown(&deep);
        assert!(
            shown.starts_with(r#"{"rawPayload":""#),
            "lists of it can be read"
        );
    }
}
