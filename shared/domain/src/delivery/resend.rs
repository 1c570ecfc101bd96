//! One resend at a time: while the attempt of a resend is pending, another resend is refused.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Delivery;
use crate::{id::JobId, timestamp::Timestamp};

/// How long a resend blocks others if its attempt is not recorded: its task was lost, or waits for
/// a paused endpoint.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A resend of a message to an endpoint. It is stored next to the delivery, so that other attempts
/// do not pay for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resend {
    /// The request that asked for it.
    #[serde(rename = "j")]
    pub job: JobId,
    /// It blocks others no longer than until this time.
    #[serde(rename = "u")]
    pub until: Timestamp,
}

impl Resend {
    /// A resend that is requested now.
    pub fn new(job: JobId, now: Timestamp) -> Self {
        let until = now.plus(LONGEST_WAIT);
        Self { job, until }
    }

    /// Whether it was pending when a request arrived at `now`. An attempt that ended later was
    /// still in progress then, so of many simultaneous requests only one is carried out.
    pub fn is_pending(&self, delivery: Option<&Delivery>, now: Timestamp) -> bool {
        let mut attempts = delivery.iter().flat_map(|delivery| &delivery.attempts);
        match attempts.find(|attempt| attempt.job.as_ref() == Some(&self.job)) {
            _ if self.until <= now => false,
            Some(attempt) => now < attempt.ended_at(),
            None => true,
        }
    }
}
