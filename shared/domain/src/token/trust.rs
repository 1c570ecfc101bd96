//! What verifiers of tokens need to know: the public keys, and the revoked tokens.
//!
//! Only the function that creates tokens writes it. It is one value, so that one read returns all
//! of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Claims, PublicKey, Scope, TokenError, key::install_provider};
use crate::{
    id::{ApplicationId, OrganizationId, TokenId},
    timestamp::Timestamp,
};

/// The most revocations that are kept, so that the value stays small (about 50 KB).
pub const MAX_REVOKED: usize = 1_000;

/// How many ids of replaced keys are remembered.
const MAX_RETIRED: usize = 16;

/// How far the clock of a token's creator may be ahead of the verifier's.
const MAX_CLOCK_SKEW_SECONDS: i64 = 60;

/// The public keys and the revoked tokens of a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Counts changes: a change is conditional on the revision that was read.
    pub revision: u64,
    /// The current key, then the previous one.
    keys: Vec<PublicKey>,
    /// Ids of keys that were permanently replaced: a late process must not bring them back.
    retired: Vec<String>,
    /// Revoked tokens.
    revoked: BTreeMap<OrganizationId, Revoked>,
}

/// The revoked tokens of an organization. A token's id tells when it was created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Revoked {
    /// All tokens that were created up to this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    /// All tokens of an application that were created up to a time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    applications: BTreeMap<ApplicationId, Timestamp>,
    /// Single tokens.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    tokens: BTreeSet<TokenId>,
}

/// An operator's order to revoke tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// All tokens of an organization so far, including those of its applications and of the portal.
    Organization,
    /// All tokens of an application so far.
    Application(ApplicationId),
    /// A single token.
    Token(TokenId),
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The key was replaced earlier and must not come back.
    #[error("the secret holds a token key that was replaced: rotate the token key")]
    Retired,
    /// The list of revocations is full.
    #[error(
        "{MAX_REVOKED} revocations are kept already: revoke all tokens of the organization, and mint new ones"
    )]
    Full,
}

/// A token as it was presented, before it is verified.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    token: &'a str,
}

impl<'a> Presented<'a> {
    /// Reads the value of an `Authorization` header, and refuses what can be refused without a key.
    pub fn read(header: Option<&'a str>) -> Result<Self, TokenError> {
        let header = header.ok_or(TokenError::Missing)?;
        let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(TokenError::Header);
        }
        Self::bare(token.trim())
    }

    /// Reads a token that is not in a header.
    pub fn bare(token: &'a str) -> Result<Self, TokenError> {
        install_provider();
        let presented = Self { token };
        presented.key_id().map(|_| presented)
    }

    fn key_id(&self) -> Result<Option<String>, TokenError> {
        let header = jsonwebtoken::decode_header(self.token).map_err(|_| TokenError::Malformed)?;
        match header.alg {
            jsonwebtoken::Algorithm::EdDSA => Ok(header.kid),
            _ => Err(TokenError::Algorithm),
        }
    }
}

impl Trust {
    /// The key that signs.
    pub fn current(&self) -> Option<&PublicKey> {
        self.keys.first()
    }

    /// Whether the key that a token names is known.
    pub fn knows(&self, presented: &Presented<'_>) -> bool {
        self.key_of(presented).is_ok_and(|key| key.is_some())
    }

    fn key_of(&self, presented: &Presented<'_>) -> Result<Option<&PublicKey>, TokenError> {
        let id = presented.key_id()?;
        Ok(self.keys.iter().find(|key| Some(&key.id) == id.as_ref()))
    }

    /// Verifies a token; returns its scope.
    pub fn authenticate(
        &self,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<Scope, TokenError> {
        let key = self.key_of(presented)?.ok_or(TokenError::Forged)?;
        let claims = key.verify(presented.token)?;
        if now.as_seconds() >= claims.exp {
            return Err(TokenError::Expired);
        }
        if now.as_seconds().saturating_add(MAX_CLOCK_SKEW_SECONDS) < claims.nbf {
            return Err(TokenError::NotYet);
        }
        let (id, granted_at) = (claims.jti.clone(), granted_at(&claims));
        let scope = claims.scope().ok_or(TokenError::Subject)?;
        if self.is_revoked(&scope, &id, granted_at) {
            return Err(TokenError::Revoked);
        }
        Ok(scope)
    }

    fn is_revoked(&self, scope: &Scope, id: &TokenId, granted_at: Timestamp) -> bool {
        let Some(revoked) = self.revoked.get(&scope.organization) else {
            return false;
        };
        let application = scope.application.as_ref();
        let of_application = application.and_then(|it| revoked.applications.get(it).copied());
        let until = revoked.until.max(of_application);
        until.is_some_and(|until| granted_at <= until) || revoked.tokens.contains(id)
    }

    /// The same with another current key; the previous one keeps verifying only if `keep_previous`
    /// is set.
    ///
    /// # Errors
    /// [`TrustError::Retired`].
    pub fn with_current(mut self, key: PublicKey, keep_previous: bool) -> Result<Self, TrustError> {
        let is_current = self.current().is_some_and(|current| current.id == key.id);
        let is_old = self.keys.iter().skip(1).any(|it| it.id == key.id);
        if is_old || self.retired.contains(&key.id) {
            return Err(TrustError::Retired);
        }
        if !is_current {
            self.keys.insert(0, key);
        }
        let kept = if keep_previous { 2 } else { 1 };
        let ended = self.keys.split_off(kept.min(self.keys.len()));
        self.retired.extend(ended.into_iter().map(|key| key.id));
        let old = self.retired.len().saturating_sub(MAX_RETIRED);
        self.retired.drain(..old);
        self.revision += 1;
        Ok(self)
    }

    /// The same with more tokens of an organization revoked.
    ///
    /// # Errors
    /// [`TrustError::Full`].
    pub fn revoke(
        mut self,
        organization: OrganizationId,
        revocation: Revocation,
        now: Timestamp,
    ) -> Result<Self, TrustError> {
        let revoked = self.revoked.entry(organization).or_default();
        match revocation {
            // These include the single ones.
            Revocation::Organization => {
                *revoked = Revoked {
                    until: Some(now),
                    ..Revoked::default()
                };
            }
            Revocation::Application(id) => {
                revoked.applications.insert(id, now);
            }
            Revocation::Token(id) => {
                revoked.tokens.insert(id);
            }
        }
        let count = |it: &Revoked| 1 + it.applications.len() + it.tokens.len();
        if self.revoked.values().map(count).sum::<usize>() > MAX_REVOKED {
            return Err(TrustError::Full);
        }
        self.revision += 1;
        Ok(self)
    }
}

/// When a token was granted: after an exchange, the time of the first token counts.
fn granted_at(claims: &Claims) -> Timestamp {
    let portal = claims.portal.as_ref();
    portal.map_or_else(|| claims.jti.created_at(), super::session::Portal::since)
}
