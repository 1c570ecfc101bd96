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

mod audit;
mod cursor;
mod due;
mod slots;

use aws_sdk_dynamodb::Client;

use crate::dynamo::Table;

pub use audit::{Audit, AuditRow, Within};
pub use cursor::{Cursor, CursorRow};
pub use due::{DueRows, Progress, Scheduled, minute_of};
pub use slots::SlotRows;

/// Makes the handles of the schedule table.
#[derive(Clone, Debug)]
pub struct ScheduleTable(Table);

impl ScheduleTable {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self(Table::new(client, name))
    }

    /// Tasks and when they are due.
    pub fn due_rows(&self) -> DueRows {
        DueRows(self.0.clone())
    }

    /// How far the scheduler is.
    pub fn cursor(&self) -> CursorRow {
        CursorRow(self.0.clone())
    }

    /// Slots at endpoints with a rate.
    pub fn slots(&self) -> SlotRows {
        SlotRows(self.0.clone())
    }

    /// How far the auditor is.
    pub fn audit(&self) -> AuditRow {
        AuditRow(self.0.clone())
    }
}
