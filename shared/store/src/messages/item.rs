//! A message's item. The payload is compressed with zstd when that makes it smaller: a typical 2 KB
//! of JSON then fits one write unit.

use std::cell::RefCell;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use posthorn_domain::{
    id::MessageId,
    key::LogKey,
    message::{Destination, MAX_PAYLOAD_BYTES, Message, MessageChannels, MessageTags},
    name::{EventId, EventTypeName},
    payload::{ContentType, Payload},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use zstd::bulk::Compressor;

use super::message_key;
use crate::{
    StoreError,
    dynamo::{Item, entity, s, sort_key, ttl},
};

/// A message without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageHead {
    /// Its id.
    pub id: MessageId,
    /// Its event type.
    pub event_type: EventTypeName,
    /// Where it goes.
    pub destinations: Vec<Destination>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it may be removed.
    pub expires_at: Timestamp,
    /// Whether its payload was permanently removed.
    pub expunged: bool,
}

/// A message's attributes. Their names are short because DynamoDB counts them as part of the item's
/// size.
#[derive(Serialize, Deserialize)]
struct Attributes {
    #[serde(rename = "e")]
    event_type: EventTypeName,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    event_id: Option<EventId>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    channels: Option<MessageChannels>,
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    tags: Option<MessageTags>,
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    content_type: Option<ContentType>,
    #[serde(rename = "d")]
    destinations: Vec<Destination>,
    #[serde(rename = "t")]
    created_at: Timestamp,
    #[serde(rename = "x")]
    expires_at: Timestamp,
}

pub(super) fn to_item(log: LogKey<'_>, message: &Message) -> Result<Item, StoreError> {
    let attributes = Attributes {
        event_type: message.event_type.clone(),
        event_id: message.event_id.clone(),
        channels: message.channels.clone(),
        tags: message.tags.clone(),
        content_type: message
            .payload
            .as_ref()
            .and_then(|payload| payload.own_content_type().cloned()),
        destinations: message.destinations.clone(),
        created_at: message.created_at,
        expires_at: message.expires_at,
    };
    let mut item = message_key(log.message(&message.id)).with(&attributes)?;
    item.extend([ttl(message.expires_at)]);
    item.extend([match &message.payload {
        Some(payload) => payload_attribute(payload)?,
        None => ("k".to_owned(), AttributeValue::Bool(true)),
    }]);
    Ok(item)
}

thread_local! {
    /// Kept per thread: creating a compressor costs more than compressing a small payload.
    static COMPRESSOR: RefCell<Compressor<'static>> = RefCell::default();
}

/// The payload's attribute: `z` (zstd) or `p` (as it is), whichever is smaller.
fn payload_attribute(payload: &Payload) -> Result<(String, AttributeValue), StoreError> {
    let text = payload.as_str();
    let packed = COMPRESSOR.with_borrow_mut(|it| it.compress(text.as_bytes()))?;
    Ok(if packed.len() < text.len() {
        ("z".to_owned(), AttributeValue::B(Blob::new(packed)))
    } else {
        ("p".to_owned(), s(text))
    })
}

/// The payload's text; `None` when it was expunged.
fn read_text(item: &Item) -> Result<Option<String>, StoreError> {
    let text = match (item.get("z"), item.get("p")) {
        (Some(AttributeValue::B(packed)), _) => {
            let bytes = zstd::bulk::decompress(packed.as_ref(), MAX_PAYLOAD_BYTES)?;
            String::from_utf8(bytes).map_err(|_| StoreError::Attribute("z"))?
        }
        (_, Some(AttributeValue::S(text))) => text.clone(),
        _ if item.contains_key("k") => return Ok(None),
        _ => return Err(StoreError::Attribute("z")),
    };
    Ok(Some(text))
}

pub(super) fn to_head(item: Item) -> Result<MessageHead, StoreError> {
    let (id, expunged) = (message_id(&item)?, item.contains_key("k"));
    let attributes: Attributes = entity(item)?;
    Ok(MessageHead {
        id,
        event_type: attributes.event_type,
        destinations: attributes.destinations,
        created_at: attributes.created_at,
        expires_at: attributes.expires_at,
        expunged,
    })
}

fn message_id(item: &Item) -> Result<MessageId, StoreError> {
    let id = sort_key(item)?.parse();
    id.map_err(|_| StoreError::Attribute("sk"))
}

pub(super) fn to_message(item: Item) -> Result<Message, StoreError> {
    let text = read_text(&item)?;
    let id = message_id(&item)?;
    let attributes: Attributes = entity(item)?;
    Ok(Message {
        id,
        event_type: attributes.event_type,
        event_id: attributes.event_id,
        channels: attributes.channels,
        tags: attributes.tags,
        payload: text.map(|text| Payload::raw(text, attributes.content_type)),
        destinations: attributes.destinations,
        created_at: attributes.created_at,
        expires_at: attributes.expires_at,
    })
}
