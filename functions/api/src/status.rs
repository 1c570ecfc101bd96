//! Where a delivery stands, in the contract's terms.

use posthorn_domain::{
    delivery::{Delivery, Status},
    id::EndpointId,
    message::{Message, SkipReason},
    timestamp::Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

/// `MessageStatusText` of the contract; its order is that of `MessageStatus`, a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MessageStatus {
    /// It was accepted.
    Success,
    /// Nothing was attempted yet.
    Pending,
    /// It was refused as often as it is tried, or left out: see `skipped`.
    Fail,
    /// It is tried again.
    Sending,
}

/// A delivery's standing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) status: MessageStatus,
    /// It ended without an attempt: the endpoint was disabled or deleted, or the message could not be sent any more.
    pub(crate) skipped: bool,
    pub(crate) next_attempt: Option<Timestamp>,
}

impl MessageStatus {
    pub(crate) fn number(self) -> u8 {
        self as u8
    }
}

impl Standing {
    /// Of a message at an endpoint; `None` when it was not meant for it.
    pub(crate) fn of(
        message: &Message,
        endpoint: &EndpointId,
        delivery: Option<&Delivery>,
    ) -> Option<Self> {
        let Some(delivery) = delivery else {
            let destination = message.destination(endpoint)?;
            let skipped = destination.skipped == Some(SkipReason::Disabled);
            let status = if skipped {
                MessageStatus::Fail
            } else {
                MessageStatus::Pending
            };
            return Some(Self {
                status,
                skipped,
                next_attempt: None,
            });
        };
        let status = match delivery.status {
            Status::Sending => MessageStatus::Sending,
            Status::Success => MessageStatus::Success,
            Status::Fail | Status::Skipped => MessageStatus::Fail,
        };
        Some(Self {
            status,
            skipped: delivery.status == Status::Skipped,
            next_attempt: delivery.next_attempt_at,
        })
    }
}
