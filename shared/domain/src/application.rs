//! Applications: the customers of the SaaS.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{id::ApplicationId, name::Uid, timestamp::Timestamp};

/// An application, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Its id.
    pub id: ApplicationId,
    /// The customer's own id, unique in the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// A name for people.
    pub name: String,
    /// Messages a second to the whole application, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_rate: Option<u16>,
    /// The customer's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Over how many partitions its messages are spread; fixed when it is created.
    pub shards: u16,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}
