//! What this process knows of endpoints beside the table, so that it writes less there.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use posthorn_domain::{endpoint::Endpoint, health::Health, id::EndpointId, timestamp::Timestamp};

/// The most endpoints that are remembered; then it begins anew.
const MAX_ENDPOINTS: usize = 10_000;

/// An endpoint that accepted something in this time is not failing when it then refuses something.
const LATELY: Duration = Duration::from_secs(10);

/// What is remembered, by endpoint.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<EndpointId, Known>>);

#[derive(Debug, Default)]
struct Known {
    succeeded_at: Option<Timestamp>,
    /// The revision on which something was noted last.
    noted: u64,
}

impl Memory {
    /// Remembers that an endpoint accepted something.
    pub(crate) fn succeeded(&self, endpoint: &EndpointId, now: Timestamp) {
        self.known(|known| known.entry(endpoint.clone()).or_default().succeeded_at = Some(now));
    }

    /// Whether a failure says no more than that an endpoint fails which accepted something just now.
    /// Endpoints that refuse some messages of many would be written at every change otherwise.
    pub(crate) fn is_needless(&self, endpoint: &Endpoint, after: Health, now: Timestamp) -> bool {
        let before = Health {
            failing_since: after.failing_since,
            failed_first: after.failed_first,
            ..endpoint.health
        };
        let known = self.lock();
        let succeeded_at = known.get(&endpoint.id).and_then(|known| known.succeeded_at);
        after == before && succeeded_at.is_some_and(|at| now.since(at) < LATELY)
    }

    /// Whether an attempt of this process is the first to note something on this revision: of those
    /// that are under way together, only one write can succeed.
    pub(crate) fn is_first(&self, endpoint: &Endpoint) -> bool {
        self.known(|known| {
            let known = known.entry(endpoint.id.clone()).or_default();
            let is_first = known.noted < endpoint.revision;
            known.noted = known.noted.max(endpoint.revision);
            is_first
        })
    }

    /// Lets another attempt note something: this one could not.
    pub(crate) fn forget(&self, endpoint: &EndpointId) {
        self.lock().remove(endpoint);
    }

    fn known<T>(&self, change: impl FnOnce(&mut HashMap<EndpointId, Known>) -> T) -> T {
        let mut known = self.lock();
        if known.len() >= MAX_ENDPOINTS {
            known.clear();
        }
        change(&mut known)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
