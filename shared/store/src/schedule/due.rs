//! Tasks that are due later than SQS can delay them.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_dynamodb::operation::query::QueryOutput;
use futures_util::future::try_join_all;
use posthorn_domain::{
    id::{EndpointId, MessageId},
    shard::shard_of,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    StoreError,
    dynamo::{Key, Table, entity, s, sort_key, ttl},
};

/// The number of partitions over which a minute's rows are spread.
const SHARDS: u16 = 4;

/// The most rows of one shard that are read at once: at the size of a task, about 1 MB for all
/// shards.
const PAGE: i32 = 250;

/// How long a row is kept after its due time: the longest scheduler outage that loses nothing.
const KEPT: Duration = Duration::from_secs(2 * 86_400);

/// Tasks and when they are due.
#[derive(Clone, Debug)]
pub struct DueRows(pub(super) Table);

/// A task and when it is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// When the attempt is due.
    #[serde(rename = "d")]
    pub due: Timestamp,
    /// Its endpoint, which is the task's message group in the queue.
    #[serde(rename = "e")]
    pub endpoint: EndpointId,
    /// Its message.
    #[serde(rename = "m")]
    pub message: MessageId,
    /// The task as it is sent to the queue.
    #[serde(rename = "b")]
    pub body: String,
}

/// The progress in a minute: the last row of each shard that was queued. A shard without an entry
/// was not started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress(BTreeMap<String, Position>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    after: Option<String>,
    done: bool,
}

impl Progress {
    /// Whether all rows of the minute were queued.
    pub fn is_done(&self) -> bool {
        (0..SHARDS).all(|shard| self.0.get(&shard.to_string()).is_some_and(|at| at.done))
    }
}

/// Minutes since the epoch, rounded down.
pub fn minute_of(at: Timestamp) -> i64 {
    at.as_seconds().div_euclid(60)
}

fn pk(minute: i64, shard: u16) -> String {
    format!("{minute}#{shard}")
}

/// Distinguishes tasks of one delivery that are due in the same millisecond.
fn tag(body: &str) -> String {
    let digest = Sha256::digest(body);
    digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl DueRows {
    /// Stores a task; the same task twice is one row.
    pub async fn put(&self, scheduled: &Scheduled) -> Result<(), StoreError> {
        let Scheduled {
            due,
            endpoint,
            message,
            body,
        } = scheduled;
        let pk = pk(minute_of(*due), shard_of(message, SHARDS));
        let sk = format!("{:013}#{endpoint}#{message}#{}", due.as_millis(), tag(body));
        let mut item = Key::new(pk, sk).with(scheduled)?;
        item.extend([ttl(due.plus(KEPT))]);
        self.0.put(item).await
    }

    /// The next tasks that are due in a minute, up to 250 per shard, and the progress after them.
    /// One Query per shard that is not done; an empty one costs 0.5 RRU.
    pub async fn in_minute(
        &self,
        minute: i64,
        progress: &Progress,
    ) -> Result<(Vec<Scheduled>, Progress), StoreError> {
        let shards = (0..SHARDS).map(|shard| self.in_shard(minute, shard, progress));
        let (mut rows, mut after) = (Vec::new(), progress.clone());
        for (shard, (some, position)) in try_join_all(shards).await?.into_iter().enumerate() {
            rows.extend(some);
            after.0.insert(shard.to_string(), position);
        }
        Ok((rows, after))
    }

    async fn in_shard(
        &self,
        minute: i64,
        shard: u16,
        progress: &Progress,
    ) -> Result<(Vec<Scheduled>, Position), StoreError> {
        let before = progress.0.get(&shard.to_string()).cloned();
        let before = before.unwrap_or(Position {
            after: None,
            done: false,
        });
        if before.done {
            return Ok((Vec::new(), before));
        }
        let after = before.after.unwrap_or_else(|| "0".to_owned());
        let output = self.query(pk(minute, shard), &after).await?;
        let done = output.last_evaluated_key.is_none();
        let items = output.items.unwrap_or_default();
        let last = items
            .last()
            .map(|item| sort_key(item).map(str::to_owned))
            .transpose()?;
        // An unreadable row must not stop all others; the auditor finds its task.
        let row = |item| {
            entity(item)
                .inspect_err(|error| tracing::error!(%error, "an unreadable row was skipped"))
        };
        let rows = items
            .into_iter()
            .filter_map(|item| row(item).ok())
            .collect();
        let after = Some(last.unwrap_or(after));
        Ok((rows, Position { after, done }))
    }

    async fn query(&self, pk: String, after: &str) -> Result<QueryOutput, StoreError> {
        // Rows are written at least 15 minutes ahead, so an eventually consistent read sees them
        // all.
        let query = self
            .0
            .client
            .query()
            .table_name(&self.0.name)
            .key_condition_expression("pk = :pk AND sk > :after")
            .expression_attribute_values(":pk", s(pk))
            .expression_attribute_values(":after", s(after))
            .limit(PAGE);
        query.send().await.map_err(StoreError::aws("Query"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rows_key_stays_the_same() {
        assert_eq!(
            tag("{}"),
            "44136fa3",
            "a changed hash would queue tasks twice"
        );
    }
}
