//! How far the scheduler is.

use posthorn_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use super::Progress;
use crate::{
    Consistency, StoreError, Written,
    dynamo::{Condition, Key, Table, entity},
};

/// The row of the scheduler's cursor.
#[derive(Clone, Debug)]
pub struct CursorRow(pub(super) Table);

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

fn key() -> Key {
    Key::new("cursor", "cursor")
}

impl CursorRow {
    /// What was queued; `None` before the first run.
    pub async fn get(&self) -> Result<Option<Cursor>, StoreError> {
        let item = self.0.get(key(), Consistency::Strong).await?;
        item.map(entity).transpose()
    }

    /// Replaces the previous version of the cursor; a conflict means that another run is at work.
    pub async fn put(&self, cursor: &Cursor) -> Result<Written, StoreError> {
        let seen = Condition::NewOrSeen("version", cursor.version.saturating_sub(1));
        self.0.put_if(key().with(cursor)?, seen).await
    }
}
