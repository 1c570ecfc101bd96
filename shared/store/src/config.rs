//! The config table: what customers configure, and what the functions remember of them. Each
//! concern has a handle of its own, which [`ConfigTable`] makes.
//!
//! | pk | sk | item |
//! |---|---|---|
//! | `{org}#{app}` | `app` | the application |
//! | `{org}#{app}` | `ep#{endpoint}` | an endpoint |
//! | `{org}#{app}` | `epuid#{uid}` | the id of the endpoint with that uid |
//! | `{org}#apps` | `{app}` | a copy of the application, for lists |
//! | `{org}#appuid` | `{uid}` | the id of the application with that uid |
//! | `{org}#types` | `type#{name}` | an event type |
//! | `{org}#jobs` | `{job}` | a job over many messages; TTL |
//! | `{org}#sessions` | `{token}` | a session of the portal that was ended; TTL |
//! | `{org}#sessions#{app}` | `all`, `tag#{tag}` | the time up to which all sessions of an application, or of a tag, are ended; TTL |
//! | `tokens` | `trust` | the public keys that verify tokens, and the tokens that are revoked |
//! | `keys` | `{key}` | a data key, encrypted by KMS |
//! | `{org}#key#{hash}` | `key` | the answer to a request with this `idempotency-key`; TTL |

mod answers;
mod applications;
mod data_keys;
mod delete;
mod endpoints;
mod event_types;
mod jobs;
mod scan;
mod sessions;
mod trust;
mod uids;

use aws_sdk_dynamodb::Client;
use posthorn_domain::key::{AppKey, EndpointKey};

use crate::dynamo::{Key, Table};

pub use answers::{Answer, Answers, FAILED, Seed};
pub use applications::Applications;
pub use data_keys::{DataKeys, WrappedKey};
pub use endpoints::Endpoints;
pub use event_types::EventTypes;
pub use jobs::Jobs;
pub use scan::{ApplicationScan, Found, ScanCursor};
pub use sessions::Sessions;
pub use trust::TrustRow;

/// Makes the handles of the config table. A part of a function is given those that it needs.
#[derive(Clone, Debug)]
pub struct ConfigTable(Table);

impl ConfigTable {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self(Table::new(client, name))
    }

    /// Applications.
    pub fn applications(&self) -> Applications {
        Applications(self.0.clone())
    }

    /// Applications of all organizations.
    pub fn application_scan(&self) -> ApplicationScan {
        ApplicationScan(self.0.clone())
    }

    /// Endpoints.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints(self.0.clone())
    }

    /// Event types.
    pub fn event_types(&self) -> EventTypes {
        EventTypes(self.0.clone())
    }

    /// Jobs over many messages.
    pub fn jobs(&self) -> Jobs {
        Jobs(self.0.clone())
    }

    /// Sessions of the application portal that were ended.
    pub fn sessions(&self) -> Sessions {
        Sessions(self.0.clone())
    }

    /// Encrypted data keys.
    pub fn data_keys(&self) -> DataKeys {
        DataKeys(self.0.clone())
    }

    /// Answers to requests with an `idempotency-key`.
    pub fn answers(&self) -> Answers {
        Answers(self.0.clone())
    }

    /// Which keys verify tokens, and which tokens are revoked.
    pub fn trust(&self) -> TrustRow {
        TrustRow(self.0.clone())
    }
}

/// The partition of an application and its endpoints.
fn application_pk(app: AppKey<'_>) -> String {
    format!("{}#{}", app.organization, app.application)
}

fn application_key(app: AppKey<'_>) -> Key {
    Key::new(application_pk(app), "app")
}

/// The key of an endpoint's item.
pub(crate) fn endpoint_key(endpoint: EndpointKey<'_>) -> Key {
    Key::new(application_pk(endpoint.app), format!("ep#{}", endpoint.id))
}
