//! Ids that Posthorn assigns: a prefix and a KSUID, so that they sort by time.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use svix_ksuid::{KsuidLike, KsuidMs};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use crate::{
    name::{NameError, Uid},
    timestamp::Timestamp,
};

/// The random bytes of a new id.
pub type Entropy = [u8; KsuidMs::PAYLOAD_BYTES];

/// The text is not an id of this kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an id that starts with `{prefix}`")]
pub struct IdError {
    /// The prefix that the id must have.
    pub prefix: &'static str,
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id: ids created later sort later (to 4 ms); the rest is random.
            pub fn new(now: Timestamp, entropy: Entropy) -> Self {
                let ksuid = KsuidMs::from_millis(Some(now.as_millis()), Some(&entropy));
                Self(format!("{}{ksuid}", $prefix))
            }

            /// When it was created, to 4 ms.
            pub fn created_at(&self) -> Timestamp {
                let ksuid = self.0.get(Self::PREFIX.len()..).unwrap_or_default();
                KsuidMs::from_str(ksuid).map_or(Timestamp::from_millis(0), |ksuid| {
                    Timestamp::from_millis(ksuid.timestamp_millis())
                })
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(|ksuid| KsuidMs::from_str(ksuid).ok())
                    .map(|_| Self(text.to_owned()))
                    .ok_or(IdError { prefix: $prefix })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let id = ObjectBuilder::new().schema_type(Type::String);
                let pattern = concat!("^", $prefix, "[a-zA-Z0-9]{27}$");
                id.pattern(Some(pattern)).build().into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    };
}

prefixed_id!(
    /// The environment that a token belongs to; every read and write stays inside it.
    OrganizationId,
    "org_"
);
prefixed_id!(
    /// A customer of the SaaS that sends the webhooks.
    ApplicationId,
    "app_"
);
prefixed_id!(
    /// A URL of an application that receives its messages.
    EndpointId,
    "ep_"
);
prefixed_id!(
    /// One event sent to one application. It is also the `webhook-id` of every attempt.
    MessageId,
    "msg_"
);
prefixed_id!(
    /// A key that seals endpoints' secrets ([`crate::envelope`]).
    DataKeyId,
    "key_"
);
prefixed_id!(
    /// One HTTP request of a delivery.
    AttemptId,
    "atmpt_"
);
prefixed_id!(
    /// An operator's request to send messages again: a resend, or a job over many messages.
    JobId,
    "qtask_"
);
prefixed_id!(
    /// A bearer token (its claim `jti`): it can be revoked by this id.
    TokenId,
    "tok_"
);

impl ApplicationId {
    /// The id of an organization's built-in application, see
    /// [`crate::application::Application::operational`].
    pub fn operational(organization: &OrganizationId) -> Self {
        let ksuid = organization.as_str().strip_prefix(OrganizationId::PREFIX);
        Self(format!("{}{}", Self::PREFIX, ksuid.unwrap_or_default()))
    }
}

impl MessageId {
    /// The id of the message for a cause at a time: the same cause and time yield the same message.
    pub fn caused_by(cause: &str, at: Timestamp) -> Self {
        let hash = Sha256::digest(cause);
        let mut entropy = Entropy::default();
        entropy.copy_from_slice(&hash[..KsuidMs::PAYLOAD_BYTES]);
        Self::new(at, entropy)
    }

    /// An id that sorts before the ids of all messages created at this time or later.
    pub fn lower_bound(at: Timestamp) -> Self {
        Self::new(at.max(KSUID_FIRST).min(KSUID_LAST), [0; 15])
    }
}

/// KSUIDs count 32 bits of seconds from this time: 2014-05-13T16:53:20Z.
const KSUID_FIRST: Timestamp = Timestamp::from_millis(1_400_000_000_000);
const KSUID_LAST: Timestamp = Timestamp::from_millis(1_400_000_000_000 + 0xffff_ffff * 1000);

/// How a caller names an application or an endpoint: by its id, or by its uid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference<I> {
    /// The id that Posthorn assigned.
    Id(I),
    /// The customer's own id.
    Uid(Uid),
}

impl<I: FromStr> FromStr for Reference<I> {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => Uid::try_from(text.to_owned()).map(Self::Uid),
        }
    }
}

/// As the caller wrote it.
impl<I: fmt::Display> fmt::Display for Reference<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Uid(uid) => uid.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_parse_back() {
        let early = MessageId::new(Timestamp::from_millis(1_700_000_000_000), [255; 15]);
        let late = MessageId::new(Timestamp::from_millis(1_700_000_000_004), [0; 15]);
        assert!(early < late);
        assert_eq!(early.as_str().parse(), Ok(early.clone()));
    }

    #[test]
    fn a_lower_bound_sorts_before_the_ids_of_its_time() {
        let at = Timestamp::from_millis(1_700_000_000_002);
        let bound = MessageId::lower_bound(at);
        assert!(bound < MessageId::new(at, [1; 15]));
        assert!(bound > MessageId::new(Timestamp::from_millis(1_699_999_999_999), [255; 15]));
        let (first, last) = (
            Timestamp::from_millis(i64::MIN),
            Timestamp::from_millis(i64::MAX),
        );
        assert!(MessageId::lower_bound(first) < bound && bound < MessageId::lower_bound(last));
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let message = MessageId::new(Timestamp::from_millis(1_700_000_000_000), [1; 15]);
        assert!(message.as_str().parse::<EndpointId>().is_err());
        assert!("msg_".parse::<MessageId>().is_err());
        assert!("msg_not a ksuid".parse::<MessageId>().is_err());
    }
}
