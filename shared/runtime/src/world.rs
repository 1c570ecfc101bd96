//! The clock and random bytes, which handlers pass to the domain.

use std::time::{Duration, SystemTime};

use posthorn_domain::timestamp::Timestamp;

/// The current time.
#[expect(
    clippy::disallowed_methods,
    reason = "the only place that reads the clock"
)]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The longest timeout of a function (AWS Lambda: "Configure Lambda function timeout").
const LONGEST_INVOCATION: Duration = Duration::from_secs(900);

/// When an invocation must end, from the runtime's deadline in milliseconds. A deadline that is
/// already past counts as none, because cargo-lambda sends such.
pub fn deadline(millis: u64) -> Timestamp {
    deadline_at(millis, now())
}

fn deadline_at(millis: u64, now: Timestamp) -> Timestamp {
    let named = Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX));
    if named > now {
        named
    } else {
        now.plus(LONGEST_INVOCATION)
    }
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has none: no id or secret may be created without them.
#[expect(
    clippy::expect_used,
    reason = "no id or secret may be created without random bytes"
)]
pub fn entropy<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    bytes
}

/// A random number from 0 to 1, for jitter.
pub fn jitter() -> f64 {
    f64::from(u32::from_be_bytes(entropy())) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_is_past_is_none() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let soon = now.plus(Duration::from_secs(60));
        assert_eq!(deadline_at(1_700_000_060_000, now), soon);
        assert_eq!(deadline_at(600_000, now), now.plus(LONGEST_INVOCATION));
    }
}
