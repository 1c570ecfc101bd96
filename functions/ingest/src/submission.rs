//! The types of the use case: what is submitted, and what is reserved for it.

use std::time::Duration;

use posthorn_contract::{ApiError, message::NewMessage};
use posthorn_domain::{
    filter::destinations, id::MessageId, message::Message, payload::Payload, timestamp::Timestamp,
    trace::TraceParent,
};
use posthorn_publish::Target;
use posthorn_store::{Guard, Reservation};

/// The longest time that one part of messages takes when AWS does not fail.
pub(crate) const LONGEST_PART: Duration = Duration::from_secs(4);

/// A message that was parsed and whose sender is authorised.
pub(crate) struct Submission {
    pub(crate) message: NewMessage,
    /// The hash of the header's value: a key may be any text.
    pub(crate) idempotency_key: Option<String>,
    pub(crate) request_hash: String,
    /// The id that the message gets, unless an earlier try already reserved one.
    pub(crate) id: MessageId,
    /// When it arrived.
    pub(crate) at: Timestamp,
    /// When the function times out.
    pub(crate) deadline: Timestamp,
    /// The span of this request.
    pub(crate) trace: Option<TraceParent>,
}

/// A message's guards and what they reserved.
pub(crate) struct Reserved {
    pub(crate) guards: Vec<(Guard, Timestamp)>,
    pub(crate) reservation: Reservation,
}

impl Submission {
    pub(crate) fn expires_at(&self, created_at: Timestamp) -> Timestamp {
        self.message.payload_retention_period.end(created_at)
    }

    /// Whether a stored message is this request's, not that of an earlier try with a different
    /// body.
    pub(crate) fn made(&self, message: &Message) -> bool {
        let is_own = |payload: &Payload| *payload == self.message.payload;
        message.event_type == self.message.event_type && message.payload.as_ref().is_none_or(is_own)
    }

    pub(crate) fn message(&self, target: &Target, reservation: &Reservation) -> Message {
        let NewMessage {
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
            destinations: destinations(&target.endpoints, event_type, channels.as_ref()),
            created_at: reservation.created_at,
            expires_at: self.expires_at(reservation.created_at),
        }
    }
}

pub(crate) fn exists(message: &MessageId) -> ApiError {
    ApiError::Conflict(format!("a message with this eventId exists: {message}"))
}
