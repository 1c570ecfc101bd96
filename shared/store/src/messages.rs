//! The messages table.
//!
//! | pk | sk | item |
//! |---|---|---|
//! | `{app}#{shard}` | `{message}` | a message |
//! | `{app}#event#{eventId}`, `{app}#key#{hash}` | `guard` | see [`crate::Guard`] |
//!
//! The payload is compressed with zstd when that makes it smaller: a typical 2 KB of JSON then fits
//! one write unit.

use std::cell::RefCell;

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::UpdateItemError,
    primitives::Blob,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use futures_util::future::try_join_all;
use posthorn_domain::{
    id::{ApplicationId, MessageId},
    key::{EndpointKey, LogKey, MessageKey},
    message::{Destination, MAX_PAYLOAD_BYTES, Message, MessageChannels, MessageTags},
    name::{EventId, EventTypeName},
    payload::{ContentType, Payload},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use zstd::bulk::Compressor;

use crate::{
    Consistency, Page, Range, Slice, StoreError, Written,
    item::{Item, Key, entity, s, take_existing, ttl},
    read::{MAX_COUNT_PAGES, get, get_many, query, query_part, sort_key},
};

/// A slice of a list ends after this many bytes of payloads: a function has 256 MB of memory, and
/// its response at most 6 MB.
pub const MAX_SLICE_BYTES: usize = 4 * 1024 * 1024;

/// The table that holds messages.
#[derive(Clone, Debug)]
pub struct MessagesTable {
    pub(crate) client: Client,
    pub(crate) name: String,
}

/// The result of storing a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is stored.
    New,
    /// An earlier try stored a message with this id; this is that message.
    Existed(Box<Message>),
}

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

fn message_key(message: MessageKey<'_>) -> Key {
    Key::new(
        pk(message.log.application, message.shard()),
        message.id.as_str(),
    )
}

fn pk(application: &ApplicationId, shard: u16) -> String {
    format!("{application}#{shard}")
}

impl MessagesTable {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// Stores a message unless it already exists.
    pub async fn put(&self, log: LogKey<'_>, message: &Message) -> Result<Put, StoreError> {
        let result = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(to_item(log, message)?))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match result {
            Ok(_) => Ok(Put::New),
            Err(error) => match take_existing(&error) {
                Some(item) => Ok(Put::Existed(Box::new(to_message(item)?))),
                None => Err(StoreError::aws("PutItem")(error)),
            },
        }
    }

    /// A message.
    pub async fn get(
        &self,
        message: MessageKey<'_>,
        consistency: Consistency,
    ) -> Result<Option<Message>, StoreError> {
        let key = message_key(message);
        let item = get(&self.client, &self.name, key, consistency).await?;
        item.map(to_message).transpose()
    }

    /// Messages by id, strongly consistent; missing ones are left out. One BatchGetItem per 100.
    pub async fn get_many(
        &self,
        log: LogKey<'_>,
        ids: impl IntoIterator<Item = &MessageId>,
    ) -> Result<Vec<Message>, StoreError> {
        let keys = ids.into_iter().map(|id| message_key(log.message(id)));
        let items = get_many(
            &self.client,
            &self.name,
            keys.collect(),
            Consistency::Strong,
        )
        .await?;
        items.into_iter().map(to_message).collect()
    }

    /// Permanently removes a message's payload.
    pub async fn expunge(&self, message: MessageKey<'_>) -> Result<Written, StoreError> {
        let update = self.client.update_item().table_name(&self.name);
        let update = update
            .set_key(Some(message_key(message).item()))
            .update_expression("REMOVE z, p, h SET k = :gone")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":gone", AttributeValue::Bool(true));
        match update.send().await {
            Ok(_) => Ok(Written::Yes),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Written::Conflict),
                _ => Err(StoreError::aws("UpdateItem")(error)),
            },
        }
    }

    /// Messages in the order of their ids, which is by time. The page's `after` is a message's id.
    /// Strongly consistent. Payloads are decompressed after the shards are merged, and a slice ends
    /// when they reach [`MAX_SLICE_BYTES`].
    pub async fn list(
        &self,
        log: LogKey<'_>,
        range: Range,
        page: &Page,
    ) -> Result<Slice<Message>, StoreError> {
        let part = |shard| {
            let pk = pk(log.application, shard);
            let (client, table) = (&self.client, &self.name);
            query_part(client, table, pk, range.clone(), page, Consistency::Strong)
        };
        unpack(page.merge(try_join_all((0..log.shards).map(part)).await?))
    }

    /// The heads of a shard's messages in the order of their ids, for the auditor. Eventually
    /// consistent, because it checks old messages only. An unreadable message is left out.
    pub async fn heads(
        &self,
        application: &ApplicationId,
        shard: u16,
        range: Range,
        page: &Page,
    ) -> Result<Slice<MessageHead>, StoreError> {
        let pk = pk(application, shard);
        let (client, table) = (&self.client, &self.name);
        let part = query_part(client, table, pk, range, page, Consistency::Eventual).await?;
        let slice = page.merge(vec![part]);
        let head = |(key, item): (String, Item)| Some((key, to_head(item).ok()?));
        Ok(Slice {
            items: slice.items.into_iter().filter_map(head).collect(),
            next: slice.next,
        })
    }

    /// The ids of the messages that are meant for an endpoint, in one shard and a range of ids, and
    /// whether each was skipped. Reads the whole range; `None` when it has more than 50 pages of 1
    /// MB.
    pub async fn meant_for(
        &self,
        endpoint: EndpointKey<'_>,
        shard: u16,
        range: Range,
    ) -> Result<Option<Vec<(String, bool)>>, StoreError> {
        if range.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let pk = pk(endpoint.app.application, shard);
        let query = query(&self.client, &self.name, pk, range);
        let mut pages = query.projection_expression("sk, d").into_paginator().send();
        let mut found = Vec::new();
        let mut read = 0;
        while let Some(page) = pages.next().await {
            read += 1;
            if read > MAX_COUNT_PAGES {
                return Ok(None);
            }
            let page = page.map_err(StoreError::aws("Query"))?;
            for item in page.items.unwrap_or_default() {
                let key = sort_key(&item)?.to_owned();
                let Meant { destinations } = entity(item)?;
                let own = destinations
                    .iter()
                    .find(|destination| destination.endpoint == *endpoint.id);
                found.extend(own.map(|own| (key, own.skipped.is_some())));
            }
        }
        Ok(Some(found))
    }
}

fn unpack(packed: Slice<Item>) -> Result<Slice<Message>, StoreError> {
    let mut slice = Slice {
        items: Vec::new(),
        next: packed.next,
    };
    let (mut bytes, mut items) = (0, packed.items.into_iter().peekable());
    while let Some((key, item)) = items.next() {
        let message = to_message(item)?;
        bytes += message
            .payload
            .as_ref()
            .map_or(0, |payload| payload.as_str().len());
        slice.items.push((key.clone(), message));
        if bytes >= MAX_SLICE_BYTES && items.peek().is_some() {
            slice.next = Some(key);
            break;
        }
    }
    Ok(slice)
}

#[derive(Deserialize)]
struct Meant {
    #[serde(rename = "d")]
    destinations: Vec<Destination>,
}

fn to_item(log: LogKey<'_>, message: &Message) -> Result<Item, StoreError> {
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

fn to_head(item: Item) -> Result<MessageHead, StoreError> {
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

fn to_message(item: Item) -> Result<Message, StoreError> {
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
