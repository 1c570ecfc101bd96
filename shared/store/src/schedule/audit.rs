//! How far the auditor is in its round through all applications. Its row is in the schedule table.

use posthorn_domain::{id::MessageId, timestamp::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Consistency, ScanCursor, StoreError, Written,
    dynamo::{Condition, Key, Table, entity},
};

/// The row of the auditor's round.
#[derive(Clone, Debug)]
pub struct AuditRow(pub(super) Table);

/// A round of the auditor: it checks the messages of a span of time, and of earlier spans of the
/// same length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Counts writes, from 1, so that of two concurrent runs only one continues.
    pub version: u64,
    /// When the round started.
    pub started_at: Timestamp,
    /// The start of the span, included.
    pub from: Timestamp,
    /// The end of the span, excluded.
    pub until: Timestamp,
    /// Whether the round is complete.
    pub done: bool,
    /// Where the scan for applications continues; `None` at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<ScanCursor>,
    /// How far it is in the current application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// How many messages were checked.
    pub seen: u64,
    /// How many tasks were queued again.
    pub repaired: u64,
}

/// How far the auditor is in one application. While it is set, no application after [`Audit::at`]
/// was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// The application's key.
    pub application: ScanCursor,
    /// The index of the span, from 0.
    pub span: u8,
    /// The shard of the messages.
    pub shard: u16,
    /// The last message that was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<MessageId>,
}

fn key() -> Key {
    Key::new("audit", "audit")
}

impl AuditRow {
    /// The last round; `None` before the first.
    pub async fn get(&self) -> Result<Option<Audit>, StoreError> {
        let item = self.0.get(key(), Consistency::Eventual).await?;
        item.map(entity).transpose()
    }

    /// Replaces the previous version of the round; a conflict means that another run is ahead.
    pub async fn put(&self, audit: &Audit) -> Result<Written, StoreError> {
        let seen = Condition::NewOrSeen("version", audit.version - 1);
        self.0.put_if(key().with(audit)?, seen).await
    }
}
