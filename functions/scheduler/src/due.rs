//! Due attempts: every minute, those that fall due in the next minute are queued.
//!
//! A cursor in the table names the last minute whose tasks were all queued, and the progress in the
//! next one. A run works from there to the coming minute, page by page, so the next run queues
//! whatever a crashed, missed or overloaded run left. EventBridge Scheduler may invoke twice, or
//! late: before a run queues a page, it claims the cursor until its own timeout. Of two concurrent
//! runs only one queues; when it dies, the first run after its timeout queues that page again.
//! Tasks wait in the queue until their exact second. The cost depends on the rows that are due, not
//! on those that are pending.

use std::time::Duration;

use posthorn_domain::{
    retry::{Wait, wait_until},
    timestamp::Timestamp,
};
use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::{
    metrics::{Metric, count, measure},
    now,
};
use posthorn_store::{Cursor, CursorRow, DueRows, Progress, Scheduled, Written, minute_of};

use crate::{MARGIN, RunError};

/// How many minutes a deployment's first run looks back.
const FIRST_LOOK_BACK: i64 = 60;

/// The most minutes that any run looks back: older rows are gone (TTL).
const MAX_LOOK_BACK: i64 = 2 * 24 * 60;

/// Queues what is due.
#[derive(Debug)]
pub struct Due {
    /// Future attempts.
    pub rows: DueRows,
    /// Which of them were queued.
    pub cursor: CursorRow,
    /// Where tasks go when they are due.
    pub queue: DeliveriesQueue,
}

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many minutes are done: all of their tasks are queued.
    pub minutes: u32,
    /// How many tasks were queued.
    pub queued: usize,
}

/// How overdue the first rows after the last finished minute may be.
fn lag(last: Option<i64>, now: Timestamp) -> Duration {
    last.map_or(Duration::ZERO, |minute| {
        now.since(Timestamp::from_millis((minute + 1) * 60_000))
    })
}

/// A run's position: the cursor as it was last read or written.
struct Position {
    /// The minute being queued, and the progress in it.
    minute: i64,
    progress: Progress,
    version: u64,
    deadline: Timestamp,
}

impl Position {
    /// The cursor to write next.
    fn cursor(&self, claimed_until: Option<Timestamp>) -> Cursor {
        // After a finished minute, the next one starts from scratch.
        let (minute, progress) = match self.progress.is_done() {
            true => (self.minute, Progress::default()),
            false => (self.minute - 1, self.progress.clone()),
        };
        Cursor {
            minute,
            progress,
            version: self.version + 1,
            claimed_until,
        }
    }
}

impl Due {
    /// Queues what is due up to the end of the coming minute; stops before `deadline`, when Lambda
    /// would end the function.
    ///
    /// # Errors
    /// After a failed read, write or send; the cursor is then before the page that failed.
    pub async fn run(
        &self,
        started_at: Timestamp,
        deadline: Timestamp,
    ) -> Result<Report, RunError> {
        let mut report = Report::default();
        let cursor = self.cursor.get().await?;
        let last = cursor.as_ref().map(|cursor| cursor.minute);
        measure(Metric::SchedulerLag, lag(last, started_at).as_secs());
        if cursor.as_ref().is_some_and(|it| it.is_claimed(started_at)) {
            tracing::warn!("another run is at work");
            return Ok(report);
        }
        let mut version = cursor.as_ref().map_or(0, |cursor| cursor.version);
        let mut resumed = cursor.map(|cursor| (cursor.minute + 1, cursor.progress));
        for minute in minutes(last, started_at) {
            let resumed = resumed.take().filter(|(of, _)| *of == minute);
            let mut position = Position {
                minute,
                progress: resumed.map(|(_, progress)| progress).unwrap_or_default(),
                version,
                deadline,
            };
            if self.queue_minute(&mut position, &mut report).await? == Written::Conflict {
                return Ok(report);
            }
            version = position.version;
        }
        let Report { minutes, queued } = report;
        tracing::info!(minutes, queued, "scheduled");
        Ok(report)
    }

    /// Queues what is left of a minute; a conflict means that the rest is left to another run.
    async fn queue_minute(
        &self,
        position: &mut Position,
        report: &mut Report,
    ) -> Result<Written, RunError> {
        let minute = position.minute;
        while !position.progress.is_done() {
            if now().plus(MARGIN) > position.deadline {
                tracing::warn!(minute, "out of time; the next run continues");
                return Ok(Written::Conflict);
            }
            let Some(queued) = self.queue_page(position).await? else {
                tracing::warn!(minute, "another run is ahead");
                return Ok(Written::Conflict);
            };
            report.queued += queued;
            if queued > 0 {
                count(Metric::TasksScheduled, queued as u64);
            }
        }
        report.minutes += 1;
        Ok(Written::Yes)
    }

    /// Queues the next tasks of a minute: claims them, sends them, moves the cursor. Returns how
    /// many; `None` when another run is ahead.
    async fn queue_page(&self, position: &mut Position) -> Result<Option<usize>, RunError> {
        let read = self.rows.in_minute(position.minute, &position.progress);
        let (rows, after) = read.await?;
        let count = rows.len();
        if count > 0 {
            if !self.write(position, Some(position.deadline)).await? {
                return Ok(None);
            }
            if let Err(error) = self.send(rows).await {
                // Gives up the claim, so that the next run need not wait for it to expire. If this
                // write fails as well, the next run waits.
                self.write(position, None).await.ok();
                return Err(error);
            }
        }
        position.progress = after;
        Ok(self.write(position, None).await?.then_some(count))
    }

    /// Writes the cursor; `false` when another run was faster.
    async fn write(
        &self,
        position: &mut Position,
        claimed_until: Option<Timestamp>,
    ) -> Result<bool, RunError> {
        let cursor = position.cursor(claimed_until);
        let written = self.cursor.put(&cursor).await?;
        position.version = cursor.version;
        Ok(written == Written::Yes)
    }

    async fn send(&self, rows: Vec<Scheduled>) -> Result<(), RunError> {
        let now = now();
        let bodies = rows.into_iter().map(|row| {
            let Scheduled {
                due,
                endpoint,
                body,
                ..
            } = row;
            let seconds = match wait_until(due, now) {
                Wait::Queue { seconds } => seconds,
                // Never happens for rows of the coming minute.
                Wait::Schedule { .. } => 900,
            };
            (endpoint, body, seconds)
        });
        Ok(self.queue.send_bodies(bodies).await?)
    }
}

/// The minutes that a run works through: from the one after the cursor to the coming minute.
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
