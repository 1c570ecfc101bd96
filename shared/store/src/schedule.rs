//! The schedule table: attempts that are due later than SQS can delay a task.
//!
//! | pk | sk | item |
//! |---|---|---|
//! | `{minute}#{shard}` | `{due}#{endpoint}#{message}` | a task to queue in that minute |
//! | `cursor` | `cursor` | the last minute whose tasks were all queued |
//!
//! Rows are never deleted by us: the cursor tells what was queued, and the TTL (two days behind the
//! due time) removes rows for nothing. A run that crashes leaves the cursor where it was, so the
//! next one repeats its minutes; the dispatcher ignores tasks whose attempt is recorded.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use futures_util::future::try_join_all;
use posthorn_domain::{
    id::{EndpointId, MessageId},
    shard::shard_of,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    Consistency, StoreError,
    item::{Key, entity, s, ttl},
    read::get,
};

/// Over how many partitions a minute's rows are spread.
const SHARDS: u16 = 4;

/// How long a row stays behind its due time: the longest outage of the scheduler that loses nothing.
const KEPT: Duration = Duration::from_secs(2 * 86_400);

/// The table that holds attempts to come.
#[derive(Clone, Debug)]
pub struct ScheduleTable {
    client: Client,
    name: String,
}

/// A task and when it is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// When the attempt is due.
    #[serde(rename = "d")]
    pub due: Timestamp,
    /// Its endpoint, the group of the task in the queue.
    #[serde(rename = "e")]
    pub endpoint: EndpointId,
    /// Its message.
    #[serde(rename = "m")]
    pub message: MessageId,
    /// The task in the queue's wire shape.
    #[serde(rename = "b")]
    pub body: String,
}

#[derive(Serialize, Deserialize)]
struct Cursor {
    minute: i64,
}

/// Minutes since the epoch, rounded down.
pub fn minute_of(at: Timestamp) -> i64 {
    at.as_seconds().div_euclid(60)
}

fn pk(minute: i64, shard: u16) -> String {
    format!("{minute}#{shard}")
}

fn cursor_key() -> Key {
    Key::new("cursor", "cursor")
}

impl ScheduleTable {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// Remembers a task; the same task twice is one row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put(&self, scheduled: &Scheduled) -> Result<(), StoreError> {
        let Scheduled {
            due,
            endpoint,
            message,
            ..
        } = scheduled;
        let pk = pk(minute_of(*due), shard_of(message, SHARDS));
        let sk = format!("{:013}#{endpoint}#{message}", due.as_millis());
        let mut item = Key::new(pk, sk).with(scheduled)?;
        item.extend([ttl(due.plus(KEPT))]);
        self.put_item(item).await
    }

    /// All tasks that are due in a minute. One Query per shard; an empty one costs 0.5 RRU.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn due_in(&self, minute: i64) -> Result<Vec<Scheduled>, StoreError> {
        let shards =
            try_join_all((0..SHARDS).map(|shard| self.due_in_shard(minute, shard))).await?;
        Ok(shards.into_iter().flatten().collect())
    }

    async fn due_in_shard(&self, minute: i64, shard: u16) -> Result<Vec<Scheduled>, StoreError> {
        // Rows are written 15 minutes ahead or more, so an eventually consistent read has them all.
        let mut pages = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(pk(minute, shard)))
            .into_paginator()
            .send();
        let mut rows = Vec::new();
        while let Some(page) = pages.next().await {
            for item in page
                .map_err(StoreError::aws("Query"))?
                .items
                .unwrap_or_default()
            {
                rows.push(entity(item)?);
            }
        }
        Ok(rows)
    }

    /// The last minute whose tasks were all queued; `None` before the first run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cursor(&self) -> Result<Option<i64>, StoreError> {
        let item = get(&self.client, &self.name, cursor_key(), Consistency::Strong).await?;
        let cursor: Option<Cursor> = item.map(entity).transpose()?;
        Ok(cursor.map(|cursor| cursor.minute))
    }

    /// Moves the cursor.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_cursor(&self, minute: i64) -> Result<(), StoreError> {
        self.put_item(cursor_key().with(&Cursor { minute })?).await
    }

    async fn put_item(&self, item: crate::item::Item) -> Result<(), StoreError> {
        self.client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .send()
            .await
            .map_err(StoreError::aws("PutItem"))?;
        Ok(())
    }
}
