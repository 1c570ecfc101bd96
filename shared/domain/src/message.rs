//! Messages: what a producer posts, and what is stored of it.

use serde::{Deserialize, Serialize};

use crate::{
    id::{EndpointId, MessageId},
    list::UniqueList,
    name::{Channel, EventId, EventTypeName, Tag},
    payload::Payload,
    timestamp::Timestamp,
};

/// The largest payload: 256 KiB, counted as it is delivered.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// The channels of a message: 1 to 10, as newer official clients may send. The contract's server takes 5.
pub type MessageChannels = UniqueList<Channel, 1, 10>;

/// The tags of a message: 1 to 5.
pub type MessageTags = UniqueList<Tag, 1, 5>;

/// Days that a message is kept: 5 to 90, by default 90.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct RetentionDays(u16);

impl RetentionDays {
    /// When a message that was created at this time may be removed.
    pub fn end(self, created_at: Timestamp) -> Timestamp {
        created_at.plus(std::time::Duration::from_secs(u64::from(self.0) * 86_400))
    }
}

impl Default for RetentionDays {
    fn default() -> Self {
        Self(90)
    }
}

impl TryFrom<i64> for RetentionDays {
    type Error = &'static str;

    fn try_from(days: i64) -> Result<Self, Self::Error> {
        match u16::try_from(days) {
            Ok(days @ 5..=90) => Ok(Self(days)),
            _ => Err("must be from 5 to 90"),
        }
    }
}

/// An endpoint that a message was meant for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The endpoint.
    #[serde(rename = "e")]
    pub endpoint: EndpointId,
    /// Why nothing is sent to it, if so.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkipReason>,
}

/// Why an endpoint that matches a message is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The endpoint was disabled when the message was accepted.
    Disabled,
}

/// A message, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, the `webhook-id` of its attempts.
    pub id: MessageId,
    /// The kind of event.
    pub event_type: EventTypeName,
    /// The caller's own id.
    pub event_id: Option<EventId>,
    /// Topics.
    pub channels: Option<MessageChannels>,
    /// Free labels.
    pub tags: Option<MessageTags>,
    /// What is delivered; `None` when it was expunged.
    pub payload: Option<Payload>,
    /// The endpoints considered when it was accepted, and why any was skipped.
    pub destinations: Vec<Destination>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it may be removed.
    pub expires_at: Timestamp,
}

impl Message {
    /// Whether its retention is over; the table removes it some time later.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// The destination for an endpoint, if the message was meant for it.
    pub fn destination(&self, endpoint: &EndpointId) -> Option<&Destination> {
        self.destinations
            .iter()
            .find(|destination| destination.endpoint == *endpoint)
    }
}
