//! Bearer tokens: JWTs that are signed with Ed25519 (`EdDSA`), and nothing else.
//!
//! `sub` is an `org_…` id (everything in that organization) or an `app_…` id (that application
//! only; the claim `organization` then names its organization, and `feature_flags` what it may
//! see). `jti` is the id that a token is revoked by. A token of the application portal also has the
//! claim `portal`: what it may do, and since when.
//!
//! | module | holds |
//! |---|---|
//! | `key` | the key that signs, and its public half |
//! | `trust` | what verifiers know: public keys and revoked tokens |
//! | `session` | tokens of the portal: capabilities, and how they end |

mod key;
mod session;
#[cfg(test)]
mod tests;
mod trust;

use serde::{Deserialize, Serialize};

pub use key::{KeyError, MIN_KEY_BYTES, MintError, PublicKey, TokenKey};
pub use session::{Capability, Ending, Session, SessionTag, TagError};
pub use trust::{MAX_REVOKED, Presented, Revocation, Trust, TrustError};

use crate::{
    id::{ApplicationId, OrganizationId, TokenId},
    name::FeatureFlag,
    timestamp::Timestamp,
};

/// Why a token is refused. The texts are for those who call the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no header.
    #[error("missing the Authorization header: expected `Bearer <token>`")]
    Missing,
    /// The header has another scheme.
    #[error("malformed Authorization header: expected `Bearer <token>`")]
    Header,
    /// Not a JWT, or a JWT without the required claims.
    #[error("malformed token")]
    Malformed,
    /// An algorithm other than EdDSA.
    #[error("the token must use EdDSA")]
    Algorithm,
    /// Signed with a key that this deployment does not have.
    #[error("the token was not signed by this deployment")]
    Forged,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// Its subject is neither an organization nor an application.
    #[error("the token's subject is neither an organization nor an application")]
    Subject,
    /// An operator revoked it.
    #[error("the token was revoked")]
    Revoked,
}

/// Why a valid token does not reach what it is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Its scope does not include the operation.
    #[error("this token may not do that")]
    Forbidden,
    /// It belongs to another application.
    #[error("this token belongs to another application")]
    OtherApplication,
}

/// What a token gives access to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The organization that every read and write stays in.
    pub organization: OrganizationId,
    /// The only application that it reaches; `None` means all.
    pub application: Option<ApplicationId>,
    /// Event types with one of these flags are visible besides those without a flag. An
    /// organization's token sees all.
    pub feature_flags: Vec<FeatureFlag>,
    /// The portal session that the token belongs to.
    pub session: Option<Session>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    sub: String,
    jti: TokenId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organization: Option<OrganizationId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    feature_flags: Vec<FeatureFlag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    portal: Option<session::Portal>,
}

impl Claims {
    fn scope(self) -> Option<Scope> {
        if let Ok(organization) = self.sub.parse() {
            return Some(Scope::organization(organization));
        }
        let application = self.sub.parse().ok()?;
        let expires_at = Timestamp::from_millis(self.exp.saturating_mul(1000));
        let session = self
            .portal
            .map(|portal| portal.session(self.jti, expires_at));
        Some(Scope {
            organization: self.organization?,
            application: Some(application),
            feature_flags: self.feature_flags,
            session,
        })
    }
}

impl Scope {
    /// Everything of an organization.
    pub fn organization(organization: OrganizationId) -> Self {
        Self {
            organization,
            application: None,
            feature_flags: Vec::new(),
            session: None,
        }
    }

    /// Whether an event type with this flag is visible.
    pub fn sees(&self, flag: Option<&FeatureFlag>) -> bool {
        self.application.is_none() || flag.is_none_or(|flag| self.feature_flags.contains(flag))
    }

    /// Checks that the token belongs to a whole organization.
    ///
    /// # Errors
    /// [`ScopeError::Forbidden`] for an application's token.
    pub fn require_organization(&self) -> Result<(), ScopeError> {
        if self.application.is_none() {
            Ok(())
        } else {
            Err(ScopeError::Forbidden)
        }
    }

    /// Checks that the token may create or remove content. Customers hold portal tokens, and what
    /// they could post would look like the SaaS's own messages.
    ///
    /// # Errors
    /// [`ScopeError::Forbidden`] for a portal token.
    pub fn require_producer(&self) -> Result<(), ScopeError> {
        if self.session.is_none() {
            Ok(())
        } else {
            Err(ScopeError::Forbidden)
        }
    }

    /// Checks that the token includes this application.
    ///
    /// # Errors
    /// [`ScopeError::OtherApplication`]: it must not learn of others.
    pub fn require_application(&self, id: &ApplicationId) -> Result<(), ScopeError> {
        match &self.application {
            Some(own) if own != id => Err(ScopeError::OtherApplication),
            _ => Ok(()),
        }
    }

    /// Who shares the answers stored under idempotency keys: all tokens of the organization, all
    /// tokens of the application except the portal's, or one session of the portal.
    pub fn remembers_as(&self) -> &str {
        match (&self.session, &self.application) {
            (Some(session), _) => session.id.as_str(),
            (None, Some(application)) => application.as_str(),
            (None, None) => "",
        }
    }
}
