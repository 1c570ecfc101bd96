//! The scheduler: every minute, queues the attempts that fall due in the next one.
//!
//! A cursor in the table names the last minute whose tasks were all queued, and how far the next one
//! is. A run works from there to the coming minute, page by page, so what a crashed, missed or
//! overwhelmed run left behind is queued by the next one.
//! Tasks wait in the queue to their exact second. Cost follows due rows, not pending ones.
//!
//! With the time that is left it goes on with the audit ([`Auditor`]).

mod audit;

use std::time::Duration;

use posthorn_domain::{
    retry::{Wait, wait_until},
    timestamp::Timestamp,
};
use posthorn_queue::{DeliveriesQueue, QueueError};
use posthorn_runtime::{
    metrics::{Metric, count, measure},
    now,
};
use posthorn_store::{Cursor, Progress, ScheduleTable, Scheduled, StoreError, Written, minute_of};
use serde::Serialize;

/// Minutes that the first run of a deployment looks back.
const FIRST_LOOK_BACK: i64 = 60;

/// Minutes that any run looks back at most: rows that are older are gone (TTL).
const MAX_LOOK_BACK: i64 = 2 * 24 * 60;

/// Time to leave at the end of a run, for the batch that is under way.
const MARGIN: Duration = Duration::from_secs(15);

/// What the function works with; built once per process.
#[derive(Debug)]
pub struct Scheduler {
    /// Attempts to come.
    pub schedule: ScheduleTable,
    /// Where they go when they are due.
    pub queue: DeliveriesQueue,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Minutes whose tasks are queued.
    pub minutes: u32,
    /// Tasks queued.
    pub queued: usize,
}

pub use audit::{Audited, Auditor};

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A read or write of the table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Tasks could not be queued.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl RunError {
    /// Whether AWS did not answer as it should, in contrast to data that cannot be read.
    fn is_of_aws(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error, StoreError::Aws { .. }),
            Self::Queue(_) => true,
        }
    }
}

/// How overdue the first rows behind the last minute that is done may be.
fn lag(last: Option<i64>, now: Timestamp) -> Duration {
    last.map_or(Duration::ZERO, |minute| {
        now.since(Timestamp::from_millis((minute + 1) * 60_000))
    })
}

impl Scheduler {
    /// Queues what is due up to the end of the coming minute; stops in time before `deadline`.
    ///
    /// # Errors
    /// [`RunError`]; the cursor then stands before the minute that failed.
    pub async fn run(
        &self,
        started_at: Timestamp,
        deadline: Timestamp,
    ) -> Result<Report, RunError> {
        let mut report = Report::default();
        let cursor = self.schedule.cursor().await?;
        let (last, mut begun) = match cursor {
            Some(Cursor { minute, progress }) => (Some(minute), Some((minute + 1, progress))),
            None => (None, None),
        };
        measure(Metric::SchedulerLag, lag(last, started_at).as_secs());
        for minute in minutes(last, started_at) {
            let begun = begun.take().filter(|(of, _)| *of == minute);
            let mut progress = begun.map(|(_, progress)| progress).unwrap_or_default();
            while !progress.is_done() {
                if now().plus(MARGIN) > deadline {
                    tracing::warn!(minute, "out of time; the next run goes on");
                    return Ok(report);
                }
                let queued = self.queue_some(minute, &mut progress).await?;
                report.queued += queued;
                if queued > 0 {
                    count(Metric::TasksScheduled, queued as u64);
                }
                // Behind a minute that is done begins another one.
                let cursor = match progress.is_done() {
                    true => Cursor {
                        minute,
                        progress: Progress::default(),
                    },
                    false => Cursor {
                        minute: minute - 1,
                        progress: progress.clone(),
                    },
                };
                if self.schedule.set_cursor(&cursor).await? == Written::Conflict {
                    tracing::warn!(minute, "another run is ahead");
                    return Ok(report);
                }
            }
            report.minutes += 1;
        }
        tracing::info!(
            minutes = report.minutes,
            queued = report.queued,
            "scheduled"
        );
        Ok(report)
    }

    /// Queues the next tasks of a minute; gives how many.
    async fn queue_some(&self, minute: i64, progress: &mut Progress) -> Result<usize, RunError> {
        let (rows, after) = self.schedule.due_in(minute, progress).await?;
        let (count, now) = (rows.len(), now());
        let bodies = rows.into_iter().map(|row| {
            let Scheduled {
                due,
                endpoint,
                body,
                ..
            } = row;
            let seconds = match wait_until(due, now) {
                Wait::Queue { seconds } => seconds,
                // Rows of the coming minute are never that far away.
                Wait::Schedule { .. } => 900,
            };
            (endpoint, body, seconds)
        });
        self.queue.send_bodies(bodies).await?;
        *progress = after;
        Ok(count)
    }
}

/// The minutes that a run works through: behind the cursor, up to the coming minute.
fn minutes(cursor: Option<i64>, now: Timestamp) -> std::ops::RangeInclusive<i64> {
    let coming = minute_of(now) + 1;
    let first = cursor.map_or(coming - FIRST_LOOK_BACK, |done| done + 1);
    first.max(coming - MAX_LOOK_BACK)..=coming
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_how_overdue_the_first_row_may_be() {
        let minute = 29_000_000;
        let end = Timestamp::from_millis((minute + 1) * 60_000);
        assert_eq!(
            lag(Some(minute), end.minus(Duration::from_secs(30))),
            Duration::ZERO
        );
        assert_eq!(
            lag(Some(minute), end.plus(Duration::from_secs(600))),
            Duration::from_secs(600)
        );
        assert_eq!(lag(None, end), Duration::ZERO, "the first run ever");
    }

    const NOW: Timestamp = Timestamp::from_millis(600_000_000);
    const COMING: i64 = 10_001;

    #[test]
    fn a_run_goes_on_where_the_last_one_ended() {
        assert_eq!(minutes(Some(COMING - 1), NOW), COMING..=COMING);
        assert_eq!(minutes(Some(COMING - 30), NOW), COMING - 29..=COMING);
        assert!(minutes(Some(COMING), NOW).is_empty(), "twice in a minute");
    }

    #[test]
    fn look_back_is_bounded() {
        assert_eq!(minutes(None, NOW), COMING - FIRST_LOOK_BACK..=COMING);
        assert_eq!(minutes(Some(0), NOW), COMING - MAX_LOOK_BACK..=COMING);
    }
}
