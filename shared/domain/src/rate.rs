//! Rates: how many attempts per second, and how they are spread to respect that.
//!
//! The attempts at an endpoint with a rate share a row of slots, one every [`Pace::every`]. A
//! dispatcher reserves slots in that row (a counter in the table), and an attempt is made at its
//! slot: early tasks wait, and those that miss their slot reserve another one ([`Pace::at`]). No
//! task reserves a slot that it could not reach ([`Pace::out_of_reach`]), because that slot would
//! be wasted.

use std::{ops::Range, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{health::Lane, timestamp::Timestamp};

/// Requests or messages per second: 1 to 65535.
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
    pub fn stored(rate: u16) -> Self {
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

/// The most reservations per second on one item of the table: DynamoDB writes an item up to 1,000
/// times per second. For faster endpoints, several slots are reserved at a time.
const RESERVATIONS: u16 = 250;

/// How long a dispatcher itself waits for a slot. For a longer wait, the task goes to the slow
/// lane's queue, whose dispatchers may wait longer.
const WAIT: Duration = Duration::from_millis(100);
const WAIT_IN_SLOW_LANE: Duration = Duration::from_secs(4);

/// How long before its slot a task leaves the queue: delays are whole seconds and batches wait for
/// a second; the rest is for transport and for starting a function.
const EARLY: Duration = Duration::from_millis(3500);

/// How far ahead a slot must be for a task to reach it through the queue.
const DETOUR: Duration = Duration::from_secs(4);

/// How late an attempt may be for its slot.
const LATE: Duration = Duration::from_millis(500);

/// How the attempts at an endpoint are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(u16);

/// What to do about an attempt that has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Make it at its slot, which is near or just past.
    Now,
    /// Come back at this time.
    Later(Timestamp),
    /// It is too late: reserve another slot.
    Missed,
}

impl Pace {
    /// The pace for this many attempts per second, at least 1.
    pub fn new(rate: u16) -> Self {
        Self(rate.max(1))
    }

    /// Attempts per second.
    pub fn rate(self) -> u16 {
        self.0
    }

    /// The time between two slots; rounded up, so that the rate is never exceeded.
    pub fn every(self) -> Duration {
        Duration::from_micros(1_000_000_u64.div_ceil(u64::from(self.0)))
    }

    /// How many slots are reserved at a time.
    pub fn slots(self) -> u16 {
        self.0.div_ceil(RESERVATIONS)
    }

    /// What to do about an attempt that has this slot, in a lane.
    pub fn at(slot: Timestamp, now: Timestamp, lane: Lane) -> Timing {
        let wait = slot.since(now);
        if now.since(slot) > LATE {
            Timing::Missed
        } else if wait > patience(lane) {
            Timing::Later(slot.minus(EARLY))
        } else {
            Timing::Now
        }
    }

    /// The distances of slots that a task in this lane could not reach in time: too far ahead to
    /// wait here, and too near to go back into the queue. In the slow lane there are none.
    pub fn out_of_reach(lane: Lane) -> Range<Duration> {
        patience(lane)..DETOUR
    }
}

fn patience(lane: Lane) -> Duration {
    match lane {
        Lane::Fast => WAIT,
        Lane::Slow => WAIT_IN_SLOW_LANE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn slots_keep_to_the_rate_within_a_tenth() {
        for rate in 1..=u16::MAX {
            let a_second = 1_000_000.0 / Pace::new(rate).every().as_micros() as f64;
            let share = a_second / f64::from(rate);
            assert!((0.9..=1.0).contains(&share), "{rate}: {a_second}");
        }
    }

    #[test]
    fn fast_endpoints_reserve_several_slots_at_a_time() {
        assert_eq!(
            [1, 250, 251, 65_535].map(|rate| Pace::new(rate).slots()),
            [1, 1, 2, 263]
        );
    }

    #[test]
    fn an_attempt_is_made_at_its_slot() {
        let ms = |ms: i64| Timestamp::from_millis(NOW.as_millis() + ms);
        let timing = |at| Pace::at(ms(at), NOW, Lane::Slow);
        assert_eq!(timing(4000), Timing::Now);
        assert_eq!(timing(-500), Timing::Now);
        assert_eq!(timing(-501), Timing::Missed);
        assert_eq!(timing(5000), Timing::Later(ms(1500)));
    }

    #[test]
    fn a_reserved_slot_is_waited_for_or_come_back_for_in_time() {
        // Delays are rounded up to a second, and the slow lane's batches wait for another.
        let rounding_and_window = Duration::from_secs(2);
        for lane in [Lane::Fast, Lane::Slow] {
            let out_of_reach = Pace::out_of_reach(lane);
            for wait in (0..10_000).step_by(50).map(Duration::from_millis) {
                let is_behind = wait > out_of_reach.start && wait >= out_of_reach.end;
                let slot = NOW.plus(wait);
                match Pace::at(slot, NOW, lane) {
                    Timing::Now => assert!(wait <= out_of_reach.start),
                    Timing::Later(back) if is_behind => {
                        assert!(back > NOW && slot.since(back) > rounding_and_window);
                    }
                    Timing::Later(_) => {
                        assert!(out_of_reach.contains(&wait) || wait == out_of_reach.start)
                    }
                    Timing::Missed => panic!("{wait:?} ahead"),
                }
            }
        }
        assert!(Pace::out_of_reach(Lane::Slow).is_empty());
    }
}
