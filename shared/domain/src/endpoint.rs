//! Endpoints: where an application's messages go.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    envelope::Sealed,
    headers::CustomHeaders,
    health::{DisabledReason, Health},
    id::{EndpointId, MessageId},
    list::UniqueList,
    name::{Channel, EventTypeName, Uid},
    signing::EndpointSecret,
    timestamp::Timestamp,
};

/// The channels that an endpoint listens to: 1 to 10.
pub type EndpointChannels = UniqueList<Channel, 1, 10>;

/// The event types that an endpoint receives: 1 to 500. The contract has no upper bound, but one is
/// needed because each type is looked up when it is set.
pub type EndpointEventTypes = UniqueList<EventTypeName, 1, 500>;

/// The most secrets of earlier rotations that may be valid at the same time.
pub const MAX_OLD_SECRETS: usize = 10;

/// How long a rotated secret stays valid by default.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(86_400);
/// The longest time that a rotated secret may stay valid.
pub const MAX_GRACE: Duration = Duration::from_secs(7 * 86_400);

/// An endpoint, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The customer's own id, unique in the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// The URL that attempts are posted to.
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
    /// Whether it is disabled: it receives nothing.
    #[serde(default)]
    pub disabled: bool,
    /// Why Posthorn disabled it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<DisabledReason>,
    /// Its health, as observed by attempts.
    #[serde(default, skip_serializing_if = "Health::is_well")]
    pub health: Health,
    /// Attempts per second, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_rate: Option<u16>,
    /// The customer's own notes.
    #[serde(default, with = "crate::json_text")]
    pub metadata: BTreeMap<String, String>,
    /// [`Confidential`], sealed for [`crate::key::EndpointKey::envelope_owner`].
    pub sealed: Sealed,
    /// Counts changes, from 1. A task carries the revision that ingest saw, so that a dispatcher
    /// notices when an eventually consistent read is older.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The part of an endpoint that only the API and the dispatcher may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confidential {
    /// The key that signs its attempts.
    pub secret: EndpointSecret,
    /// Keys of earlier rotations, which also sign until they expire; newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub old_secrets: Vec<OldSecret>,
    /// Custom headers of every attempt.
    #[serde(default, skip_serializing_if = "CustomHeaders::is_empty")]
    pub headers: CustomHeaders,
}

/// A secret that was replaced by a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSecret {
    /// The key.
    pub secret: EndpointSecret,
    /// Until when it also signs attempts.
    pub expires_at: Timestamp,
}

/// Too many secrets of earlier rotations are still valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most {MAX_OLD_SECRETS} earlier secrets may be valid at the same time")]
pub struct TooManySecrets;

impl Endpoint {
    /// The disabled endpoint; `None` when it is already disabled.
    pub fn disable(&self, reason: DisabledReason, now: Timestamp) -> Option<Self> {
        (!self.disabled).then(|| Self {
            disabled: true,
            disabled_reason: Some(reason),
            revision: self.revision + 1,
            updated_at: now,
            ..self.clone()
        })
    }
}

impl Confidential {
    /// With a key only, as for most endpoints.
    pub fn new(secret: EndpointSecret) -> Self {
        Self {
            secret,
            old_secrets: Vec::new(),
            headers: CustomHeaders::default(),
        }
    }

    /// The value of `webhook-signature`: one signature for each valid key, separated by spaces
    /// (Standard Webhooks, "Multiple signatures").
    pub fn sign(&self, id: &MessageId, at: Timestamp, body: &[u8]) -> String {
        let old = self.old_secrets.iter();
        let valid = old.filter(|old| old.expires_at > at).map(|old| &old.secret);
        let secrets = std::iter::once(&self.secret).chain(valid);
        let signatures: Vec<_> = secrets.map(|secret| secret.sign(id, at, body)).collect();
        signatures.join(" ")
    }

    /// The same with a new secret; the previous one stays valid for `grace`.
    pub fn rotate(
        self,
        secret: EndpointSecret,
        grace: Duration,
        now: Timestamp,
    ) -> Result<Self, TooManySecrets> {
        let mut old_secrets = self.old_secrets;
        old_secrets.retain(|old| old.expires_at > now);
        let expires_at = now.plus(grace);
        if expires_at > now {
            old_secrets.insert(
                0,
                OldSecret {
                    secret: self.secret,
                    expires_at,
                },
            );
        }
        if old_secrets.len() > MAX_OLD_SECRETS {
            return Err(TooManySecrets);
        }
        Ok(Self {
            secret,
            old_secrets,
            ..self
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    pub(crate) fn endpoint() -> Endpoint {
        Endpoint {
            id: EndpointId::new(NOW, [1; 15]),
            uid: None,
            url: "https://example.com/".to_owned(),
            description: String::new(),
            event_types: None,
            channels: None,
            disabled: false,
            disabled_reason: None,
            health: Health::default(),
            throttle_rate: None,
            metadata: BTreeMap::new(),
            sealed: Sealed::Plain(String::new()),
            revision: 1,
            created_at: NOW,
            updated_at: NOW,
        }
    }

    fn confidential() -> Confidential {
        Confidential::new(EndpointSecret::generate([1; 32]))
    }

    fn signatures(endpoint: &Confidential, at: Timestamp) -> Vec<String> {
        let id = MessageId::new(NOW, [1; 15]);
        let header = endpoint.sign(&id, at, b"{}");
        header.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn both_secrets_sign_until_the_old_one_expires() {
        let (first, before) = (confidential(), signatures(&confidential(), NOW));
        let second = EndpointSecret::generate([2; 32]);
        let rotated = first.rotate(second.clone(), DEFAULT_GRACE, NOW).unwrap();
        assert_eq!(rotated.secret, second);
        let during = signatures(&rotated, NOW);
        assert_eq!((during.len(), &during[1]), (2, &before[0]));
        assert_eq!(signatures(&rotated, NOW.plus(DEFAULT_GRACE)).len(), 1);
    }

    #[test]
    fn without_grace_only_the_new_secret_signs() {
        let rotated = confidential().rotate(EndpointSecret::generate([2; 32]), Duration::ZERO, NOW);
        assert_eq!(rotated.unwrap().old_secrets, []);
    }

    #[test]
    fn ten_old_secrets_are_the_most() {
        let rotate = |confidential: Confidential, n: u8, now| {
            confidential.rotate(EndpointSecret::generate([n; 32]), DEFAULT_GRACE, now)
        };
        let full = (0..10)
            .try_fold(confidential(), |confidential, n| {
                rotate(confidential, n, NOW)
            })
            .unwrap();
        assert_eq!(rotate(full.clone(), 11, NOW), Err(TooManySecrets));
        assert!(
            rotate(full, 11, NOW.plus(DEFAULT_GRACE)).is_ok(),
            "they expired"
        );
    }

    #[test]
    fn schemes_mix() {
        let key = EndpointSecret::try_from(
            "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=".to_owned(),
        );
        let rotated = confidential()
            .rotate(key.unwrap(), DEFAULT_GRACE, NOW)
            .unwrap();
        let both = signatures(&rotated, NOW);
        assert!(
            both[0].starts_with("v1a,") && both[1].starts_with("v1,"),
            "{both:?}"
        );
    }
}
