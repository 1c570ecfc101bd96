//! Rates: how much a second, and how attempts are spread to keep to it.
//!
//! The attempts at an endpoint with a rate share a row of places in time, one every [`Pace::every`].
//! A dispatcher reserves places in that row (a counter in the table), and an attempt is made at its place: early
//! tasks wait, and those that come too late for theirs take another ([`Pace::at`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{health::Lane, timestamp::Timestamp};

/// Requests or messages a second: 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i64", into = "u16")]
#[schema(value_type = u16, minimum = 1, maximum = 65535)]
pub struct Rate(u16);

impl Rate {
    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    /// A rate that was checked when it was stored.
    pub(crate) fn stored(rate: u16) -> Self {
        Self(rate.max(1))
    }
}

impl TryFrom<i64> for Rate {
    type Error = &'static str;

    fn try_from(rate: i64) -> Result<Self, Self::Error> {
        match u16::try_from(rate) {
            Ok(rate @ 1..) => Ok(Self(rate)),
            _ => Err("must be from 1 to 65535"),
        }
    }
}

impl From<Rate> for u16 {
    fn from(rate: Rate) -> Self {
        rate.0
    }
}

/// Reservations a second that one item of the table is to bear: DynamoDB writes an item up to 1,000
/// times a second. Faster endpoints reserve several places at a time.
const RESERVATIONS: u16 = 250;

/// How long a dispatcher waits for a place by itself; for longer, the task goes to the slow lane's
/// queue, where dispatchers may wait for longer.
const WAIT: Duration = Duration::from_millis(100);
const WAIT_IN_SLOW_LANE: Duration = Duration::from_secs(4);

/// How much before its place a task leaves the queue, which counts whole seconds, and whose batches
/// wait for a second.
const EARLY: Duration = Duration::from_millis(2500);

/// How late an attempt may come to its place.
const LATE: Duration = Duration::from_millis(500);

/// How the attempts at an endpoint are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(u16);

/// What to do about an attempt that has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Wait for so long, then make it.
    Now(Duration),
    /// Come back then.
    Later(Timestamp),
    /// It is too late: take another place.
    Missed,
}

impl Pace {
    /// The pace of so many attempts a second, at least 1.
    pub fn new(rate: u16) -> Self {
        Self(rate.max(1))
    }

    /// Attempts a second.
    pub fn rate(self) -> u16 {
        self.0
    }

    /// The time between two places; rounded up, so that the rate is never exceeded.
    pub fn every(self) -> Duration {
        Duration::from_micros(1_000_000_u64.div_ceil(u64::from(self.0)))
    }

    /// How many places are reserved at a time.
    pub fn places(self) -> u16 {
        self.0.div_ceil(RESERVATIONS)
    }

    /// What to do about an attempt that has this place, in a lane.
    pub fn at(place: Timestamp, now: Timestamp, lane: Lane) -> Timing {
        let wait = place.since(now);
        let patience = match lane {
            Lane::Fast => WAIT,
            Lane::Slow => WAIT_IN_SLOW_LANE,
        };
        if now.since(place) > LATE {
            Timing::Missed
        } else if wait > patience {
            Timing::Later(place.minus(EARLY))
        } else {
            Timing::Now(wait)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn places_keep_to_the_rate_within_a_tenth() {
        for rate in 1..=u16::MAX {
            let a_second = 1_000_000.0 / Pace::new(rate).every().as_micros() as f64;
            let share = a_second / f64::from(rate);
            assert!((0.9..=1.0).contains(&share), "{rate}: {a_second}");
        }
    }

    #[test]
    fn fast_endpoints_reserve_several_places_at_a_time() {
        assert_eq!(
            [1, 250, 251, 65_535].map(|rate| Pace::new(rate).places()),
            [1, 1, 2, 263]
        );
    }

    #[test]
    fn an_attempt_is_made_at_its_place() {
        let ms = |ms: i64| Timestamp::from_millis(NOW.as_millis() + ms);
        let timing = |at| Pace::at(ms(at), NOW, Lane::Slow);
        assert_eq!(timing(4000), Timing::Now(Duration::from_secs(4)));
        assert_eq!(timing(-500), Timing::Now(Duration::ZERO));
        assert_eq!(timing(-501), Timing::Missed);
        assert_eq!(timing(5000), Timing::Later(ms(2500)));
        let in_fast_lane = Pace::at(ms(1000), NOW, Lane::Fast);
        assert_eq!(in_fast_lane, Timing::Later(ms(-1500)), "without a delay");
    }
}
