//! Tokens of the application portal: what customers may do with them, and how they end.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{id::TokenId, timestamp::Timestamp};

/// Something that a token of the portal may do (`AppPortalCapability` of the contract).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[schema(as = AppPortalCapability)]
pub enum Capability {
    /// See everything but the endpoints' secrets.
    ViewBase,
    /// See an endpoint's secret.
    ViewEndpointSecret,
    /// See and rotate an endpoint's secret.
    ManageEndpointSecret,
    /// Change an endpoint's transformation.
    ManageTransformations,
    /// Have messages sent: examples, again, or those that are missing.
    CreateAttempts,
    /// Create, change and delete endpoints, with their secrets and transformations.
    ManageEndpoint,
}

impl Capability {
    /// All of them: what a token has that is asked for without any.
    pub const ALL: [Self; 6] = [
        Self::ViewBase,
        Self::ViewEndpointSecret,
        Self::ManageEndpointSecret,
        Self::ManageTransformations,
        Self::CreateAttempts,
        Self::ManageEndpoint,
    ];

    /// Which capabilities allow what this one allows: itself, and wider ones.
    pub fn held_by(self) -> &'static [Self] {
        match self {
            Self::ViewBase => &[Self::ViewBase],
            Self::ViewEndpointSecret => &[
                Self::ViewEndpointSecret,
                Self::ManageEndpointSecret,
                Self::ManageEndpoint,
            ],
            Self::ManageEndpointSecret => &[Self::ManageEndpointSecret, Self::ManageEndpoint],
            Self::ManageTransformations => &[Self::ManageTransformations, Self::ManageEndpoint],
            Self::CreateAttempts => &[Self::CreateAttempts],
            Self::ManageEndpoint => &[Self::ManageEndpoint],
        }
    }
}

/// A stay in the application portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its token's id.
    pub id: TokenId,
    /// When access was granted. A token that was exchanged for another one hands this on.
    pub granted_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// What it may do.
    pub capabilities: BTreeSet<Capability>,
    /// The caller's own name for it (`sessionId`), to end it by.
    pub tag: Option<SessionTag>,
}

impl Session {
    /// Whether it may do what this capability allows.
    pub fn may(&self, capability: Capability) -> bool {
        let held_by = capability.held_by();
        held_by.iter().any(|it| self.capabilities.contains(it))
    }
}

/// The claim `portal`.
#[derive(Serialize, Deserialize)]
pub(super) struct Portal {
    since: Timestamp,
    capabilities: BTreeSet<Capability>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<SessionTag>,
}

impl Portal {
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    pub(super) fn session(self, id: TokenId, expires_at: Timestamp) -> Session {
        Session {
            id,
            granted_at: self.since,
            expires_at,
            capabilities: self.capabilities,
            tag: self.session,
        }
    }
}

impl From<&Session> for Portal {
    fn from(session: &Session) -> Self {
        Self {
            since: session.granted_at,
            capabilities: session.capabilities.clone(),
            session: session.tag.clone(),
        }
    }
}

/// The caller's own name for sessions of the portal: 1 to 64 letters, digits, `@`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionTag(String);

/// The text is no [`SessionTag`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 letters, digits, `@`, `-` and `_`")]
pub struct TagError;

impl SessionTag {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SessionTag {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, TagError> {
        let is_allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'@' | b'-' | b'_');
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(is_allowed);
        fits.then_some(Self(text)).ok_or(TagError)
    }
}

impl From<SessionTag> for String {
    fn from(tag: SessionTag) -> Self {
        tag.0
    }
}

/// Which sessions of an application, or of a tag of it, an operator ended: those that were granted up
/// to a time, at once or after a grace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Sessions granted up to this time have ended.
    ended_until: Option<Timestamp>,
    /// Orders whose grace runs, the first one first: each is about more sessions than the one before it, and ends them
    /// later.
    later: Vec<Later>,
}

/// Sessions granted up to a time end at another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Later {
    until: Timestamp,
    at: Timestamp,
}

/// The most orders that run at the same time: every request of a session reads them. A further one hastens the end of
/// the last.
const MAX_ORDERS: usize = 20;

impl Ending {
    /// Whether a session that was granted then is over.
    pub fn ends(&self, granted_at: Timestamp, now: Timestamp) -> bool {
        let is_due = |order: &Later| order.at <= now && granted_at <= order.until;
        self.ended_until.is_some_and(|until| granted_at <= until) || self.later.iter().any(is_due)
    }

    /// The same, with all sessions so far ending after a grace. Where an earlier order ends some of them sooner, it
    /// does so still: no session lives longer for a second order.
    pub fn end_all(self, now: Timestamp, grace: Duration) -> Self {
        let at = now.plus(grace);
        let (due, running): (Vec<_>, Vec<_>) = self.later.into_iter().partition(|it| it.at <= now);
        let due = due.into_iter().map(|it| it.until).max();
        let mut order = Later { until: now, at };
        if grace.is_zero() {
            return Self {
                ended_until: Some(now),
                later: Vec::new(),
            };
        }
        // An order that ends more sessions no later leaves nothing to the ones before it.
        let mut later: Vec<_> = running.into_iter().filter(|it| it.at < at).collect();
        if later.len() >= MAX_ORDERS {
            order.at = later.pop().map_or(at, |last| last.at);
        }
        later.push(order);
        Self {
            ended_until: self.ended_until.max(due),
            later,
        }
    }
}
