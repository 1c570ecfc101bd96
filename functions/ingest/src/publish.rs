//! The use case: remember a message, queue its tasks, and make a repeated request find its first.

use std::time::Duration;

use posthorn_domain::{
    application::Application,
    endpoint::Endpoint,
    error::{ApiError, FieldError},
    filter::destinations,
    id::MessageId,
    message::{Message, MessageIn, Payload},
    timestamp::Timestamp,
    token::Scope,
    trace::TraceParent,
};
use posthorn_runtime::{entropy, http::IDEMPOTENCY_KEY, now};
use posthorn_store::{Guard, Reservation};

use crate::{Ingest, Refusal};

/// The function's time-out: an unfinished request that is older ended in the middle.
const LONGEST_REQUEST: Duration = Duration::from_secs(15);

/// How long a request waits for an earlier one of its key or event that is still at work.
/// Each look is a write that fails, and is billed.
const POLL: Duration = Duration::from_millis(250);
const MAX_POLLS: u32 = 20;

/// How long an `idempotency-key` is remembered.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A request that was read and authenticated.
pub(crate) struct Publication {
    pub(crate) scope: Scope,
    pub(crate) application: Application,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) message: MessageIn,
    /// The hash of the header's value: a key may be any text.
    pub(crate) idempotency_key: Option<String>,
    pub(crate) request_hash: String,
    pub(crate) now: Timestamp,
    /// The span of this request.
    pub(crate) trace: Option<TraceParent>,
}

/// What a guard says of a request.
enum Turn {
    /// Go on, with this message id.
    Continue(Reservation),
    /// The same request was accepted before.
    Accepted(Reservation),
}

impl Ingest {
    pub(crate) async fn publish(&self, publication: Publication) -> Result<Message, Refusal> {
        let guards = publication.guards();
        let reservation = match self.reserve(&publication, &guards).await? {
            Turn::Accepted(earlier) => return Ok(publication.message(&earlier)),
            Turn::Continue(reservation) => reservation,
        };
        match self.send(&publication, &reservation).await {
            Ok(message) => {
                self.finish(&publication, &guards, &reservation, message)
                    .await
            }
            Err(fault) => {
                self.abandon(&publication, &guards, &reservation).await;
                Err(fault)
            }
        }
    }

    async fn send(
        &self,
        publication: &Publication,
        reservation: &Reservation,
    ) -> Result<Message, Refusal> {
        let Publication {
            scope,
            application,
            endpoints,
            trace,
            ..
        } = publication;
        let message = publication.message(reservation);
        let organization = &scope.organization;
        let sent = self
            .publisher
            .publish(organization, application, endpoints, message, *trace);
        Ok(sent.await?)
    }

    /// Marks the guards of a message that is stored and queued. A key belongs to this request; what
    /// the event's id stands for may be an earlier one's message.
    async fn finish(
        &self,
        publication: &Publication,
        guards: &[(Guard, Timestamp)],
        reservation: &Reservation,
        message: Message,
    ) -> Result<Message, Refusal> {
        let is_own = publication.made(&message);
        let done = Reservation {
            request_hash: publication.request_hash.clone(),
            finished: true,
            abandoned: false,
            ..reservation.clone()
        };
        for (guard, expires_at) in guards {
            if is_own || matches!(guard, Guard::EventId(_)) {
                let application = &publication.application.id;
                let messages = &self.publisher.messages;
                messages
                    .settle(application, guard, &done, *expires_at)
                    .await?;
            }
        }
        if is_own {
            Ok(message)
        } else {
            Err(exists(&message.id).into())
        }
    }

    /// Lets the repetition of a request that failed begin at once. Without this mark it waits until
    /// the request is older than any can be.
    async fn abandon(
        &self,
        publication: &Publication,
        guards: &[(Guard, Timestamp)],
        reservation: &Reservation,
    ) {
        let failed = Reservation {
            request_hash: publication.request_hash.clone(),
            abandoned: true,
            ..reservation.clone()
        };
        for (guard, expires_at) in guards {
            let application = &publication.application.id;
            let messages = &self.publisher.messages;
            if let Err(error) = messages
                .settle(application, guard, &failed, *expires_at)
                .await
            {
                tracing::warn!(%error, "a request that failed was not marked");
            }
        }
    }

    /// Reserves every guard of a request. Without one this costs nothing.
    async fn reserve(
        &self,
        publication: &Publication,
        guards: &[(Guard, Timestamp)],
    ) -> Result<Turn, Refusal> {
        let mut reservation = publication.new_reservation();
        for (guard, expires_at) in guards {
            let earlier = self
                .reserve_one(publication, guard, &reservation, *expires_at)
                .await?;
            match earlier
                .map(|earlier| judge(guard, earlier, &reservation))
                .transpose()?
            {
                None => {}
                Some(Turn::Continue(earlier)) => reservation = earlier,
                Some(Turn::Accepted(earlier)) => return Ok(Turn::Accepted(earlier)),
            }
        }
        Ok(Turn::Continue(reservation))
    }
}

impl Ingest {
    /// What an earlier request left, after it had some time to end.
    async fn reserve_one(
        &self,
        publication: &Publication,
        guard: &Guard,
        reservation: &Reservation,
        expires_at: Timestamp,
    ) -> Result<Option<Reservation>, Refusal> {
        let application = &publication.application.id;
        for _ in 0..MAX_POLLS {
            let messages = &self.publisher.messages;
            let earlier = messages
                .reserve(application, guard, reservation, expires_at)
                .await?;
            let at_work = |earlier: &Reservation| {
                let is_over = earlier.finished || earlier.abandoned;
                !is_over && now().since(earlier.created_at) < LONGEST_REQUEST
            };
            if !earlier.as_ref().is_some_and(at_work) {
                return Ok(earlier);
            }
            tokio::time::sleep(POLL).await;
        }
        // Clients repeat a 503, and no other refusal.
        Err(ApiError::Unavailable.into())
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
        Guard::EventId(_) if earlier.finished => Err(exists(&earlier.message)),
        // The earlier try ended somewhere before its mark, and its caller may have got no answer:
        // what it began is completed, under its message id.
        Guard::IdempotencyKey(_) | Guard::EventId(_) => Ok(Turn::Continue(earlier)),
    }
}

fn exists(message: &MessageId) -> ApiError {
    ApiError::Conflict(format!("a message with this eventId exists: {message}"))
}

impl Publication {
    fn guards(&self) -> Vec<(Guard, Timestamp)> {
        let key = self.idempotency_key.clone().map(Guard::IdempotencyKey);
        let event_id = self.message.event_id.clone().map(Guard::EventId);
        let key = key.map(|guard| (guard, self.now.plus(KEY_LIFETIME)));
        let event_id = event_id.map(|guard| (guard, self.expires_at(self.now)));
        key.into_iter().chain(event_id).collect()
    }

    fn expires_at(&self, created_at: Timestamp) -> Timestamp {
        self.message
            .payload_retention_period
            .unwrap_or_default()
            .end(created_at)
    }

    fn new_reservation(&self) -> Reservation {
        Reservation {
            message: MessageId::new(self.now, entropy()),
            created_at: self.now,
            request_hash: self.request_hash.clone(),
            finished: false,
            abandoned: false,
        }
    }

    /// Whether a stored message is this request's, and not that of an earlier try with another body.
    fn made(&self, message: &Message) -> bool {
        let is_own = |payload: &Payload| *payload == self.message.payload;
        message.event_type == self.message.event_type && message.payload.as_ref().is_none_or(is_own)
    }

    fn message(&self, reservation: &Reservation) -> Message {
        let MessageIn {
            event_type,
            payload,
            event_id,
            channels,
            tags,
            ..
        } = &self.message;
        Message {
            id: reservation.message.clone(),
            event_type: event_type.clone(),
            event_id: event_id.clone(),
            channels: channels.clone(),
            tags: tags.clone(),
            payload: Some(payload.clone()),
            destinations: destinations(&self.endpoints, event_type, channels.as_ref()),
            created_at: reservation.created_at,
            expires_at: self.expires_at(reservation.created_at),
        }
    }
}
