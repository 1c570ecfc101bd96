//! The health of an endpoint, and what it means for the next attempts.
//!
//! Three things are known about an endpoint, only from the results of its attempts:
//!
//! - **Since when it has been failing.** After too long it is disabled.
//! - **Until when it is paused** (a circuit breaker). An endpoint that says that it is overloaded
//!   (429, 502, 504, or 503 with `Retry-After`) is paused at once; one that cannot be reached or
//!   answers 5xx is paused once it has been failing for [`PATIENCE`], with more than one message. Tasks that
//!   arrive meanwhile are put back without spending an attempt. After the pause a single attempt
//!   probes the endpoint: a success, or any response that shows that it works, ends the pause; another
//!   failure pauses it for a quarter of the time that it has been failing ([`MIN_PAUSE`] to
//!   [`MAX_PAUSE`]). So pauses grow with the outage, and no count is needed.
//! - **Whether it is slow.** Its tasks then travel in the slow lane, so that they delay nobody else.
//!   It enters that lane while an attempt takes longer than [`SLOW_AFTER`], and leaves it with a quick
//!   success once no attempt was slow for [`SLOW_FOR`].
//!
//! Health is part of the endpoint's item, which every attempt reads anyway: it costs nothing while
//! nothing changes, and one write when something does.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::{attempt::Outcome, failure::Failure, id::MessageId, timestamp::Timestamp};

/// How long an endpoint must fail before it is paused by failures that do not indicate overload, so
/// that the first retries of a message (after 5 s) are not delayed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The shortest pause.
pub const MIN_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause that Posthorn chooses: including the time over which tasks are spread after
/// it, the queue can still carry the wait.
pub const MAX_PAUSE: Duration = Duration::from_secs(720);

/// The longest pause that an endpoint can ask for with `Retry-After`. (A delivery that was answered
/// with `Retry-After` waits for up to 24 hours, see [`crate::retry::retry_after`].)
pub const MAX_ASKED_PAUSE: Duration = Duration::from_secs(3600);

/// How long other tasks wait for the probing attempt: the longest timeout of a request and a
/// margin.
pub const PROBE: Duration = Duration::from_secs(35);

/// An attempt that takes this long makes its endpoint slow.
pub const SLOW_AFTER: Duration = Duration::from_secs(2);

/// The shortest time that an endpoint stays slow.
pub const SLOW_FOR: Duration = Duration::from_secs(60);

/// The health of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Since when all attempts have failed; `None` after a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// The message that failed first, as long as no other message failed: an endpoint that refuses
    /// one message may well accept others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_first: Option<MessageMark>,
    /// Until when it is paused. Kept after that time, until an attempt has probed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Timestamp>,
    /// Whether an attempt is probing the endpoint; the pause then only makes the others wait for
    /// it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probing: bool,
    /// Until when it is slow. Kept after that time, until a quick success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_until: Option<Timestamp>,
}

/// A hash that distinguishes messages, nearly always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageMark(u32);

impl MessageMark {
    /// A message's mark.
    pub fn of(message: &MessageId) -> Self {
        let hash = Sha256::digest(message.as_str());
        Self(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
    }
}

/// What an attempt tells about its endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The attempt's outcome.
    pub outcome: &'a Outcome,
    /// Its message.
    pub message: MessageMark,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// Why Posthorn disabled an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// It answered 410 Gone: it wants no more messages (Standard Webhooks, "Deliverability and
    /// reliability").
    Gone,
    /// It failed for longer than the deployment tolerates.
    Failing,
}

/// What an attempt means for its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing new.
    AsBefore,
    /// Its health has changed.
    Changed(Health),
    /// It must be disabled; it has been failing since that time.
    Disable(DisabledReason, Timestamp),
}

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Go,
    /// It may, as the probe, if this health can be written first.
    Probe(Health),
    /// Not before then.
    Wait(Timestamp),
}

/// The lanes of the queue, each with its own dispatchers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lane {
    /// For endpoints that answer.
    #[default]
    Fast,
    /// For endpoints that keep dispatchers waiting.
    Slow,
}

impl Health {
    /// Whether the endpoint is healthy: nothing is recorded.
    pub fn is_well(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an attempt may be made now.
    pub fn admit(self, now: Timestamp) -> Admission {
        match self.paused_until {
            None => Admission::Go,
            Some(until) if now < until => Admission::Wait(until),
            Some(_) => Admission::Probe(Self {
                paused_until: Some(now.plus(PROBE)),
                probing: true,
                ..self
            }),
        }
    }

    /// The lane of its tasks.
    pub fn lane(self) -> Lane {
        match self.slow_until {
            Some(_) => Lane::Slow,
            None => Lane::Fast,
        }
    }

    /// The health after a slow attempt; `None` when it is already known to be slow.
    pub fn slowed(self, now: Timestamp) -> Option<Self> {
        let is_known = self
            .slow_until
            .is_some_and(|until| until >= now.plus(SLOW_FOR / 2));
        (!is_known).then(|| Self {
            slow_until: Some(now.plus(SLOW_FOR)),
            ..self
        })
    }

    /// What an attempt means for its endpoint. `disable_after` is how long an endpoint may fail
    /// without a success in between.
    pub fn after(self, attempt: Observation<'_>, disable_after: Duration) -> Verdict {
        let (outcome, now) = (attempt.outcome, attempt.ended_at);
        if outcome.is_gone() {
            return Verdict::Disable(DisabledReason::Gone, attempt.started_at);
        }
        let is_slow = now.since(attempt.started_at) >= SLOW_AFTER;
        let slowed = if is_slow { self.slowed(now) } else { None };
        let known = slowed.unwrap_or(self);
        let after = if outcome.is_success() {
            let was_slow = known.slow_until.filter(|until| is_slow || *until > now);
            Self {
                slow_until: was_slow,
                ..Self::default()
            }
        } else {
            let since = known.failing_since.unwrap_or(attempt.started_at);
            if attempt.started_at.since(since) >= disable_after {
                return Verdict::Disable(DisabledReason::Failing, since);
            }
            Self {
                failing_since: Some(since),
                failed_first: known.alone(attempt.message).then_some(attempt.message),
                paused_until: known.pause(attempt, now.since(since)),
                probing: false,
                ..known
            }
        };
        if after == self {
            Verdict::AsBefore
        } else {
            Verdict::Changed(after)
        }
    }

    /// Whether no other message has failed since the endpoint started to fail.
    fn alone(self, message: MessageMark) -> bool {
        self.failing_since.is_none() || self.failed_first == Some(message)
    }

    /// Until when a failure pauses the endpoint, if it does.
    fn pause(self, attempt: Observation<'_>, failing_for: Duration) -> Option<Timestamp> {
        let now = attempt.ended_at;
        let chosen = (failing_for / 4).clamp(MIN_PAUSE, MAX_PAUSE);
        let before = self.paused_until.filter(|_| !self.probing);
        let pause = match strain(attempt.outcome) {
            Strain::TooMuch(asked) => asked.map_or(chosen, |asked| {
                asked.clamp(Duration::from_secs(1), MAX_ASKED_PAUSE)
            }),
            Strain::Unavailable if failing_for < PATIENCE || self.alone(attempt.message) => {
                return before;
            }
            Strain::Unavailable => chosen,
            Strain::None => return None,
        };
        // Concurrent attempts need not all write: a similar pause is good enough.
        let enough = before.filter(|until| *until >= now.plus(pause / 2));
        Some(enough.unwrap_or_else(|| now.plus(pause)))
    }
}

/// What a failure says about the endpoint's load.
enum Strain {
    /// It is overloaded, and may ask for a pause of this length.
    TooMuch(Option<Duration>),
    /// It does not work.
    Unavailable,
    /// It works, and refused this message.
    None,
}

fn strain(outcome: &Outcome) -> Strain {
    match outcome {
        Outcome::Response {
            status: 429 | 502 | 504,
            retry_after,
            ..
        } => Strain::TooMuch(*retry_after),
        Outcome::Response {
            status: 503,
            retry_after: Some(asked),
            ..
        } => Strain::TooMuch(Some(*asked)),
        Outcome::Response {
            status: 500..=599, ..
        } => Strain::Unavailable,
        Outcome::Response { .. } | Outcome::Failure(Failure::Blocked) => Strain::None,
        Outcome::Failure(_) => Strain::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attempt::ResponseBody;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn answer(status: u16) -> Outcome {
        asking(status, None)
    }

    fn asking(status: u16, seconds: Option<u64>) -> Outcome {
        Outcome::Response {
            status,
            body: ResponseBody::default(),
            retry_after: seconds.map(Duration::from_secs),
        }
    }

    fn seconds(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    const ONE: MessageMark = MessageMark(1);
    const OTHER: MessageMark = MessageMark(2);

    fn verdict(health: Health, outcome: &Outcome, at: Timestamp) -> Verdict {
        let attempt = Observation {
            outcome,
            message: OTHER,
            started_at: at,
            ended_at: at,
        };
        health.after(attempt, DAY)
    }

    /// The health after an attempt that took no time.
    fn after(health: Health, outcome: &Outcome, at: Timestamp) -> Health {
        match verdict(health, outcome, at) {
            Verdict::AsBefore => health,
            Verdict::Changed(after) => after,
            Verdict::Disable(..) => panic!("disabled"),
        }
    }

    fn failing() -> Health {
        Health {
            failing_since: Some(NOW),
            failed_first: Some(ONE),
            ..Health::default()
        }
    }

    #[test]
    fn only_failures_for_the_whole_time_disable() {
        let verdict = |health, status, at| verdict(health, &answer(status), at);
        let well = Health::default();
        assert_eq!(verdict(well, 200, NOW), Verdict::AsBefore);
        let started = Health {
            failed_first: Some(OTHER),
            ..failing()
        };
        assert_eq!(verdict(well, 400, NOW), Verdict::Changed(started));
        assert_eq!(verdict(started, 400, seconds(40)), Verdict::AsBefore);
        let several = Health {
            failed_first: None,
            ..failing()
        };
        let changed = verdict(failing(), 400, seconds(40));
        assert_eq!(changed, Verdict::Changed(several), "another message");
        let late = NOW.plus(DAY);
        assert_eq!(verdict(failing(), 200, late), Verdict::Changed(well));
        let disable = Verdict::Disable(DisabledReason::Failing, NOW);
        assert_eq!(verdict(failing(), 400, late), disable);
        let gone = Verdict::Disable(DisabledReason::Gone, late);
        assert_eq!(verdict(well, 410, late), gone);
    }

    #[test]
    fn too_much_load_pauses_at_once_and_for_as_long_as_asked() {
        for status in [429, 502, 504] {
            let paused = after(Health::default(), &answer(status), NOW);
            assert_eq!(paused.admit(NOW), Admission::Wait(seconds(5)), "{status}");
        }
        let paused = |status, asked| {
            let outcome = asking(status, Some(asked));
            after(Health::default(), &outcome, NOW).paused_until
        };
        assert_eq!(paused(429, 60), Some(seconds(60)));
        assert_eq!(paused(503, 60), Some(seconds(60)));
        assert_eq!(paused(429, 0), Some(seconds(1)));
        assert_eq!(paused(429, 86_400), Some(seconds(3600)));
        assert_eq!(paused(500, 60), None, "that is for its own delivery only");
    }

    #[test]
    fn an_endpoint_that_does_not_work_is_paused_for_a_quarter_of_its_outage() {
        let down = Outcome::Failure(Failure::Refused);
        let paused = |at| after(failing(), &down, at).paused_until;
        assert_eq!(paused(seconds(29)), None);
        assert_eq!(
            paused(seconds(30)),
            Some(seconds(37).plus(Duration::from_millis(500)))
        );
        assert_eq!(paused(seconds(400)), Some(seconds(500)));
        assert_eq!(paused(seconds(7200)), Some(seconds(7920)));
        let refused = |outcome| after(failing(), &outcome, seconds(400)).paused_until;
        assert_eq!(refused(answer(400)), None, "it answers");
        assert_eq!(refused(Outcome::Failure(Failure::Blocked)), None);
        assert_eq!(refused(answer(503)), Some(seconds(500)));
        let alone = Health {
            failed_first: Some(OTHER),
            ..failing()
        };
        let paused = after(alone, &down, seconds(400)).paused_until;
        assert_eq!(paused, None, "one message alone says nothing of the others");
    }

    #[test]
    fn an_attempt_that_finds_out_in_vain_sets_the_next_pause() {
        let paused = Health {
            paused_until: Some(seconds(400)),
            ..failing()
        };
        let Admission::Probe(probing) = paused.admit(seconds(400)) else {
            panic!("the pause is over");
        };
        let next = |outcome| after(probing, &outcome, seconds(400)).paused_until;
        assert_eq!(next(answer(500)), Some(seconds(500)));
        assert_eq!(next(asking(429, Some(1))), Some(seconds(401)));
        assert_eq!(next(asking(429, Some(60))), Some(seconds(460)));
        assert_eq!(next(answer(429)), Some(seconds(500)));
        let of_several = Health {
            failed_first: None,
            ..probing
        };
        let next = after(of_several, &answer(500), seconds(400)).paused_until;
        assert_eq!(next, Some(seconds(500)), "whichever message finds out");
    }

    #[test]
    fn one_attempt_finds_out_and_others_wait_for_it() {
        let paused = after(Health::default(), &answer(429), NOW);
        let Admission::Probe(probing) = paused.admit(seconds(5)) else {
            panic!("the pause is over");
        };
        assert_eq!(probing.admit(seconds(5)), Admission::Wait(seconds(40)));
        assert_eq!(after(probing, &answer(200), seconds(6)), Health::default());
        let alive = after(probing, &answer(404), seconds(6));
        assert_eq!(alive.admit(seconds(6)), Admission::Go);
    }

    #[test]
    fn slow_endpoints_enter_their_lane_and_leave_it_with_a_quick_success() {
        let slow = Health::default().slowed(seconds(2)).unwrap();
        assert_eq!(
            (Health::default().lane(), slow.lane()),
            (Lane::Fast, Lane::Slow)
        );
        assert_eq!(slow.slowed(seconds(20)), None, "that is known");
        assert!(slow.slowed(seconds(40)).is_some());
        assert_eq!(after(slow, &answer(200), seconds(61)).lane(), Lane::Slow);
        assert_eq!(after(slow, &answer(500), seconds(63)).lane(), Lane::Slow);
        assert_eq!(after(slow, &answer(200), seconds(63)), Health::default());
        let attempt = Observation {
            outcome: &answer(200),
            message: ONE,
            started_at: seconds(63),
            ended_at: seconds(66),
        };
        let verdict = slow.after(attempt, DAY);
        assert!(matches!(verdict, Verdict::Changed(still) if still.lane() == Lane::Slow));
    }

    proptest! {
        /// Whatever its attempts returned, there is always a time at which another one may be made,
        /// at most an hour away, and a success then makes it healthy.
        #[test]
        fn no_endpoint_is_left_alone_for_ever(steps in prop::collection::vec((0_u64..4000, 0_usize..6), 1..60)) {
            let outcomes = [answer(200), answer(429), asking(429, Some(86_400)), answer(500), answer(400),
                Outcome::Failure(Failure::Timeout)];
            let (mut health, mut at) = (Health::default(), NOW);
            for (wait, outcome) in steps {
                at = at.plus(Duration::from_secs(wait));
                match health.admit(at) {
                    Admission::Wait(until) => {
                        prop_assert!(until.since(at) <= MAX_ASKED_PAUSE);
                        continue;
                    }
                    Admission::Probe(probing) => health = probing,
                    Admission::Go => {}
                }
                match verdict(health, &outcomes[outcome], at) {
                    Verdict::AsBefore => {}
                    Verdict::Changed(after) => health = after,
                    Verdict::Disable(..) => break,
                }
            }
            let later = at.plus(MAX_ASKED_PAUSE);
            prop_assert!(!matches!(health.admit(later), Admission::Wait(_)));
            prop_assert_eq!(after(health, &answer(200), later.plus(SLOW_FOR)), Health::default());
        }
    }
}
