//! The state of a delivery (one message × one endpoint) and what to do next.
//!
//! A task asks for one attempt ([`Ask`]): number N of the schedule, or an extra one that an
//! operator requested. SQS delivers a task at least once, so the delivery's record decides
//! ([`plan`]): a recorded attempt is not made again, only its next step is repeated. After an
//! attempt, [`record`] returns the new record and the next step.
//!
//! The at-least-once window: an attempt is made twice only when two copies of its task run at the
//! same time, or when a dispatcher crashes between the response and the record.

use std::time::Duration;

pub use resend::Resend;
use serde::{Deserialize, Serialize};

use crate::{
    attempt::{Attempt, EXPUNGED, TriggerType},
    id::{AttemptId, JobId},
    name::EventTypeName,
    retry::RetrySchedule,
    timestamp::Timestamp,
};

mod resend;

/// The most attempts that a record keeps; the oldest are dropped first.
pub const MAX_ATTEMPTS_KEPT: usize = 50;

/// The most bytes of response bodies that a record keeps: an item of the table has at most 400 KB.
const MAX_RESPONSES_KEPT: usize = 128 * 1024;

/// How much later than due a repeated next step is scheduled, so that the first copy, if it was not
/// lost, has recorded its attempt by then: the longest timeout of a request and a margin.
const REPEAT_AFTER: Duration = Duration::from_secs(35);

/// The number of failed attempts after which operators are notified that a message is failing (the
/// contract's `message.attempt.failing`: on the fourth failure).
pub const FAILING_AFTER: usize = 4;

/// The status of a delivery. A delivery without a record is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// An attempt failed, and another one will follow.
    Sending,
    /// An attempt was accepted.
    Success,
    /// The last attempt of the schedule failed.
    Fail,
    /// Nothing more is sent, because when an attempt was due, the endpoint was disabled, its
    /// secrets could not be opened, the message had expired, or its payload was gone.
    Skipped,
}

/// The record of a delivery. Attribute names are short: a first-try success must fit one write unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its status.
    #[serde(rename = "s")]
    pub status: Status,
    /// The message's event type, for filters on lists.
    #[serde(rename = "e")]
    pub event_type: EventTypeName,
    /// The number of recorded scheduled attempts, which is also the number of the next one.
    #[serde(rename = "n")]
    pub made: u32,
    /// Counts writes, from 1. Writes are conditional on it, so that concurrent dispatchers lose
    /// none.
    #[serde(rename = "v")]
    pub version: u32,
    /// When the next attempt is due, if there is one.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// The notice for operators about the last attempt.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// The attempt that decided what comes next, if something comes next.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<AttemptId>,
    /// Whether operators were notified that it is failing.
    #[serde(rename = "w", default, skip_serializing_if = "std::ops::Not::not")]
    pub warned: bool,
    /// The attempts, oldest first.
    #[serde(rename = "a")]
    pub attempts: Vec<Attempt>,
}

/// A notice for operators about a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// It failed [`FAILING_AFTER`] times and will be retried.
    Failing,
    /// The last attempt of the schedule failed.
    Exhausted,
    /// It succeeded after one of the above.
    Recovered,
}

/// The attempt that a task asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// The attempt with this number on the schedule, from 0.
    Scheduled(u32),
    /// An extra attempt for an operator's request: one request, one attempt. When nothing was
    /// attempted yet, or the delivery was skipped, it takes the schedule's next number.
    Manual(&'a JobId),
}

/// What to do after a recorded attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextStep {
    /// Queue another attempt.
    pub retry: Option<Retry>,
    /// Notify operators.
    pub notice: Option<Notice>,
}

/// The attempt to queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Its number, from 1 (0 is the first).
    pub attempt: u32,
    /// When it is due.
    pub due: Timestamp,
}

impl NextStep {
    /// The same step again, because the first one may have been lost.
    pub fn repeated(self) -> Self {
        let later = |retry: Retry| Retry {
            due: retry.due.plus(REPEAT_AFTER),
            ..retry
        };
        Self {
            retry: self.retry.map(later),
            ..self
        }
    }
}

/// What to do about a received task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Make the attempt.
    Attempt,
    /// The attempt is already recorded: repeat its next step, which may have been lost.
    Resume(NextStep),
}

/// Decides what to do about a task, given the delivery's record.
pub fn plan(delivery: Option<&Delivery>, ask: Ask<'_>) -> Plan {
    let Some(delivery) = delivery else {
        return Plan::Attempt;
    };
    let is_last = match ask {
        Ask::Scheduled(number) if delivery.made <= number => {
            let goes_on = delivery.status == Status::Sending;
            let ended = Plan::Resume(NextStep::default());
            return if goes_on { Plan::Attempt } else { ended };
        }
        Ask::Manual(job) if !delivery.was_made_for(job) => return Plan::Attempt,
        Ask::Scheduled(number) => delivery.made == number + 1 && delivery.was_decided_for(None),
        Ask::Manual(job) => delivery.was_decided_for(Some(job)),
    };
    Plan::Resume(if is_last {
        delivery.next_step()
    } else {
        NextStep::default()
    })
}

/// The scheduled attempt whose task must have been lost, because it has been due for more than
/// `after`. A delivery without a record has been due since its message was created. Queueing the
/// attempt again is harmless if the task was only late ([`plan`]).
pub fn lost(
    delivery: Option<&Delivery>,
    created_at: Timestamp,
    now: Timestamp,
    after: Duration,
) -> Option<u32> {
    let (attempt, due) = match delivery {
        None => (0, created_at),
        Some(delivery) if delivery.status == Status::Sending => {
            (delivery.made, delivery.next_attempt_at?)
        }
        Some(_) => return None,
    };
    (now.since(due) > after).then_some(attempt)
}

/// The record of a delivery of which nothing more is sent for now.
pub fn skip(before: Option<Delivery>, event_type: &EventTypeName) -> Delivery {
    let mut delivery = before.unwrap_or_else(|| Delivery::pending(event_type));
    delivery.status = Status::Skipped;
    delivery.next_attempt_at = None;
    delivery.version += 1;
    delivery
}

/// Adds an attempt to a delivery's record and decides the next step.
///
/// `jitter` is from 0 to 1, see [`RetrySchedule::next_after`]. An attempt that a concurrent
/// dispatcher recorded first is added for information only: that dispatcher takes the next step.
pub fn record(
    before: Option<Delivery>,
    event_type: &EventTypeName,
    ask: Ask<'_>,
    mut attempt: Attempt,
    schedule: &RetrySchedule,
    now: Timestamp,
    jitter: f64,
) -> (Delivery, NextStep) {
    let is_fresh = before.as_ref().is_none_or(|d| d.status == Status::Skipped);
    let mut delivery = before.unwrap_or_else(|| Delivery::pending(event_type));
    // The attempt's number on the schedule; extra attempts and duplicates have none.
    let number = match ask {
        Ask::Scheduled(number) => {
            let is_next = delivery.made <= number && delivery.status == Status::Sending;
            is_next.then_some(number)
        }
        Ask::Manual(job) => {
            (attempt.trigger, attempt.job) = (TriggerType::Manual, Some(job.clone()));
            is_fresh.then_some(delivery.made)
        }
    };
    let (is_success, id) = (attempt.is_success(), attempt.id.clone());
    // An endpoint may ask for a later time than the schedule's, but not for an earlier one.
    let asked = attempt
        .retry_after
        .map(|wait| now.plus(Duration::from_secs(wait)));
    delivery.push(attempt);
    if let Some(number) = number {
        delivery.made = number + 1;
        let due = schedule.next_after(number, now, jitter);
        delivery.next_attempt_at = due.map(|due| asked.map_or(due, |asked| due.max(asked)));
        let goes_on = delivery.next_attempt_at.is_some();
        delivery.status = if goes_on {
            Status::Sending
        } else {
            Status::Fail
        };
    }
    if is_success {
        delivery.status = Status::Success;
        delivery.next_attempt_at = None;
    }
    if !is_success && number.is_none() {
        return (delivery, NextStep::default());
    }
    delivery.notice = delivery.news(is_success);
    delivery.warned = !is_success && (delivery.warned || delivery.notice.is_some());
    let step = delivery.next_step();
    delivery.decided_by = (step != NextStep::default()).then_some(id);
    (delivery, step)
}

impl Delivery {
    /// A delivery without a record yet.
    fn pending(event_type: &EventTypeName) -> Self {
        Self {
            status: Status::Sending,
            event_type: event_type.clone(),
            made: 0,
            version: 0,
            next_attempt_at: None,
            notice: None,
            decided_by: None,
            warned: false,
            attempts: Vec::new(),
        }
    }

    /// What follows the last attempt.
    fn next_step(&self) -> NextStep {
        let due = self
            .next_attempt_at
            .filter(|_| self.status == Status::Sending);
        let attempt = self.made;
        NextStep {
            retry: due.map(|due| Retry { attempt, due }),
            notice: self.notice,
        }
    }

    /// The notice for operators after an attempt.
    fn news(&self, is_success: bool) -> Option<Notice> {
        let failures = self.attempts.iter().filter(|attempt| !attempt.is_success());
        match self.status {
            _ if is_success => self.warned.then_some(Notice::Recovered),
            Status::Fail => Some(Notice::Exhausted),
            _ if self.warned => None,
            _ => (failures.count() >= FAILING_AFTER).then_some(Notice::Failing),
        }
    }

    /// The attempt that decided what comes next.
    pub fn decider(&self) -> Option<&Attempt> {
        let id = self.decided_by.as_ref()?;
        self.attempts.iter().find(|attempt| attempt.id == *id)
    }

    /// Whether an attempt for this job, or for `None` a scheduled attempt, decided what comes next.
    fn was_decided_for(&self, job: Option<&JobId>) -> bool {
        self.decider()
            .is_some_and(|attempt| attempt.job.as_ref() == job)
    }

    /// Whether it includes an attempt that this job asked for.
    pub fn was_made_for(&self, job: &JobId) -> bool {
        self.attempts
            .iter()
            .any(|attempt| attempt.job.as_ref() == Some(job))
    }

    /// Whether it includes this attempt.
    pub fn holds(&self, attempt: &AttemptId) -> bool {
        self.attempts.iter().any(|held| held.id == *attempt)
    }

    /// The record with [`EXPUNGED`] in place of an attempt's response body.
    pub fn without_response(&self, index: usize) -> Self {
        let mut delivery = self.clone();
        if let Some(attempt) = delivery.attempts.get_mut(index) {
            EXPUNGED.clone_into(&mut attempt.response);
        }
        delivery.version += 1;
        delivery
    }

    /// Adds an attempt. Drops the oldest attempts when there are too many, and the oldest response
    /// bodies when all of them are too large for an item of the table.
    fn push(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(MAX_ATTEMPTS_KEPT);
        self.attempts.drain(..surplus);
        let mut bytes: usize = self.attempts.iter().map(|kept| kept.response.len()).sum();
        let kept = self.attempts.iter_mut();
        for kept in kept.filter(|kept| kept.response != EXPUNGED) {
            if bytes <= MAX_RESPONSES_KEPT {
                break;
            }
            bytes -= kept.response.len();
            kept.response.clear();
        }
        self.version += 1;
    }
}

#[cfg(test)]
mod tests;
