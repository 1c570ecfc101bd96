//! Places in time that this process reserved at fast endpoints and did not use yet.

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

/// The places, by endpoint.
#[derive(Debug, Default)]
pub struct Places(Mutex<HashMap<EndpointId, VecDeque<Timestamp>>>);

impl Places {
    /// The next place at an endpoint that is not past.
    pub(crate) fn take(&self, endpoint: &EndpointId, now: Timestamp) -> Option<Timestamp> {
        let mut places = self.lock();
        let held = places.get_mut(endpoint)?;
        while let Some(place) = held.pop_front() {
            if Pace::at(place, now, Lane::Fast) != Timing::Missed {
                return Some(place);
            }
        }
        places.remove(endpoint);
        None
    }

    /// Keeps the places behind `first` that were reserved with it.
    pub(crate) fn keep(&self, endpoint: &EndpointId, first: Timestamp, pace: Pace) {
        let rest = (1..pace.places()).map(|n| first.plus(pace.every() * u32::from(n)));
        if pace.places() > 1 {
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
    fn places_are_used_once_and_not_when_they_are_past() {
        let (places, endpoint) = (Places::default(), EndpointId::new(NOW, [1; 15]));
        places.keep(&endpoint, NOW, Pace::new(1000));
        let taken: Vec<_> = std::iter::from_fn(|| places.take(&endpoint, NOW)).collect();
        assert_eq!(
            taken,
            [1, 2, 3].map(|ms| NOW.plus(Duration::from_millis(ms)))
        );
        places.keep(&endpoint, NOW, Pace::new(1000));
        assert_eq!(
            places.take(&endpoint, NOW.plus(Duration::from_secs(2))),
            None
        );
        places.keep(&endpoint, NOW, Pace::new(100));
        assert_eq!(
            places.take(&endpoint, NOW),
            None,
            "a slow one reserves one by one"
        );
    }
}
