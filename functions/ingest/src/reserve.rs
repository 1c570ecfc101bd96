//! Guards: through them a repeated request, or a second message with the same `eventId`, finds the
//! first one.

use std::time::Duration;

use posthorn_contract::{ApiError, Refusal, http::IDEMPOTENCY_KEY};
use posthorn_domain::{error::FieldError, timestamp::Timestamp};
use posthorn_publish::Target;
use posthorn_runtime::now;
use posthorn_store::{Guard, Reservation};

use crate::{
    Ingest,
    submission::{LONGEST_PART, Reserved, Submission, exists},
};

/// The function's timeout: an unfinished request that is older was interrupted.
const LONGEST_REQUEST: Duration = Duration::from_secs(15);

/// How long a request waits for an earlier one with its key or event that is still running. Each
/// poll is a write that fails, and is billed.
const POLL: Duration = Duration::from_millis(250);
const MAX_POLLS: u32 = 20;

/// How long an `idempotency-key` is remembered.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How a request continues after its guards.
pub(crate) enum Turn {
    /// Continue, with this message id.
    Continue(Reservation),
    /// The same request was accepted earlier.
    Accepted(Reservation),
}

impl Ingest {
    /// Reserves every guard of a request. Costs nothing for a request without guards.
    pub(crate) async fn reserve(
        &self,
        target: &Target,
        submission: &Submission,
        guards: &[(Guard, Timestamp)],
    ) -> Result<Turn, Refusal> {
        let mut reservation = submission.new_reservation();
        for (taken, (guard, expires_at)) in guards.iter().enumerate() {
            let until = submission.deadline.minus(LONGEST_PART);
            let turn = self
                .reserve_one(target, guard, &reservation, (*expires_at, until))
                .await
                .and_then(|earlier| match earlier {
                    None => Ok(Turn::Continue(reservation.clone())),
                    Some(earlier) => Ok(judge(guard, earlier, &reservation)?),
                });
            match turn {
                Ok(Turn::Continue(next)) => reservation = next,
                Ok(Turn::Accepted(earlier)) => return Ok(Turn::Accepted(earlier)),
                Err(refusal) => {
                    let guards = guards[..taken].to_vec();
                    let reserved = Reserved {
                        guards,
                        reservation,
                    };
                    self.abandon(target, submission, &reserved).await;
                    return Err(refusal);
                }
            }
        }
        Ok(Turn::Continue(reservation))
    }

    /// What an earlier request left in a guard, after waiting some time for it to finish.
    async fn reserve_one(
        &self,
        target: &Target,
        guard: &Guard,
        reservation: &Reservation,
        (expires_at, until): (Timestamp, Timestamp),
    ) -> Result<Option<Reservation>, Refusal> {
        for _ in 0..MAX_POLLS {
            let earlier = self
                .guards
                .reserve(&target.application.id, guard, reservation, expires_at)
                .await?;
            let at_work = |earlier: &Reservation| {
                let is_over = earlier.finished || earlier.abandoned;
                !is_over && now().since(earlier.created_at) < LONGEST_REQUEST
            };
            if !earlier.as_ref().is_some_and(at_work) {
                return Ok(earlier);
            }
            if now() > until {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        // Clients retry after a 503, but after no other refusal.
        Err(ApiError::Unavailable.into())
    }

    /// Marks the guards of a message that is stored and queued. If the event's id already stands
    /// for an earlier request's message, this one is refused, and its key is freed.
    pub(crate) async fn finish(
        &self,
        target: &Target,
        submission: &Submission,
        reserved: &Reserved,
        is_own: bool,
    ) -> Result<(), Refusal> {
        let done = Reservation {
            request_hash: submission.request_hash.clone(),
            finished: true,
            abandoned: false,
            ..reserved.reservation.clone()
        };
        let refused = Reservation {
            abandoned: true,
            ..submission.new_reservation()
        };
        for (guard, expires_at) in &reserved.guards {
            let outcome = match guard {
                Guard::IdempotencyKey(_) if !is_own => &refused,
                Guard::IdempotencyKey(_) | Guard::EventId(_) => &done,
            };
            self.guards
                .settle(&target.application.id, guard, outcome, *expires_at)
                .await?;
        }
        Ok(())
    }

    /// Lets a repetition of a failed request start at once. Without this mark it waits until the
    /// failed request is older than the function's timeout.
    pub(crate) async fn abandon(
        &self,
        target: &Target,
        submission: &Submission,
        reserved: &Reserved,
    ) {
        let failed = Reservation {
            request_hash: submission.request_hash.clone(),
            abandoned: true,
            ..reserved.reservation.clone()
        };
        for (guard, expires_at) in &reserved.guards {
            if let Err(error) = self
                .guards
                .settle(&target.application.id, guard, &failed, *expires_at)
                .await
            {
                tracing::warn!(%error, "a failed request could not be marked");
            }
        }
    }
}

/// Decides what an earlier reservation of a guard means for this request.
fn judge(guard: &Guard, earlier: Reservation, this: &Reservation) -> Result<Turn, ApiError> {
    let is_same_request = earlier.request_hash == this.request_hash;
    match guard {
        Guard::IdempotencyKey(_) if !is_same_request => {
            let msg = "was used before with another request body";
            Err(FieldError::at("header", IDEMPOTENCY_KEY, msg).into())
        }
        Guard::IdempotencyKey(_) if earlier.finished => Ok(Turn::Accepted(earlier)),
        // A record of the messages queue that is received again has the same message id. A request
        // that continues with an earlier id may have a different body from what is stored: `made`
        // checks that.
        Guard::EventId(_) if earlier.finished && earlier.message == this.message => {
            match this.request_hash.is_empty() {
                true => Ok(Turn::Accepted(earlier)),
                false => Ok(Turn::Continue(earlier)),
            }
        }
        Guard::EventId(_) if earlier.finished => Err(exists(&earlier.message)),
        // The earlier try was interrupted, and its caller may have got no answer: its work is
        // completed here, under its message id.
        Guard::IdempotencyKey(_) | Guard::EventId(_) => Ok(Turn::Continue(earlier)),
    }
}

impl Submission {
    pub(crate) fn guards(&self) -> Vec<(Guard, Timestamp)> {
        let key = self.idempotency_key.clone().map(Guard::IdempotencyKey);
        let event_id = self.message.event_id.clone().map(Guard::EventId);
        let key = key.map(|guard| (guard, self.at.plus(KEY_LIFETIME)));
        let event_id = event_id.map(|guard| (guard, self.expires_at(self.at)));
        key.into_iter().chain(event_id).collect()
    }

    fn new_reservation(&self) -> Reservation {
        Reservation {
            message: self.id.clone(),
            created_at: self.at,
            request_hash: self.request_hash.clone(),
            finished: false,
            abandoned: false,
        }
    }
}
