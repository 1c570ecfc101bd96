//! Where the auditor is on its round through all applications. Its row is in the schedule table.

use posthorn_domain::{id::MessageId, timestamp::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Consistency, ScanCursor, StoreError, Written,
    dynamo::{Condition, Key, Table, entity},
};

/// The row of the auditor's round.
#[derive(Clone, Debug)]
pub struct AuditRow(pub(super) Table);

/// A round of the auditor: it looks at messages of a span of time, and of earlier spans as long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Counts writes, from 1: two runs at the same time do not both go on.
    pub version: u64,
    /// When the round began.
    pub started_at: Timestamp,
    /// It looks at messages from then on,
    pub from: Timestamp,
    /// and before then.
    pub until: Timestamp,
    /// Whether it came to its end.
    pub done: bool,
    /// Where in the table of applications it is; `None` at its begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<ScanCursor>,
    /// How far it is in an application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// Messages that it looked at.
    pub seen: u64,
    /// Tasks that it queued.
    pub repaired: u64,
}

/// How far the auditor is in an application, and that behind `at` no other was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// The application's key.
    pub application: ScanCursor,
    /// Which of the spans, from 0.
    pub span: u8,
    /// Which shard of the messages.
    pub shard: u16,
    /// The last message that it looked at.
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

    /// Writes the round over the version before it; a conflict means that another run is ahead.
    pub async fn put(&self, audit: &Audit) -> Result<Written, StoreError> {
        let seen = Condition::NewOrSeen("version", audit.version - 1);
        self.0.put_if(key().with(audit)?, seen).await
    }
}
