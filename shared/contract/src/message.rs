//! The bodies of a message: what a producer posts, and what is shown of it.

use std::collections::BTreeMap;

use posthorn_domain::{
    error::FieldError,
    id::MessageId,
    json_depth::{MAX_DEPTH, TOO_DEEP, is_deeper_than},
    list::empty_as_none,
    message::{Message, MessageChannels, MessageTags, RetentionDays},
    name::{Channel, EventId, EventTypeName, Tag},
    payload::{ContentType, Payload},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use utoipa::ToSchema;

use crate::{application::ApplicationIn, body::Unsupported};

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
        let text = match raw_payload {
            Some(raw) => only_raw(raw, self.payload.as_deref())?,
            None => json_object(self.payload)?,
        };
        let payload = Payload::raw(text, content_type(headers.unwrap_or_default())?);
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
    #[serde(with = "posthorn_domain::timestamp::rfc3339")]
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

impl MessageOut {
    /// The message as the API shows it; without `with_content`, the payload is an empty object.
    pub fn new(message: &Message, with_content: bool) -> Self {
        let payload = match &message.payload {
            _ if !with_content => Shown::Hidden {},
            Some(payload) => match payload.as_json_object() {
                Some(object) => Shown::Json(object),
                None => Shown::Raw {
                    text: payload.as_str().to_owned(),
                },
            },
            None => Shown::Expunged { expired: true },
        };
        Self {
            channels: message.channels.clone(),
            event_id: message.event_id.clone(),
            event_type: message.event_type.clone(),
            id: message.id.clone(),
            payload,
            tags: message.tags.clone(),
            timestamp: message.created_at,
        }
    }
}

#[cfg(test)]
mod tests;
