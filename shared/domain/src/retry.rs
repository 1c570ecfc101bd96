//! When the next attempt of a delivery is made, and how its task waits.

use std::{str::FromStr, time::Duration};

use crate::timestamp::Timestamp;

/// The longest delay that SQS supports (`DelaySeconds`, Amazon SQS: SendMessage).
pub const MAX_QUEUE_DELAY: Duration = Duration::from_secs(900);

/// How much jitter changes a wait, up or down: by a fifth of it.
const JITTER: f64 = 0.2;

/// The longest wait that an endpoint may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// How long an endpoint asks to be left alone: the value of its `Retry-After`, whole seconds or an
/// HTTP date (RFC 9110, section 10.2.3), at most 24 hours. Anything else is ignored.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is more than a day in any case.
        (!value.is_empty()).then(|| Duration::from_secs(value.parse().unwrap_or(u64::MAX)))?
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        let since_epoch = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(millis).since(now)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The waits between the attempts of a delivery; there is one more attempt than waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

/// The text is not a list of seconds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a whole number of seconds; expected a list as `5,300,1800`")]
pub struct ScheduleError(String);

impl RetrySchedule {
    /// When to retry after the attempt with this number (from 0) failed; `None` when it was the
    /// last.
    ///
    /// `jitter` is from 0 to 1 and spreads the wait over ±20 %, so that endpoints that failed
    /// together are not retried together.
    pub fn next_after(&self, attempt: u32, now: Timestamp, jitter: f64) -> Option<Timestamp> {
        let wait = self.0.get(usize::try_from(attempt).ok()?)?;
        let factor = 1.0 - JITTER + 2.0 * JITTER * jitter.clamp(0.0, 1.0);
        Some(now.plus(wait.mul_f64(factor)))
    }
}

impl Default for RetrySchedule {
    /// After 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h.
    fn default() -> Self {
        Self(
            [5, 300, 1800, 7200, 18_000, 36_000, 36_000]
                .map(Duration::from_secs)
                .to_vec(),
        )
    }
}

impl FromStr for RetrySchedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let seconds = |part: &str| {
            part.trim()
                .parse()
                .map_err(|_| ScheduleError(part.to_owned()))
        };
        text.split(',')
            .filter(|_| !text.trim().is_empty())
            .map(|part| seconds(part).map(Duration::from_secs))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// How a task waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// In the queue, for this many whole seconds (0 to 900).
    Queue {
        /// SQS `DelaySeconds`.
        seconds: u16,
    },
    /// As a row of the schedule table, until the scheduler queues it.
    Schedule {
        /// When the task is due.
        due: Timestamp,
    },
}

/// How to wait until `due`: in the queue when it supports such a delay, else in the schedule table.
pub fn wait_until(due: Timestamp, now: Timestamp) -> Wait {
    let left = due.since(now);
    if left > MAX_QUEUE_DELAY {
        return Wait::Schedule { due };
    }
    let seconds = left.as_millis().div_ceil(1000);
    Wait::Queue {
        seconds: u16::try_from(seconds).unwrap_or(900),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn attempts_are_one_more_than_the_waits() {
        let schedule: RetrySchedule = "5,300".parse().unwrap();
        assert_eq!(
            schedule.next_after(0, NOW, 0.5),
            Some(NOW.plus(Duration::from_secs(5)))
        );
        assert_eq!(
            schedule.next_after(1, NOW, 0.5),
            Some(NOW.plus(Duration::from_secs(300)))
        );
        assert_eq!(schedule.next_after(2, NOW, 0.5), None);
        assert_eq!(
            "".parse::<RetrySchedule>().unwrap().next_after(0, NOW, 0.5),
            None
        );
    }

    #[test]
    fn a_bad_schedule_is_named() {
        let error = "5,soon".parse::<RetrySchedule>().unwrap_err();
        assert!(error.to_string().contains("`soon`"));
        assert!("5,,6".parse::<RetrySchedule>().is_err());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_up_to_a_day() {
        let seconds = |value: &str| retry_after(value, NOW).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Tue, 14 Nov 2023 22:14:20 GMT"), Some(60));
        assert_eq!(
            seconds("Tue, 14 Nov 2023 22:12:20 GMT"),
            Some(0),
            "in the past"
        );
        assert_eq!(seconds("99999999999999999999999"), Some(86_400));
        assert_eq!(seconds("Sat, 14 Nov 2099 22:14:20 GMT"), Some(86_400));
        for garbage in ["", "soon", "-5", "1.5", "Tue, 99 Nov 2023 22:14:20 GMT"] {
            assert_eq!(seconds(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn fifteen_minutes_divide_queue_and_schedule() {
        let at = |ms: u64| NOW.plus(Duration::from_millis(ms));
        assert_eq!(wait_until(at(900_000), NOW), Wait::Queue { seconds: 900 });
        assert_eq!(
            wait_until(at(900_001), NOW),
            Wait::Schedule { due: at(900_001) }
        );
        assert_eq!(wait_until(at(1), NOW), Wait::Queue { seconds: 1 });
        assert_eq!(wait_until(NOW, at(5)), Wait::Queue { seconds: 0 });
    }

    proptest! {
        #[test]
        fn jitter_stays_within_a_fifth(attempt in 0_u32..7, jitter in 0.0_f64..1.0) {
            let schedule = RetrySchedule::default();
            let wait = schedule.next_after(attempt, NOW, jitter).unwrap().since(NOW).as_secs_f64();
            let nominal = schedule.0[attempt as usize].as_secs_f64();
            prop_assert!(wait >= nominal * 0.799 && wait <= nominal * 1.201);
        }

        #[test]
        fn a_task_never_waits_less_than_asked(left in 0_u64..2_000_000) {
            let due = NOW.plus(Duration::from_millis(left));
            match wait_until(due, NOW) {
                Wait::Queue { seconds } => prop_assert!(u64::from(seconds) * 1000 >= left && seconds <= 900),
                Wait::Schedule { due: at } => prop_assert!(at == due && left > 900_000),
            }
        }
    }
}
