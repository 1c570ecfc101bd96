//! Applications: the customers of the SaaS.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    id::{ApplicationId, OrganizationId},
    key::LogKey,
    name::Uid,
    shard::DEFAULT_SHARDS,
    timestamp::Timestamp,
};

/// The uid of the built-in application that receives an organization's operational events.
pub const OPERATIONAL_UID: &str = "posthorn.operational";

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
    /// Messages per second to the whole application, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_rate: Option<u16>,
    /// The customer's own notes.
    #[serde(default, with = "crate::json_text")]
    pub metadata: BTreeMap<String, String>,
    /// The number of partitions that its messages are spread over; fixed when it is created.
    pub shards: u16,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Whether its deletion has started: from then on it is not found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

impl Application {
    /// The address of its messages.
    pub fn log(&self) -> LogKey<'_> {
        LogKey {
            application: &self.id,
            shards: self.shards,
        }
    }

    /// The built-in application of an organization: operators subscribe endpoints to it and receive
    /// the events of [`crate::operational`]. Its id is derived from the organization's, so it need
    /// not be looked up.
    pub fn operational(organization: &OrganizationId) -> Self {
        let created_at = Timestamp::from_millis(0);
        Self {
            id: ApplicationId::operational(organization),
            uid: Uid::try_from(OPERATIONAL_UID.to_owned()).ok(),
            name: "Operational events".to_owned(),
            throttle_rate: None,
            metadata: BTreeMap::new(),
            shards: DEFAULT_SHARDS,
            created_at,
            updated_at: created_at,
            deleted: false,
        }
    }
}

/// The time of a change. It is also the version that a write is conditional on, so it advances even
/// within a millisecond.
pub fn next_version(before: Timestamp, now: Timestamp) -> Timestamp {
    now.max(before.plus(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn the_operational_application_follows_from_the_organization() {
        let organization = OrganizationId::new(NOW, [1; 15]);
        let application = Application::operational(&organization);
        assert_eq!(application, Application::operational(&organization));
        assert_eq!(application.id.as_str()[4..], organization.as_str()[4..]);
        assert_eq!(application.uid.unwrap().as_str(), OPERATIONAL_UID);
    }
}
