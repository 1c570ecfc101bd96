use proptest::prelude::*;

use super::*;
use crate::{
    attempt::{Outcome, ResponseBody},
    failure::Failure,
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn attempt(status: u16) -> Attempt {
    let (body, retry_after) = (ResponseBody::default(), None);
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
    add_at(before, ask, status, NOW)
}

fn add_at(
    before: Option<Delivery>,
    ask: Ask<'_>,
    status: u16,
    now: Timestamp,
) -> (Delivery, NextStep) {
    let event_type = "a".to_owned().try_into().unwrap();
    let schedule = "5,300".parse().unwrap();
    record(
        before,
        &event_type,
        ask,
        attempt(status),
        &schedule,
        now,
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
fn the_second_of_two_copies_that_failed_leaves_the_next_step_to_the_first() {
    let (first, _) = add_n(None, 0, 500);
    let later = NOW.plus(Duration::from_secs(60));
    let (both, step) = add_at(Some(first.clone()), Ask::Scheduled(0), 500, later);
    assert_eq!((step, both.made), (NOTHING, 1));
    assert_eq!(both.next_attempt_at, first.next_attempt_at);
    assert_eq!(both.attempts.len(), 2);
}

#[test]
fn a_resend_is_pending_until_its_attempt_has_ended_or_five_minutes_are_over() {
    let after = |seconds| NOW.plus(Duration::from_secs(seconds));
    let resend = Resend::new(job(1), NOW);
    let (first, _) = add_n(None, 0, 500);
    let (other, _) = add(Some(first.clone()), Ask::Manual(&job(2)), 200);
    for delivery in [None, Some(&first), Some(&other)] {
        let pending = [0, 299, 300].map(|seconds| resend.is_pending(delivery, after(seconds)));
        assert_eq!(pending, [true, true, false]);
    }
    let (mut made, _) = add(Some(other), Ask::Manual(&job(1)), 500);
    made.attempts[2].duration_ms = 2000;
    let pending = [0, 1, 2].map(|seconds| resend.is_pending(Some(&made), after(seconds)));
    assert_eq!(pending, [true, true, false]);
}

#[test]
fn every_write_has_the_next_version() {
    let event_type = "a".to_owned().try_into().unwrap();
    assert_eq!(skip(None, &event_type).version, 1);
    let (first, _) = add_n(None, 0, 500);
    let (second, _) = add_n(Some(first.clone()), 1, 500);
    let skipped = skip(Some(second.clone()), &event_type);
    let expunged = skipped.without_response(0);
    let versions = [&first, &second, &skipped, &expunged].map(|delivery| delivery.version);
    assert_eq!(versions, [1, 2, 3, 4]);
}

#[test]
fn a_record_holds_its_own_attempts_only() {
    let (delivery, _) = add_n(None, 0, 500);
    let (other, _) = add_n(None, 0, 500);
    assert!(delivery.holds(&delivery.attempts[0].id));
    assert!(!delivery.holds(&other.attempts[0].id));
}

#[test]
fn an_attempt_is_lost_when_it_is_overdue_and_still_wanted() {
    let (sending, step) = add_n(None, 0, 500);
    let due = step.retry.unwrap().due;
    let ended = |status| Delivery {
        status,
        ..sending.clone()
    };
    let lost_at = |delivery: Option<&Delivery>, now| lost(delivery, NOW, now, LOST_AFTER);
    let limit = LOST_AFTER;
    let late = limit + Duration::from_millis(1);
    for (delivery, from, attempt) in [(None, NOW, 0), (Some(&sending), due, 1)] {
        assert_eq!(lost_at(delivery, from.plus(limit)), None, "just in time");
        assert_eq!(lost_at(delivery, from.plus(late)), Some(attempt));
    }
    for status in [Status::Success, Status::Fail, Status::Skipped] {
        let found = lost_at(Some(&ended(status)), due.plus(late));
        assert_eq!(found, None, "{status:?} has nothing to come");
    }
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
    // The manual attempt took the first place on the schedule: the waiting first task has nothing
    // to add.
    let (by_job, step) = add(None, Ask::Manual(&one), 500);
    assert_eq!(
        plan(Some(&by_job), Ask::Scheduled(0)),
        Plan::Resume(NOTHING)
    );
    assert_eq!(plan(Some(&by_job), Ask::Manual(&one)), Plan::Resume(step));
    assert!(step.repeated().retry.unwrap().due > step.retry.unwrap().due);
    // An extra attempt repeats nothing of the earlier scheduled one.
    let (first, step) = add_n(None, 0, 500);
    let (after, _) = add(Some(first), Ask::Manual(&one), 500);
    assert_eq!(plan(Some(&after), Ask::Manual(&one)), Plan::Resume(NOTHING));
    assert_eq!(plan(Some(&after), Ask::Scheduled(0)), Plan::Resume(step));
    let decider = after.decider().unwrap();
    assert_eq!(decider.job, None, "news is of the scheduled attempt");
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

#[test]
fn an_expunged_response_is_shown_as_such_whatever_comes_after() {
    let large = |n: u8| Attempt {
        id: AttemptId::new(NOW, [n; 15]),
        response: "x".repeat(5600),
        ..attempt(500)
    };
    let failure = Outcome::Failure(Failure::Timeout);
    let id = AttemptId::new(NOW, [9; 15]);
    let failed = Attempt::record(id, String::new(), NOW, NOW, &failure);
    let mut delivery = Delivery::pending(&"a".to_owned().try_into().unwrap());
    delivery.push(large(0));
    delivery.push(failed);
    let mut delivery = delivery.without_response(0).without_response(1);
    for n in 1..30 {
        delivery.push(large(n));
    }
    assert_eq!(delivery.attempts[2].response, "", "an old one is dropped");
    for expunged in &delivery.attempts[..2] {
        assert_eq!(expunged.response_shown(), "EXPUNGED");
    }
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

/// A task on the queue.
#[derive(Clone, Debug)]
enum Queued {
    Scheduled(u32),
    Manual(JobId),
}

impl Queued {
    fn ask(&self) -> Ask<'_> {
        match self {
            Self::Scheduled(number) => Ask::Scheduled(*number),
            Self::Manual(job) => Ask::Manual(job),
        }
    }
}

/// Where a dispatcher crashes; its task is received again.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    No,
    AfterSend,
    AfterRecord,
}

#[derive(Clone, Debug)]
enum Event {
    /// A task is received: which one, whether a copy of it stays, what the endpoint answers, and
    /// where the dispatcher crashes.
    Receive(prop::sample::Index, bool, u16, Crash),
    /// An operator asks for the message again.
    Resend,
    /// Two copies of a task run at the same time, with these answers.
    Overlap(prop::sample::Index, u16, u16),
    /// A task waits longer: its endpoint is paused, or its slot is still to come.
    PutBack(prop::sample::Index),
    /// The queue is purged.
    Purge,
    /// The clock is set to this many seconds from the start, possibly negative.
    Clock(i32),
    /// The auditor runs.
    Audit,
    /// The endpoint is disabled, or enabled.
    Switch,
}

/// How overdue an attempt must be for the auditor to consider its task lost.
const LOST_AFTER: Duration = Duration::from_secs(3600);

fn events() -> impl Strategy<Value = Vec<Event>> {
    let crash = prop_oneof![
        Just(Crash::No),
        Just(Crash::AfterSend),
        Just(Crash::AfterRecord)
    ];
    let status = prop_oneof![3 => Just(500_u16), 1 => Just(200_u16)];
    let receive = (any::<prop::sample::Index>(), any::<bool>(), status, crash);
    let receive =
        receive.prop_map(|(task, copy, status, crash)| Event::Receive(task, copy, status, crash));
    let answer = || prop_oneof![3 => Just(500_u16), 1 => Just(200_u16)];
    let index = any::<prop::sample::Index>;
    let event = prop_oneof![
        8 => receive,
        1 => Just(Event::Resend),
        1 => Just(Event::Switch),
        1 => (index(), answer(), answer()).prop_map(|(task, one, two)| Event::Overlap(task, one, two)),
        1 => index().prop_map(Event::PutBack),
        1 => Just(Event::Purge),
        1 => (-100_000..1_000_000_i32).prop_map(Event::Clock),
        1 => Just(Event::Audit),
    ];
    prop::collection::vec(event, 0..40)
}

/// One delivery and its queue, driven by dispatchers and operators.
struct Model {
    record: Option<Delivery>,
    queue: Vec<Queued>,
    disabled: bool,
    /// Requests that were made and recorded, and those whose dispatcher crashed before the record.
    recorded: usize,
    unrecorded: usize,
    /// Requests that two copies made at the same time.
    overlaps: usize,
    resends: u8,
    now: Timestamp,
}

impl Model {
    fn new() -> Self {
        Self {
            record: None,
            queue: vec![Queued::Scheduled(0)],
            disabled: false,
            recorded: 0,
            unrecorded: 0,
            overlaps: 0,
            resends: 0,
            now: NOW,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Switch => self.disabled = !self.disabled,
            Event::Resend => {
                self.resends += 1;
                self.queue.push(Queued::Manual(job(self.resends)));
            }
            Event::Purge => self.queue.clear(),
            Event::Clock(seconds) => {
                self.now = Timestamp::from_millis(NOW.as_millis() + i64::from(seconds) * 1000);
            }
            Event::Audit => self.audit(),
            Event::Receive(..) | Event::PutBack(_) | Event::Overlap(..)
                if self.queue.is_empty() => {}
            Event::PutBack(task) => {
                let task = self.queue.remove(task.index(self.queue.len()));
                self.queue.push(task);
            }
            Event::Overlap(task, one, two) => {
                let task = self.queue.swap_remove(task.index(self.queue.len()));
                self.overlap(&task, one, two);
            }
            Event::Receive(task, copy, status, crash) => {
                let index = task.index(self.queue.len());
                let task = self.queue[index].clone();
                if self.work(&task, status, crash) && !copy {
                    self.queue.remove(index);
                }
            }
        }
    }

    /// Handles a task; returns whether the dispatcher finished, so that the task is deleted.
    fn work(&mut self, task: &Queued, status: u16, crash: Crash) -> bool {
        let before = self.record.clone();
        let ended = before.as_ref().is_some_and(|d| d.status != Status::Sending);
        let step = match plan(before.as_ref(), task.ask()) {
            Plan::Resume(step) => step.repeated(),
            Plan::Attempt if self.disabled => {
                let event_type = "a".to_owned().try_into().unwrap();
                if !ended {
                    self.record = Some(skip(before, &event_type));
                }
                return true;
            }
            Plan::Attempt => {
                let is_scheduled = matches!(task, Queued::Scheduled(_));
                assert!(
                    !(ended && is_scheduled),
                    "a finished delivery was sent again"
                );
                if crash == Crash::AfterSend {
                    self.unrecorded += 1;
                    return false;
                }
                let (after, step) = add_at(before, task.ask(), status, self.now);
                self.record = Some(after);
                self.recorded += 1;
                step
            }
        };
        if crash == Crash::AfterRecord {
            return false;
        }
        self.queue
            .extend(step.retry.map(|retry| Queued::Scheduled(retry.attempt)));
        true
    }

    /// Two dispatchers read the same record, and both send. The second to write merges.
    fn overlap(&mut self, task: &Queued, one: u16, two: u16) {
        let before = self.record.clone();
        let makes_attempt = plan(before.as_ref(), task.ask()) == Plan::Attempt;
        if self.disabled || !makes_attempt {
            assert!(self.work(task, one, Crash::No));
            return;
        }
        for status in [one, two] {
            let (after, step) = add_at(self.record.take(), task.ask(), status, self.now);
            self.record = Some(after);
            let retry = step.retry.map(|retry| Queued::Scheduled(retry.attempt));
            self.queue.extend(retry);
            self.recorded += 1;
        }
        self.overlaps += 1;
    }

    fn audit(&mut self) {
        let lost = lost(self.record.as_ref(), NOW, self.now, LOST_AFTER);
        self.queue.extend(lost.map(Queued::Scheduled));
    }

    /// Works through the queue; returns how many tasks that took.
    fn drain(&mut self) -> usize {
        let mut count = 0;
        while let Some(task) = self.queue.pop() {
            assert!(self.work(&task, 500, Crash::No));
            count += 1;
            assert!(count < 10_000, "the queue does not run dry");
        }
        count
    }
}

proptest! {
    /// Tasks in any order and any number of copies, dispatchers that crash anywhere or run
    /// concurrently, resends, purged queues, a clock that jumps, an endpoint that is disabled and
    /// enabled: with the auditor, the delivery is always finished, makes no more attempts than the
    /// schedule has and operators requested, and is not sent again after that.
    #[test]
    fn no_order_of_events_loses_a_delivery_or_repeats_it(events in events()) {
        let mut model = Model::new();
        for event in events {
            model.apply(event);
        }
        model.drain();
        // A clock that was slow or fast makes attempts due early or late by as much.
        for _ in 0..4 {
            model.now = model.now.max(NOW).plus(Duration::from_secs(2_000_000));
            model.audit();
            model.drain();
        }
        let record = model.record.unwrap();
        prop_assert!(record.status != Status::Sending, "lost: {record:?}");
        prop_assert_eq!(record.next_attempt_at, None);
        prop_assert!(model.recorded <= 3 + usize::from(model.resends) + model.overlaps);
        prop_assert_eq!(record.attempts.len(), model.recorded);
    }
}
