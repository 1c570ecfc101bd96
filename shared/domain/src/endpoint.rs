//! Endpoints: where an application's messages go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::EndpointId,
    list::UniqueList,
    name::{Channel, EventTypeName, Uid},
    signing::EndpointSecret,
    timestamp::Timestamp,
};

/// The channels that an endpoint listens to: 1 to 10.
pub type EndpointChannels = UniqueList<Channel, 1, 10>;

/// The event types that an endpoint wants: 1 to 500. The contract has no upper bound; each is looked
/// up when it is set, so there must be one.
pub type EndpointEventTypes = UniqueList<EventTypeName, 1, 500>;

/// An endpoint, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The customer's own id, unique in the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Where attempts are posted.
    pub url: String,
    /// A note for people.
    #[serde(default)]
    pub description: String,
    /// Only these event types; `None` means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_types: Option<EndpointEventTypes>,
    /// Only messages with one of these channels; `None` means all messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<EndpointChannels>,
    /// Whether it receives nothing for now.
    #[serde(default)]
    pub disabled: bool,
    /// Attempts a second, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_rate: Option<u16>,
    /// The customer's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The key that signs its attempts.
    pub secret: EndpointSecret,
    /// Counts changes, from 1. A task carries the revision that ingest saw, so that a dispatcher
    /// notices an eventually consistent read that is older.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}
