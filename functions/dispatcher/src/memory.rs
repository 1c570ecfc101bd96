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

/// How long a write on a revision may take: afterwards another attempt may write.
const WRITING: Duration = Duration::from_secs(5);

/// What is remembered, by endpoint.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<EndpointId, Known>>);

#[derive(Debug, Default)]
struct Known {
    succeeded_at: Option<Timestamp>,
    /// The revision on which something was noted last, and when.
    noted: Option<(u64, Timestamp)>,
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
    pub(crate) fn is_first(&self, endpoint: &Endpoint, now: Timestamp) -> bool {
        self.known(|known| {
            let known = known.entry(endpoint.id.clone()).or_default();
            let is_first = known.noted.is_none_or(|(revision, at)| {
                revision < endpoint.revision || now.since(at) >= WRITING
            });
            if is_first {
                known.noted = Some((endpoint.revision, now));
            }
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

#[cfg(test)]
mod tests {
    use posthorn_domain::{health::MessageMark, id::MessageId};
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn endpoint() -> Endpoint {
        let endpoint = json!({
            "id": EndpointId::new(NOW, [1; 15]), "url": "https://example.com/", "revision": 1,
            "sealed": { "plain": "" }, "created_at": NOW, "updated_at": NOW,
        });
        serde_json::from_value(endpoint).unwrap()
    }

    #[test]
    fn a_failure_right_after_a_success_is_not_written_and_a_pause_is() {
        let (memory, endpoint) = (Memory::default(), endpoint());
        let failing = Health {
            failing_since: Some(NOW),
            failed_first: Some(MessageMark::of(&MessageId::new(NOW, [1; 15]))),
            ..Health::default()
        };
        assert!(
            !memory.is_needless(&endpoint, failing, NOW),
            "nothing is known"
        );
        memory.succeeded(&endpoint.id, NOW);
        assert!(memory.is_needless(&endpoint, failing, NOW.plus(LATELY / 2)));
        assert!(!memory.is_needless(&endpoint, failing, NOW.plus(LATELY)));
        let paused = Health {
            paused_until: Some(NOW.plus(LATELY)),
            ..failing
        };
        assert!(!memory.is_needless(&endpoint, paused, NOW));
    }

    #[test]
    fn one_attempt_of_a_process_writes_on_a_revision_unless_it_could_not() {
        let (memory, first) = (Memory::default(), endpoint());
        let mut second = endpoint();
        second.revision = 2;
        let is_first = |endpoint| memory.is_first(endpoint, NOW);
        assert_eq!([is_first(&first), is_first(&first)], [true, false]);
        assert_eq!([is_first(&second), is_first(&first)], [true, false]);
        memory.forget(&second.id);
        assert!(is_first(&second));
        assert!(
            memory.is_first(&second, NOW.plus(WRITING)),
            "nobody waits for ever"
        );
    }
}
