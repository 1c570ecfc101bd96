//! The clock and random bytes, for handlers to hand to the domain.

use std::time::SystemTime;

use posthorn_domain::timestamp::Timestamp;

/// The current time.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has none to give: no id or secret may then be made.
#[expect(
    clippy::expect_used,
    reason = "without random bytes no id or secret may be made"
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
