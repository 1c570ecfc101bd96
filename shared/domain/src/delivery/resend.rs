//! One resend at a time: while the attempt of one is still to come, another one is refused.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Delivery;
use crate::{id::JobId, timestamp::Timestamp};

/// How long a resend holds up others when its attempt is never recorded: its task was lost, or waits in
/// front of an endpoint that is paused.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A resend of a message to an endpoint: it is kept beside the delivery, so that it costs no other
/// attempt anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resend {
    /// Which request asked for it.
    #[serde(rename = "j")]
    pub job: JobId,
    /// It holds up others no longer than this.
    #[serde(rename = "u")]
    pub until: Timestamp,
}

impl Resend {
    /// One that is asked for now.
    pub fn new(job: JobId, now: Timestamp) -> Self {
        let until = now.plus(LONGEST_WAIT);
        Self { job, until }
    }

    /// Whether it was pending when a request came in at `now`. An attempt that ended later was still
    /// under way then: of many requests at once only one is carried out.
    pub fn is_pending(&self, delivery: Option<&Delivery>, now: Timestamp) -> bool {
        let mut attempts = delivery.iter().flat_map(|delivery| &delivery.attempts);
        match attempts.find(|attempt| attempt.job.as_ref() == Some(&self.job)) {
            _ if self.until <= now => false,
            Some(attempt) => now < attempt.ended_at(),
            None => true,
        }
    }
}
