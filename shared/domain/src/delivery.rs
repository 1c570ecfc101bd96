//! The state of a delivery (one message × one endpoint) and what is to be done next.
//!
//! A task asks for one attempt ([`Ask`]): number N of the schedule, or an extra one that an operator
//! wants. SQS delivers a task at least once, so the delivery's record decides ([`plan`]): an attempt
//! that is recorded is not made again, only its next step is repeated. After an attempt, [`record`]
//! gives the new record and the next step.
//!
//! The at-least-once window: an attempt is made twice only when two copies of its task are at work
//! at the same time, or when a dispatcher ends between the response and the record.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    attempt::{Attempt, TriggerType},
    id::{AttemptId, JobId},
    name::EventTypeName,
    retry::RetrySchedule,
    timestamp::Timestamp,
};

/// Attempts that a record keeps; older ones are dropped first.
pub const MAX_ATTEMPTS_KEPT: usize = 50;

/// Bytes of all response bodies that a record keeps: an item of the table has at most 400 KB.
const MAX_RESPONSES_KEPT: usize = 128 * 1024;

/// How much later than due a next step is repeated: so that the first copy, if it was not lost, has
/// recorded its attempt by then. The longest time-out of a request and a margin.
const REPEAT_AFTER: Duration = Duration::from_secs(35);

/// Failed attempts after which operators are told that a message is failing (the contract's
/// `message.attempt.failing`: on the fourth failure).
pub const FAILING_AFTER: usize = 4;

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
    /// Nothing more is sent: when an attempt was due, the endpoint was disabled or the payload gone.
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
    /// What operators are to be told of the last attempt.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// The attempt that decided what comes next, while there is something to come.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<AttemptId>,
    /// Whether operators know that it fails.
    #[serde(rename = "w", default, skip_serializing_if = "std::ops::Not::not")]
    pub warned: bool,
    /// The attempts, oldest first.
    #[serde(rename = "a")]
    pub attempts: Vec<Attempt>,
}

/// News of a delivery for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// It failed [`FAILING_AFTER`] times and goes on.
    Failing,
    /// The last attempt of the schedule failed.
    Exhausted,
    /// It succeeded after one of the above.
    Recovered,
}

/// The attempt that a task asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// The one of this number on the schedule, from 0.
    Scheduled(u32),
    /// One that an operator's request wants, beside the schedule: one request, one attempt. When
    /// nothing was attempted yet, or the delivery was skipped, it takes the schedule's next place.
    Manual(&'a JobId),
}

/// What follows a recorded attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextStep {
    /// Queue another attempt.
    pub retry: Option<Retry>,
    /// Tell operators.
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
    /// The same step, taken once more because the first time may have been lost.
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

/// What a task that was received calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Make the attempt.
    Attempt,
    /// The attempt is recorded already: take its next step, which may have been lost.
    Resume(NextStep),
}

/// Decides what a task calls for, given the delivery's record.
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
/// dispatcher recorded first is added for the eye only: that dispatcher takes the next step.
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
    // Its place on the schedule; an extra attempt has none, and neither has a duplicate.
    let place = match ask {
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
    // Later than the schedule says when the endpoint asks for it, never earlier.
    let asked = attempt
        .retry_after
        .map(|wait| now.plus(Duration::from_secs(wait)));
    delivery.push(attempt);
    if let Some(number) = place {
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
    if !is_success && place.is_none() {
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

    /// What operators are to be told after an attempt.
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

    /// Whether what comes next was decided by an attempt for this job, or by a scheduled one.
    fn was_decided_for(&self, job: Option<&JobId>) -> bool {
        self.decider()
            .is_some_and(|attempt| attempt.job.as_ref() == job)
    }

    fn was_made_for(&self, job: &JobId) -> bool {
        self.attempts
            .iter()
            .any(|attempt| attempt.job.as_ref() == Some(job))
    }

    /// Whether it holds this attempt.
    pub fn holds(&self, attempt: &AttemptId) -> bool {
        self.attempts.iter().any(|held| held.id == *attempt)
    }

    /// The record without the response body of an attempt.
    pub fn without_response(&self, index: usize) -> Self {
        let mut delivery = self.clone();
        if let Some(attempt) = delivery.attempts.get_mut(index) {
            attempt.response.clear();
        }
        delivery.version += 1;
        delivery
    }

    /// Adds an attempt; the oldest ones go when there are too many, and the oldest response bodies
    /// when they are too large for an item of the table.
    fn push(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(MAX_ATTEMPTS_KEPT);
        self.attempts.drain(..surplus);
        let mut bytes: usize = self.attempts.iter().map(|kept| kept.response.len()).sum();
        for kept in &mut self.attempts {
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attempt::Outcome;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn attempt(status: u16) -> Attempt {
        let (body, retry_after) = (vec![], None);
        let outcome = Outcome::Response {
            status,
            body,
            retry_after,
        };
        static COUNT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);
        let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Attempt::record(
            AttemptId::new(NOW, [n; 15]),
            String::new(),
            NOW,
            NOW,
            &outcome,
        )
    }

    fn add(before: Option<Delivery>, ask: Ask<'_>, status: u16) -> (Delivery, NextStep) {
        let event_type = "a".to_owned().try_into().unwrap();
        let schedule = "5,300".parse().unwrap();
        record(
            before,
            &event_type,
            ask,
            attempt(status),
            &schedule,
            NOW,
            0.5,
        )
    }

    fn add_n(before: Option<Delivery>, number: u32, status: u16) -> (Delivery, NextStep) {
        add(before, Ask::Scheduled(number), status)
    }

    fn job(n: u8) -> JobId {
        JobId::new(NOW, [n; 15])
    }

    const NOTHING: NextStep = NextStep {
        retry: None,
        notice: None,
    };

    #[test]
    fn a_success_ends_the_delivery() {
        let (delivery, step) = add_n(None, 0, 200);
        assert_eq!((delivery.status, step), (Status::Success, NOTHING));
        let plan = plan(Some(&delivery), Ask::Scheduled(0));
        assert_eq!(plan, Plan::Resume(NOTHING));
    }

    #[test]
    fn a_failure_is_followed_until_the_schedule_ends() {
        let (first, step) = add_n(None, 0, 500);
        assert_eq!(step.retry.unwrap().attempt, 1);
        let planned = |delivery: &Delivery, number| plan(Some(delivery), Ask::Scheduled(number));
        assert_eq!(
            planned(&first, 0),
            Plan::Resume(step),
            "a second copy of the task"
        );
        assert_eq!(planned(&first, 1), Plan::Attempt);
        let (second, _) = add_n(Some(first), 1, 302);
        assert_eq!(planned(&second, 0), Plan::Resume(NOTHING), "an old copy");
        let (third, step) = add_n(Some(second), 2, 500);
        assert_eq!((third.status, step.retry), (Status::Fail, None));
        assert_eq!(third.attempts.len(), 3);
    }

    #[test]
    fn an_endpoint_may_ask_for_a_longer_wait_and_not_for_a_shorter_one() {
        let event_type = "a".to_owned().try_into().unwrap();
        let schedule = "300".parse().unwrap();
        let due = |retry_after| {
            let attempt = Attempt {
                retry_after,
                ..attempt(503)
            };
            let ask = Ask::Scheduled(0);
            let step = record(None, &event_type, ask, attempt, &schedule, NOW, 0.5).1;
            step.retry.unwrap().due.since(NOW).as_secs()
        };
        assert_eq!([due(None), due(Some(1)), due(Some(3600))], [300, 300, 3600]);
    }

    #[test]
    fn a_duplicate_failure_does_not_undo_a_success() {
        let (done, _) = add_n(None, 0, 200);
        let (after, step) = add_n(Some(done), 0, 500);
        assert_eq!((after.status, step), (Status::Success, NOTHING));
        assert_eq!(after.attempts.len(), 2);
    }

    #[test]
    fn a_duplicate_success_ends_a_failing_delivery() {
        let (failing, _) = add_n(None, 0, 500);
        let (after, step) = add_n(Some(failing), 0, 200);
        assert_eq!((after.status, step), (Status::Success, NOTHING));
        assert_eq!(after.next_attempt_at, None);
    }

    #[test]
    fn a_manual_attempt_is_made_once_and_leaves_the_schedule_alone() {
        let (first, scheduled) = add_n(None, 0, 500);
        let (one, two) = (job(1), job(2));
        assert_eq!(plan(Some(&first), Ask::Manual(&one)), Plan::Attempt);
        let (after, step) = add(Some(first.clone()), Ask::Manual(&one), 500);
        assert_eq!(step, NOTHING);
        assert_eq!((after.status, after.made), (Status::Sending, 1));
        assert_eq!(after.next_attempt_at, first.next_attempt_at);
        assert_eq!(after.attempts[1].trigger, TriggerType::Manual);
        let again = plan(Some(&after), Ask::Manual(&one));
        assert!(
            matches!(again, Plan::Resume(_)),
            "a second copy of its task"
        );
        assert_eq!(plan(Some(&after), Ask::Manual(&two)), Plan::Attempt);
        assert_eq!(plan(Some(&after), Ask::Scheduled(1)), Plan::Attempt);
        assert_eq!(scheduled.retry.unwrap().attempt, 1);
        let (done, _) = add(Some(after), Ask::Manual(&two), 200);
        assert_eq!((done.status, done.next_attempt_at), (Status::Success, None));
        assert_eq!(plan(Some(&done), Ask::Scheduled(1)), Plan::Resume(NOTHING));
    }

    #[test]
    fn a_manual_failure_does_not_undo_a_success() {
        let (done, _) = add_n(None, 0, 200);
        let (after, step) = add(Some(done), Ask::Manual(&job(1)), 500);
        assert_eq!((after.status, step), (Status::Success, NOTHING));
    }

    #[test]
    fn a_skipped_delivery_that_is_recovered_goes_on_with_its_schedule() {
        let (first, _) = add_n(None, 0, 500);
        let event_type = first.event_type.clone();
        let skipped = skip(Some(first), &event_type);
        assert_eq!(
            plan(Some(&skipped), Ask::Scheduled(1)),
            Plan::Resume(NOTHING)
        );
        let (after, step) = add(Some(skipped), Ask::Manual(&job(1)), 500);
        assert_eq!((after.status, after.made), (Status::Sending, 2));
        assert_eq!(step.retry.unwrap().attempt, 2);
        assert_eq!(plan(Some(&after), Ask::Manual(&job(1))), Plan::Resume(step));
    }

    #[test]
    fn operators_hear_of_the_fourth_failure_the_last_and_the_recovery() {
        let event_type: EventTypeName = "a".to_owned().try_into().unwrap();
        let schedule = "1,1,1,1".parse().unwrap();
        let mut delivery = None;
        let mut news = Vec::new();
        for number in 0..5 {
            let ask = Ask::Scheduled(number);
            let (after, step) = record(
                delivery,
                &event_type,
                ask,
                attempt(500),
                &schedule,
                NOW,
                0.5,
            );
            assert_eq!(
                plan(Some(&after), ask),
                Plan::Resume(step),
                "the news is repeated, too"
            );
            news.push(step.notice);
            delivery = Some(after);
        }
        let (failing, exhausted) = (Some(Notice::Failing), Some(Notice::Exhausted));
        assert_eq!(news, [None, None, None, failing, exhausted]);
        let (delivery, step) = add(delivery, Ask::Manual(&job(1)), 500);
        assert_eq!(step.notice, None, "no news");
        let (delivery, step) = add(Some(delivery), Ask::Manual(&job(2)), 200);
        assert_eq!(step.notice, Some(Notice::Recovered));
        let (_, step) = add(Some(delivery), Ask::Manual(&job(3)), 200);
        assert_eq!(step.notice, None, "told once");
    }

    #[test]
    fn a_step_is_repeated_by_the_task_that_decided_it_only() {
        let one = job(1);
        // The manual attempt took the schedule's place: the waiting first task has nothing to add.
        let (by_job, step) = add(None, Ask::Manual(&one), 500);
        assert_eq!(
            plan(Some(&by_job), Ask::Scheduled(0)),
            Plan::Resume(NOTHING)
        );
        assert_eq!(plan(Some(&by_job), Ask::Manual(&one)), Plan::Resume(step));
        assert!(step.repeated().retry.unwrap().due > step.retry.unwrap().due);
        // An extra attempt repeats nothing of the scheduled one before it.
        let (first, step) = add_n(None, 0, 500);
        let (after, _) = add(Some(first), Ask::Manual(&one), 500);
        assert_eq!(plan(Some(&after), Ask::Manual(&one)), Plan::Resume(NOTHING));
        assert_eq!(plan(Some(&after), Ask::Scheduled(0)), Plan::Resume(step));
        let told = after.decider().unwrap();
        assert_eq!(told.job, None, "news is of the scheduled attempt");
    }

    #[test]
    fn a_manual_failure_does_not_hide_that_a_message_is_failing() {
        let event_type: EventTypeName = "a".to_owned().try_into().unwrap();
        let schedule = "1,1,1,1,1".parse().unwrap();
        let one = job(1);
        let asks = [0, 1, 2].map(Ask::Scheduled).into_iter();
        let asks = asks.chain([Ask::Manual(&one), Ask::Scheduled(3), Ask::Scheduled(4)]);
        let mut delivery = None;
        let mut news = Vec::new();
        for ask in asks {
            let (after, step) = record(
                delivery,
                &event_type,
                ask,
                attempt(500),
                &schedule,
                NOW,
                0.5,
            );
            news.push(step.notice);
            delivery = Some(after);
        }
        assert_eq!(
            news,
            [None, None, None, None, Some(Notice::Failing), None],
            "told once"
        );
    }

    #[test]
    fn a_record_stays_within_an_item() {
        let large = |n: u8| Attempt {
            id: AttemptId::new(NOW, [n; 15]),
            response: "x".repeat(5600),
            ..attempt(500)
        };
        let mut delivery = Delivery::pending(&"a".to_owned().try_into().unwrap());
        for n in 0..60 {
            delivery.push(large(n));
        }
        assert_eq!(delivery.attempts.len(), MAX_ATTEMPTS_KEPT);
        let bytes: usize = delivery
            .attempts
            .iter()
            .map(|kept| kept.response.len())
            .sum();
        assert!(bytes <= MAX_RESPONSES_KEPT && bytes > MAX_RESPONSES_KEPT - 5600);
        assert!(
            !delivery.attempts.last().unwrap().response.is_empty(),
            "the newest are kept"
        );
    }

    proptest! {
        /// Tasks arrive once or several times, in order, with any outcomes: the delivery ends, no
        /// finished delivery is attempted again, and there are at most 1 + schedule attempts.
        #[test]
        fn every_delivery_ends(statuses in prop::collection::vec(200_u16..600, 3), copies in 1_usize..4) {
            let mut delivery: Option<Delivery> = None;
            let mut queue = vec![0_u32; copies];
            while let Some(number) = queue.pop() {
                let step = match plan(delivery.as_ref(), Ask::Scheduled(number)) {
                    Plan::Resume(step) => step,
                    Plan::Attempt => {
                        let ended = delivery.as_ref().is_some_and(|d| d.status != Status::Sending);
                        prop_assert!(!ended, "a finished delivery was attempted again");
                        let (after, step) = add_n(delivery.take(), number, statuses[number as usize]);
                        delivery = Some(after);
                        step
                    }
                };
                queue.extend(step.retry.map(|retry| retry.attempt));
            }
            let delivery = delivery.unwrap();
            let success = statuses.iter().position(|status| *status < 300);
            prop_assert_eq!(delivery.attempts.len(), success.map_or(3, |i| i + 1));
            prop_assert_eq!(delivery.status, if success.is_some() { Status::Success } else { Status::Fail });
            prop_assert_eq!(delivery.next_attempt_at, None);
        }
    }
}
