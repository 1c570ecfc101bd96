//! Event types: the catalogue of what an organization sends.

use serde::{Deserialize, Serialize};

use crate::{
    name::{EventTypeName, FeatureFlag},
    timestamp::Timestamp,
};

/// An event type, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventType {
    /// Its name, unique in the organization.
    pub name: EventTypeName,
    /// What it means, for people.
    pub description: String,
    /// Hidden from lists, still usable.
    #[serde(default)]
    pub archived: bool,
    /// Marked as going away.
    #[serde(default)]
    pub deprecated: bool,
    /// JSON Schemas by version, as JSON text: kept byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schemas: Option<String>,
    /// The feature that must be on for it to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_flag: Option<FeatureFlag>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}
