//! The state of a delivery (one message × one endpoint) and what is to be done next.
//!
//! A task says "make attempt N of this delivery". SQS delivers a task at least once, so the
//! delivery's record decides ([`plan`]): an attempt that is recorded is not made again, only its
//! next step is repeated. After an attempt, [`record`] gives the new record and the next step.
//!
//! The at-least-once window: an attempt is made twice only when two copies of its task are at work
//! at the same time, or when a dispatcher ends between the response and the record.

use serde::{Deserialize, Serialize};

use crate::{
    attempt::Attempt, id::AttemptId, name::EventTypeName, retry::RetrySchedule,
    timestamp::Timestamp,
};

/// Attempts that a record keeps; older ones are dropped first.
pub const MAX_ATTEMPTS_KEPT: usize = 50;

/// Where a delivery stands. One that has no record yet is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// An attempt failed and another one is to come.
    Sending,
    /// An attempt was accepted.
    Success,
    /// The last attempt of the schedule failed.
    Fail,
    /// Nothing more is sent: the endpoint was disabled when an attempt was due.
    Skipped,
}

/// The record of a delivery. Attribute names are short: a first-try success must fit one write unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Where it stands.
    #[serde(rename = "s")]
    pub status: Status,
    /// The message's event type, for filters on lists.
    #[serde(rename = "e")]
    pub event_type: EventTypeName,
    /// Scheduled attempts that were recorded; also the number of the next one.
    #[serde(rename = "n")]
    pub made: u32,
    /// Counts writes, from 1: the condition that keeps concurrent dispatchers from losing one.
    #[serde(rename = "v")]
    pub version: u32,
    /// When the next attempt is due, while there is one.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// The attempts, oldest first.
    #[serde(rename = "a")]
    pub attempts: Vec<Attempt>,
}

/// What follows a recorded attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Nothing: the delivery ended, or another task continues it.
    Nothing,
    /// Queue the attempt of this number for this time.
    Retry {
        /// The number of the attempt, from 1 (0 is the first).
        attempt: u32,
        /// When it is due.
        due: Timestamp,
    },
}

/// What a task that was received calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Make the attempt.
    Attempt,
    /// The attempt is recorded already: take its next step, which may have been lost.
    Resume(NextStep),
}

/// Decides what a task for attempt number `attempt` calls for, given the delivery's record.
pub fn plan(delivery: Option<&Delivery>, attempt: u32) -> Plan {
    let Some(delivery) = delivery else {
        return Plan::Attempt;
    };
    match delivery.next_attempt_at {
        _ if delivery.status != Status::Sending => Plan::Resume(NextStep::Nothing),
        _ if delivery.made <= attempt => Plan::Attempt,
        Some(due) if delivery.made == attempt + 1 => Plan::Resume(NextStep::Retry {
            attempt: delivery.made,
            due,
        }),
        _ => Plan::Resume(NextStep::Nothing),
    }
}

/// The record of a delivery that ends because its endpoint is disabled.
pub fn skip(before: Option<Delivery>, event_type: &EventTypeName) -> Delivery {
    let mut delivery = before.unwrap_or_else(|| Delivery::pending(event_type));
    delivery.status = Status::Skipped;
    delivery.next_attempt_at = None;
    delivery.version += 1;
    delivery
}

/// Adds the attempt of number `number` to a delivery's record and decides the next step.
///
/// `jitter` is from 0 to 1, see [`RetrySchedule::next_after`]. An attempt that a concurrent
/// dispatcher recorded first is added for the eye only: that dispatcher takes the next step.
pub fn record(
    before: Option<Delivery>,
    event_type: &EventTypeName,
    number: u32,
    attempt: Attempt,
    schedule: &RetrySchedule,
    now: Timestamp,
    jitter: f64,
) -> (Delivery, NextStep) {
    let mut delivery = before.unwrap_or_else(|| Delivery::pending(event_type));
    let is_duplicate = delivery.made > number || delivery.status != Status::Sending;
    let is_success = attempt.is_success();
    delivery.push(attempt);
    if is_duplicate && !is_success {
        return (delivery, NextStep::Nothing);
    }
    delivery.made = delivery.made.max(number + 1);
    let next = if is_success {
        None
    } else {
        schedule.next_after(number, now, jitter)
    };
    delivery.next_attempt_at = next;
    delivery.status = match next {
        _ if is_success => Status::Success,
        Some(_) => Status::Sending,
        None => Status::Fail,
    };
    let step = next.map_or(NextStep::Nothing, |due| NextStep::Retry {
        attempt: number + 1,
        due,
    });
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
            attempts: Vec::new(),
        }
    }

    /// Whether it holds this attempt.
    pub fn holds(&self, attempt: &AttemptId) -> bool {
        self.attempts.iter().any(|held| held.id == *attempt)
    }

    fn push(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(MAX_ATTEMPTS_KEPT);
        self.attempts.drain(..surplus);
        self.version += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attempt::Outcome;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn attempt(status: u16) -> Attempt {
        let outcome = Outcome::Response {
            status,
            body: vec![],
        };
        Attempt::record(
            AttemptId::new(NOW, [1; 15]),
            String::new(),
            NOW,
            NOW,
            &outcome,
        )
    }

    fn add(before: Option<Delivery>, number: u32, status: u16) -> (Delivery, NextStep) {
        let event_type = "a".to_owned().try_into().unwrap();
        let schedule = "5,300".parse().unwrap();
        record(
            before,
            &event_type,
            number,
            attempt(status),
            &schedule,
            NOW,
            0.5,
        )
    }

    #[test]
    fn a_success_ends_the_delivery() {
        let (delivery, step) = add(None, 0, 200);
        assert_eq!(
            (delivery.status, step),
            (Status::Success, NextStep::Nothing)
        );
        assert_eq!(plan(Some(&delivery), 0), Plan::Resume(NextStep::Nothing));
    }

    #[test]
    fn a_failure_is_followed_until_the_schedule_ends() {
        let (first, step) = add(None, 0, 500);
        assert!(matches!(step, NextStep::Retry { attempt: 1, .. }));
        assert_eq!(
            plan(Some(&first), 0),
            Plan::Resume(step),
            "a second copy of the task"
        );
        assert_eq!(plan(Some(&first), 1), Plan::Attempt);
        let (second, _) = add(Some(first), 1, 302);
        assert_eq!(
            plan(Some(&second), 0),
            Plan::Resume(NextStep::Nothing),
            "an old copy"
        );
        let (third, step) = add(Some(second), 2, 500);
        assert_eq!((third.status, step), (Status::Fail, NextStep::Nothing));
        assert_eq!(third.attempts.len(), 3);
    }

    #[test]
    fn a_duplicate_failure_does_not_undo_a_success() {
        let (done, _) = add(None, 0, 200);
        let (after, step) = add(Some(done), 0, 500);
        assert_eq!((after.status, step), (Status::Success, NextStep::Nothing));
        assert_eq!(after.attempts.len(), 2);
    }

    #[test]
    fn a_duplicate_success_ends_a_failing_delivery() {
        let (failing, _) = add(None, 0, 500);
        let (after, step) = add(Some(failing), 0, 200);
        assert_eq!((after.status, step), (Status::Success, NextStep::Nothing));
        assert_eq!(after.next_attempt_at, None);
    }

    proptest! {
        /// Tasks arrive once or several times, in order, with any outcomes: the delivery ends, no
        /// finished delivery is attempted again, and there are at most 1 + schedule attempts.
        #[test]
        fn every_delivery_ends(statuses in prop::collection::vec(200_u16..600, 3), copies in 1_usize..4) {
            let mut delivery: Option<Delivery> = None;
            let mut queue = vec![0_u32; copies];
            while let Some(number) = queue.pop() {
                let step = match plan(delivery.as_ref(), number) {
                    Plan::Resume(step) => step,
                    Plan::Attempt => {
                        let ended = delivery.as_ref().is_some_and(|d| d.status != Status::Sending);
                        prop_assert!(!ended, "a finished delivery was attempted again");
                        let (after, step) = add(delivery.take(), number, statuses[number as usize]);
                        delivery = Some(after);
                        step
                    }
                };
                if let NextStep::Retry { attempt, .. } = step {
                    queue.push(attempt);
                }
            }
            let delivery = delivery.unwrap();
            let success = statuses.iter().position(|status| *status < 300);
            prop_assert_eq!(delivery.attempts.len(), success.map_or(3, |i| i + 1));
            prop_assert_eq!(delivery.status, if success.is_some() { Status::Success } else { Status::Fail });
            prop_assert_eq!(delivery.next_attempt_at, None);
        }
    }
}
