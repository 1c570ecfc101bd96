//! Slots that this process reserved at fast endpoints and did not use yet.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use posthorn_domain::{
    health::Lane,
    id::EndpointId,
    rate::{Pace, Timing},
    timestamp::Timestamp,
};

/// The slots, by endpoint.
#[derive(Debug, Default)]
pub struct Slots(Mutex<HashMap<EndpointId, VecDeque<Timestamp>>>);

impl Slots {
    /// The next slot at an endpoint that is not past.
    pub(crate) fn take(&self, endpoint: &EndpointId, now: Timestamp) -> Option<Timestamp> {
        let mut slots = self.lock();
        let held = slots.get_mut(endpoint)?;
        while let Some(slot) = held.pop_front() {
            if Pace::at(slot, now, Lane::Fast) != Timing::Missed {
                return Some(slot);
            }
        }
        slots.remove(endpoint);
        None
    }

    /// Keeps the slots behind `first` that were reserved with it.
    pub(crate) fn keep(&self, endpoint: &EndpointId, first: Timestamp, pace: Pace) {
        let rest = (1..pace.slots()).map(|n| first.plus(pace.every() * u32::from(n)));
        if pace.slots() > 1 {
            self.lock()
                .entry(endpoint.clone())
                .or_default()
                .extend(rest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointId, VecDeque<Timestamp>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn slots_are_used_once_and_not_when_they_are_past() {
        let (slots, endpoint) = (Slots::default(), EndpointId::new(NOW, [1; 15]));
        slots.keep(&endpoint, NOW, Pace::new(1000));
        let taken: Vec<_> = std::iter::from_fn(|| slots.take(&endpoint, NOW)).collect();
        assert_eq!(
            taken,
            [1, 2, 3].map(|ms| NOW.plus(Duration::from_millis(ms)))
        );
        slots.keep(&endpoint, NOW, Pace::new(1000));
        assert_eq!(
            slots.take(&endpoint, NOW.plus(Duration::from_secs(2))),
            None
        );
        slots.keep(&endpoint, NOW, Pace::new(100));
        assert_eq!(
            slots.take(&endpoint, NOW),
            None,
            "a slow one reserves one by one"
        );
    }
}
