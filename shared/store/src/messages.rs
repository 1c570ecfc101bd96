//! The messages table.
//!
//! | pk | sk | item |
//! |---|---|---|
//! | `{app}#{shard}` | `{message}` | a message |
//! | `{app}#event#{eventId}`, `{app}#key#{hash}` | `guard` | see [`crate::Guard`] |

mod guards;
mod item;

use aws_sdk_dynamodb::{
    Client, operation::put_item::builders::PutItemFluentBuilder, types::AttributeValue,
};
use futures_util::future::try_join_all;
use posthorn_domain::{
    id::{ApplicationId, MessageId},
    key::{EndpointKey, LogKey, MessageKey},
    message::{Destination, Message},
};
use serde::Deserialize;

use crate::{
    Consistency, Page, Range, Slice, StoreError, Written,
    dynamo::{Item, Key, Table},
};
use item::{to_head, to_item, to_message};

pub use guards::{Guard, Guards, Reservation};
pub use item::MessageHead;

/// Makes the handles of the messages table.
#[derive(Clone, Debug)]
pub struct MessagesTable(Table);

impl MessagesTable {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self(Table::new(client, name))
    }

    /// Messages.
    pub fn messages(&self) -> Messages {
        Messages(self.0.clone())
    }

    /// Guards against repeated messages.
    pub fn guards(&self) -> Guards {
        Guards(self.0.clone())
    }
}

/// A slice of a list ends after this many bytes of payloads: a function has 256 MB of memory, and
/// its response at most 6 MB.
pub const MAX_SLICE_BYTES: usize = 4 * 1024 * 1024;

/// Messages of an application.
#[derive(Clone, Debug)]
pub struct Messages(Table);

/// The result of storing a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was written.
    New,
    /// An earlier try stored a message with this id; this is that message.
    Existed(Box<Message>),
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

impl Messages {
    /// Stores a message unless it already exists.
    pub async fn put(&self, log: LogKey<'_>, message: &Message) -> Result<Put, StoreError> {
        let is_new =
            |put: PutItemFluentBuilder| put.condition_expression("attribute_not_exists(pk)");
        Ok(
            match self.0.put_or_find(to_item(log, message)?, is_new).await? {
                None => Put::New,
                Some(item) => Put::Existed(Box::new(to_message(item)?)),
            },
        )
    }

    /// A message.
    pub async fn get(
        &self,
        message: MessageKey<'_>,
        consistency: Consistency,
    ) -> Result<Option<Message>, StoreError> {
        let key = message_key(message);
        let item = self.0.get(key, consistency).await?;
        item.map(to_message).transpose()
    }

    /// Messages by id, strongly consistent; missing ones are left out. One BatchGetItem per 100.
    pub async fn get_many(
        &self,
        log: LogKey<'_>,
        ids: impl IntoIterator<Item = &MessageId>,
    ) -> Result<Vec<Message>, StoreError> {
        let keys = ids.into_iter().map(|id| message_key(log.message(id)));
        let strong = Consistency::Strong;
        let items = self.0.get_many(keys.collect(), strong).await?;
        items.into_iter().map(to_message).collect()
    }

    /// Permanently removes a message's payload.
    pub async fn expunge(&self, message: MessageKey<'_>) -> Result<Written, StoreError> {
        let update = self
            .0
            .update(message_key(message))
            .update_expression("REMOVE z, p, h SET k = :gone")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":gone", AttributeValue::Bool(true));
        self.0.update_if(update).await
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
            let (range, strong) = (range.clone(), Consistency::Strong);
            self.0.query_part(pk, range, page, strong)
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
        let eventual = Consistency::Eventual;
        let part = self.0.query_part(pk, range, page, eventual).await?;
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
        let pk = pk(endpoint.app.application, shard);
        let mut found = Vec::new();
        let take = |key, Meant { destinations }: Meant| {
            let mut all = destinations.iter();
            let own = all.find(|destination| destination.endpoint == *endpoint.id);
            found.extend(own.map(|own| (key, own.skipped.is_some())));
        };
        let is_all = self.0.read_all(pk, range, "sk, d", take).await?;
        Ok(is_all.then_some(found))
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
