//! The schedule table: attempts that are due later than SQS can delay a task.
//!
//! | pk | sk | item |
//! |---|---|---|
//! | `{minute}#{shard}` | `{due}#{endpoint}#{message}#{tag}` | a task to queue in that minute |
//! | `cursor` | `cursor` | the last minute whose tasks were all queued, the progress in the next one, and until when a run has claimed what follows |
//! | `pace#{endpoint}` | `pace#{rate}` | the next free slot at an endpoint with that rate ([`posthorn_domain::rate`]); TTL |
//! | `audit` | `audit` | the auditor's progress ([`crate::Audit`]) |
//!
//! Rows are never deleted explicitly: the cursor tells what was queued, and the TTL (two days after
//! the due time) removes rows free of charge. A run claims the cursor before it queues what
//! follows, and moves it afterwards; each write replaces exactly the version that the run read. So
//! of two concurrent runs only one queues. A run that crashes leaves the cursor where it was; once
//! its claim has expired, the next run repeats at most one round of pages, and the dispatcher
//! ignores tasks whose attempt is already recorded.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    operation::{
        put_item::PutItemError,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use futures_util::future::try_join_all;
use posthorn_domain::{
    id::{EndpointId, MessageId},
    rate::Pace,
    shard::shard_of,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Consistency, StoreError, Written,
    item::{Item, Key, entity, n, s, ttl},
    read::{get, sort_key},
};

/// The number of partitions over which a minute's rows are spread.
const SHARDS: u16 = 4;

/// The most rows of one shard that are read at once: at the size of a task, about 1 MB for all
/// shards.
const PAGE: i32 = 250;

/// How long a row is kept after its due time: the longest scheduler outage that loses nothing.
const KEPT: Duration = Duration::from_secs(2 * 86_400);

/// How long the slots of an endpoint with a rate are kept: longer than its tasks can wait.
const PACE_KEPT: Duration = Duration::from_secs(16 * 86_400);

/// The table that holds future attempts.
#[derive(Clone, Debug)]
pub struct ScheduleTable {
    pub(crate) client: Client,
    pub(crate) name: String,
}

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

/// What was queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The last minute whose tasks were all queued.
    pub minute: i64,
    /// The progress in the minute after it.
    #[serde(default)]
    pub progress: Progress,
    /// Counts writes, from 1.
    pub version: u64,
    /// Until when a run may still queue what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_until: Option<Timestamp>,
}

impl Cursor {
    /// Whether a run may be queueing what follows.
    pub fn is_claimed(&self, now: Timestamp) -> bool {
        self.claimed_until.is_some_and(|until| now < until)
    }
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

/// The key includes the rate: after a change, attempts do not wait for slots that were reserved at
/// the old rate.
fn pace_key(endpoint: &EndpointId, rate: u16) -> Key {
    Key::new(format!("pace#{endpoint}"), format!("pace#{rate}"))
}

/// The result of a reservation after other slots.
enum AfterOthers {
    Reserved(Timestamp),
    /// The next slot is out of reach.
    OutOfReach,
    /// All slots are in the past, or there were none.
    Past,
}

fn micros(at: Timestamp) -> i128 {
    i128::from(at.as_millis()) * 1000
}

/// The next free slot, as a pace row stores it.
fn free_at(row: Option<&Item>) -> Option<Timestamp> {
    let micros: i64 = row?.get("free_at")?.as_n().ok()?.parse().ok()?;
    Some(Timestamp::from_millis(micros.div_euclid(1000)))
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
        self.put_item(item).await
    }

    /// The next tasks that are due in a minute, up to 250 per shard, and the progress after them.
    /// One Query per shard that is not done; an empty one costs 0.5 RRU.
    pub async fn due_in(
        &self,
        minute: i64,
        progress: &Progress,
    ) -> Result<(Vec<Scheduled>, Progress), StoreError> {
        let shards = (0..SHARDS).map(|shard| self.due_in_shard(minute, shard, progress));
        let (mut rows, mut after) = (Vec::new(), progress.clone());
        for (shard, (some, position)) in try_join_all(shards).await?.into_iter().enumerate() {
            rows.extend(some);
            after.0.insert(shard.to_string(), position);
        }
        Ok((rows, after))
    }

    async fn due_in_shard(
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
        // Rows are written at least 15 minutes ahead, so an eventually consistent read sees them
        // all.
        let after = before.after.unwrap_or_else(|| "0".to_owned());
        let output = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND sk > :after")
            .expression_attribute_values(":pk", s(pk(minute, shard)))
            .expression_attribute_values(":after", s(&after))
            .limit(PAGE)
            .send()
            .await
            .map_err(StoreError::aws("Query"))?;
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

    /// What was queued; `None` before the first run.
    pub async fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        let item = get(&self.client, &self.name, cursor_key(), Consistency::Strong).await?;
        item.map(entity).transpose()
    }

    /// Replaces the previous version of the cursor; a conflict means that another run is at work.
    pub async fn set_cursor(&self, cursor: &Cursor) -> Result<Written, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(cursor_key().with(cursor)?))
            .condition_expression("attribute_not_exists(pk) OR version = :seen")
            .expression_attribute_values(":seen", n(cursor.version.saturating_sub(1)));
        match put.send().await {
            Ok(_) => Ok(Written::Yes),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(Written::Conflict),
                _ => Err(StoreError::aws("PutItem")(error)),
            },
        }
    }

    /// Reserves slots at the given pace and returns the first, which is not before `now`. Reserves
    /// none when the first would be `out_of_reach` (a range of waits from now). One UpdateItem
    /// while attempts wait for slots, two otherwise.
    pub async fn reserve(
        &self,
        endpoint: &EndpointId,
        pace: Pace,
        out_of_reach: Range<Duration>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let key = pace_key(endpoint, pace.rate());
        let taken = pace.every() * u32::from(pace.slots());
        loop {
            match self
                .reserve_after_others(&key, taken, &out_of_reach, now)
                .await?
            {
                AfterOthers::Reserved(first) => return Ok(Some(first)),
                AfterOthers::OutOfReach => return Ok(None),
                AfterOthers::Past => {}
            }
            if self.reserve_from(&key, taken, now).await? == Written::Yes {
                return Ok(Some(now));
            }
        }
    }

    /// Reserves after the slots that are taken.
    async fn reserve_after_others(
        &self,
        key: &Key,
        taken: Duration,
        out_of_reach: &Range<Duration>,
        now: Timestamp,
    ) -> Result<AfterOthers, StoreError> {
        let update = self
            .update_pace(key, now)
            .update_expression("SET free_at = free_at + :taken, #ttl = :ttl")
            .condition_expression("free_at >= :now AND (free_at <= :near OR free_at >= :far)")
            .expression_attribute_values(":taken", n(taken.as_micros()))
            .expression_attribute_values(":near", n(micros(now.plus(out_of_reach.start))))
            .expression_attribute_values(":far", n(micros(now.plus(out_of_reach.end))))
            .return_values(ReturnValue::UpdatedOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.send().await {
            Ok(output) => {
                let first = free_at(output.attributes.as_ref());
                let first = first.ok_or(StoreError::Attribute("free_at"))?;
                Ok(AfterOthers::Reserved(first))
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    let is_ahead = free_at(refused.item()).is_some_and(|first| first >= now);
                    Ok(if is_ahead {
                        AfterOthers::OutOfReach
                    } else {
                        AfterOthers::Past
                    })
                }
                _ => Err(StoreError::aws("UpdateItem")(error)),
            },
        }
    }

    /// Reserves from now on; a conflict means that another dispatcher was faster.
    async fn reserve_from(
        &self,
        key: &Key,
        taken: Duration,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let next = micros(now) + taken.as_micros() as i128;
        let update = self
            .update_pace(key, now)
            .update_expression("SET free_at = :next, #ttl = :ttl")
            .condition_expression("attribute_not_exists(free_at) OR free_at < :now")
            .expression_attribute_values(":next", n(next));
        match update.send().await {
            Ok(_) => Ok(Written::Yes),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Written::Conflict),
                _ => Err(StoreError::aws("UpdateItem")(error)),
            },
        }
    }

    /// The next slot is stored in microseconds: those of a fast endpoint are less than one
    /// millisecond apart.
    fn update_pace(&self, key: &Key, now: Timestamp) -> UpdateItemFluentBuilder {
        let (_, expires_at) = ttl(now.plus(PACE_KEPT));
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key.clone().item()))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", expires_at)
            .expression_attribute_values(":now", n(micros(now)))
    }

    /// The next free slot at an endpoint with a rate; `None` when no slot was reserved for days.
    pub async fn next_slot(
        &self,
        endpoint: &EndpointId,
        rate: u16,
    ) -> Result<Option<Timestamp>, StoreError> {
        let key = pace_key(endpoint, Pace::new(rate).rate());
        let item = get(&self.client, &self.name, key, Consistency::Eventual).await?;
        let Some(item) = item else {
            return Ok(None);
        };
        let first = free_at(Some(&item)).ok_or(StoreError::Attribute("free_at"))?;
        Ok(Some(first))
    }

    async fn put_item(&self, item: Item) -> Result<(), StoreError> {
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
