//! Bearer tokens: HS256 JWTs as Svix makes them.
//!
//! `sub` is an `org_…` id (everything in that organization) or an `app_…` id (that application
//! only; the claim `organization` then says where it lives, `feature_flags` what it may see, and
//! `jti` names the session of the application portal that it can be revoked by). The algorithm is fixed: a token that
//! names another one is refused, whatever its signature.

use std::{fmt, sync::Once, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result as JwtResult},
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use signature::{Signer, Verifier};

use crate::{
    error::ApiError,
    id::{ApplicationId, OrganizationId, SessionId},
    name::FeatureFlag,
    timestamp::Timestamp,
};

const ISSUER: &str = "posthorn";

/// The least length of a key, in bytes: that of the hash (RFC 7518, section 3.2).
pub const MIN_KEY_BYTES: usize = 32;

/// The key that signs and verifies tokens.
pub struct TokenKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// The key is too short to be safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token key must have at least {MIN_KEY_BYTES} bytes")]
pub struct KeyError;

/// What verifies tokens: a key is replaced without refusing those that it signed before.
#[derive(Debug)]
pub struct TokenKeys {
    /// Signs as well.
    pub current: TokenKey,
    /// The one before it.
    pub previous: Option<TokenKey>,
}

/// A token could not be made; never with a key that [`TokenKey::new`] took.
pub type MintError = jsonwebtoken::errors::Error;

/// Why a token is refused. The texts are for those who call the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No header.
    #[error("missing the Authorization header: expected `Bearer <token>`")]
    Missing,
    /// Another scheme.
    #[error("malformed Authorization header: expected `Bearer <token>`")]
    Header,
    /// Not a JWT, or without the claims that ours have.
    #[error("malformed token")]
    Malformed,
    /// Another algorithm than the only one.
    #[error("the token must use HS256")]
    Algorithm,
    /// Signed with a key that this deployment does not have.
    #[error("the token was not signed by this deployment")]
    Forged,
    /// Too old.
    #[error("the token has expired")]
    Expired,
    /// From the future.
    #[error("the token is not valid yet")]
    NotYet,
    /// Of nobody.
    #[error("the token's subject is neither an organization nor an application")]
    Subject,
}

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The organization that every read and write stays in.
    pub organization: OrganizationId,
    /// The only application that it reaches; `None` means all.
    pub application: Option<ApplicationId>,
    /// Event types with one of these flags are visible besides those without a flag. An
    /// organization's token sees all.
    pub feature_flags: Vec<FeatureFlag>,
    /// The session of the application portal that the token belongs to.
    pub session: Option<Session>,
}

/// A stay in the application portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organization: Option<OrganizationId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    feature_flags: Vec<FeatureFlag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<SessionId>,
}

impl TokenKey {
    /// Takes a key as the template's secret holds it.
    ///
    /// # Errors
    /// When it is shorter than [`MIN_KEY_BYTES`].
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        install_provider();
        if key.len() < MIN_KEY_BYTES {
            return Err(KeyError);
        }
        Ok(Self {
            encoding: EncodingKey::from_secret(key),
            decoding: DecodingKey::from_secret(key),
        })
    }

    /// Makes a token that is valid from `now` for `lifetime`.
    ///
    /// # Errors
    /// Never with a key that [`TokenKey::new`] took; the library's signature has an error.
    pub fn mint(
        &self,
        scope: &Scope,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, MintError> {
        let (sub, organization) = match &scope.application {
            None => (scope.organization.to_string(), None),
            Some(application) => (application.to_string(), Some(scope.organization.clone())),
        };
        let claims = Claims {
            iss: ISSUER.to_owned(),
            iat: now.as_seconds(),
            nbf: now.as_seconds(),
            exp: now.plus(lifetime).as_seconds(),
            sub,
            organization,
            feature_flags: scope.feature_flags.clone(),
            jti: scope.session.as_ref().map(|session| session.id.clone()),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
    }

    fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let mut rules = Validation::new(Algorithm::HS256);
        // The library reads the clock for these; the caller's `now` decides above.
        (rules.validate_exp, rules.validate_nbf) = (false, false);
        jsonwebtoken::decode(token, &self.decoding, &rules)
            .map(|token| token.claims)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidSignature => TokenError::Forged,
                ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
                _ => TokenError::Malformed,
            })
    }
}

impl TokenKeys {
    /// Reads the value of an `Authorization` header.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn authenticate(&self, header: Option<&str>, now: Timestamp) -> Result<Scope, TokenError> {
        let header = header.ok_or(TokenError::Missing)?;
        let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(TokenError::Header);
        }
        let claims = match (self.current.verify(token.trim()), &self.previous) {
            (Err(TokenError::Forged), Some(previous)) => previous.verify(token.trim()),
            (verified, _) => verified,
        }?;
        if now.as_seconds() >= claims.exp {
            return Err(TokenError::Expired);
        }
        if now.as_seconds().saturating_add(MAX_CLOCK_SKEW_SECONDS) < claims.nbf {
            return Err(TokenError::NotYet);
        }
        claims.scope().ok_or(TokenError::Subject)
    }
}

/// How far ahead of ours the clock of the token's maker may be.
const MAX_CLOCK_SKEW_SECONDS: i64 = 60;

impl Claims {
    fn scope(self) -> Option<Scope> {
        if let Ok(organization) = self.sub.parse() {
            return Some(Scope::organization(organization));
        }
        let application = self.sub.parse().ok()?;
        let expires_at = Timestamp::from_millis(self.exp.saturating_mul(1000));
        let session = self.jti.map(|id| Session { id, expires_at });
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

    /// Lets pass what only an organization's token may do.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] for an application's token.
    pub fn require_organization(&self) -> Result<(), ApiError> {
        if self.application.is_none() {
            Ok(())
        } else {
            Err(ApiError::Forbidden)
        }
    }

    /// Lets pass what makes or removes content. Customers hold tokens of the portal: what they could
    /// post would look like ours.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] for a token of the portal.
    pub fn require_producer(&self) -> Result<(), ApiError> {
        if self.session.is_none() {
            Ok(())
        } else {
            Err(ApiError::Forbidden)
        }
    }

    /// Lets pass what concerns this application.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when the token is another application's: it may not learn of others.
    pub fn require_application(&self, id: &ApplicationId) -> Result<(), ApiError> {
        match &self.application {
            Some(own) if own != id => Err(ApiError::NotFound("application")),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(redacted)")
    }
}

/// HMAC-SHA256 by the crates that sign webhooks: the JWT library's own choices would bring a second
/// family of cryptography crates.
struct HmacSha256(Hmac<Sha256>);

impl HmacSha256 {
    fn new(algorithm: Algorithm, key: &[u8]) -> JwtResult<Self> {
        if algorithm != Algorithm::HS256 {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        let mac = Hmac::new_from_slice(key).map_err(|_| ErrorKind::InvalidKeyFormat)?;
        Ok(Self(mac))
    }
}

impl Signer<Vec<u8>> for HmacSha256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self
            .0
            .clone()
            .chain_update(message)
            .finalize()
            .into_bytes()
            .to_vec())
    }
}

impl Verifier<Vec<u8>> for HmacSha256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let mac = self.0.clone().chain_update(message);
        // Compares in constant time.
        mac.verify_slice(signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(HmacSha256::new(*algorithm, key.as_bytes())?)),
    verifier_factory: |algorithm, key| {
        Ok(Box::new(HmacSha256::new(
            *algorithm,
            key.try_get_as_bytes()?,
        )?))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the process has a provider already, which serves as well.
        let _ = PROVIDER.install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn key() -> TokenKey {
        TokenKey::new(&[7; 64]).unwrap()
    }

    fn keys(current: TokenKey) -> TokenKeys {
        TokenKeys {
            current,
            previous: None,
        }
    }

    fn organization() -> Scope {
        Scope::organization(OrganizationId::new(NOW, [1; 15]))
    }

    #[test]
    fn a_token_carries_its_scope() {
        let application = Scope {
            application: Some(ApplicationId::new(NOW, [2; 15])),
            feature_flags: vec!["beta".to_owned().try_into().unwrap()],
            session: Some(Session {
                id: SessionId::new(NOW, [3; 15]),
                expires_at: NOW.plus(HOUR),
            }),
            ..organization()
        };
        for scope in [organization(), application] {
            let token = key().mint(&scope, NOW, HOUR).unwrap();
            assert_eq!(
                keys(key()).authenticate(Some(&format!("Bearer {token}")), NOW),
                Ok(scope)
            );
        }
    }

    #[test]
    fn an_application_token_sees_its_features_only() {
        let flag = |name: &str| FeatureFlag::try_from(name.to_owned()).unwrap();
        let application = Scope {
            application: Some(ApplicationId::new(NOW, [2; 15])),
            feature_flags: vec![flag("beta")],
            ..organization()
        };
        assert!(application.sees(None) && application.sees(Some(&flag("beta"))));
        assert!(!application.sees(Some(&flag("alpha"))));
        assert!(organization().sees(Some(&flag("alpha"))));
    }

    #[test]
    fn a_refusal_says_why() {
        let token = key().mint(&organization(), NOW, HOUR).unwrap();
        let bearer = format!("Bearer {token}");
        let refused = |key: TokenKey, header: Option<&str>, now: Timestamp| {
            keys(key).authenticate(header, now).unwrap_err()
        };
        assert_eq!(refused(key(), None, NOW), TokenError::Missing);
        assert_eq!(refused(key(), Some(&token), NOW), TokenError::Header);
        assert_eq!(refused(key(), Some("Basic x"), NOW), TokenError::Header);
        assert_eq!(
            refused(key(), Some("Bearer x.y"), NOW),
            TokenError::Malformed
        );
        assert_eq!(refused(key(), Some("Bearer"), NOW), TokenError::Malformed);
        let at_expiry = NOW.plus(HOUR);
        assert_eq!(
            refused(key(), Some(&bearer), at_expiry),
            TokenError::Expired
        );
        let too_early = NOW.minus(Duration::from_secs(120));
        assert_eq!(refused(key(), Some(&bearer), too_early), TokenError::NotYet);
        let other = TokenKey::new(&[8; 64]).unwrap();
        assert_eq!(refused(other, Some(&bearer), NOW), TokenError::Forged);
    }

    #[test]
    fn a_token_of_the_key_before_is_good_until_that_key_goes() {
        let new = || TokenKey::new(&[8; 64]).unwrap();
        let bearer = |key: &TokenKey| {
            let token = key.mint(&organization(), NOW, HOUR).unwrap();
            format!("Bearer {token}")
        };
        let both = TokenKeys {
            current: new(),
            previous: Some(key()),
        };
        assert_eq!(
            both.authenticate(Some(&bearer(&key())), NOW),
            Ok(organization())
        );
        assert_eq!(
            both.authenticate(Some(&bearer(&new())), NOW),
            Ok(organization())
        );
        let after = keys(new()).authenticate(Some(&bearer(&key())), NOW);
        assert_eq!(after, Err(TokenError::Forged));
    }

    /// A token with a header of its own choice, signed with HMAC-SHA256 and the right key.
    fn with_header(header: &str) -> String {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let token = key().mint(&organization(), NOW, HOUR).unwrap();
        let claims = token.split('.').nth(1).unwrap();
        let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
        let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 64]).unwrap();
        mac.update(signed.as_bytes());
        format!(
            "Bearer {signed}.{}",
            URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
        )
    }

    #[test]
    fn another_algorithm_is_refused_whatever_the_signature() {
        let good = with_header(r#"{"alg":"HS256","typ":"JWT"}"#);
        assert!(keys(key()).authenticate(Some(&good), NOW).is_ok());
        for name in [
            "none", "None", "HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256", "",
        ] {
            let token = with_header(&format!(r#"{{"alg":"{name}","typ":"JWT"}}"#));
            let refused = keys(key()).authenticate(Some(&token), NOW);
            let expected = [Err(TokenError::Algorithm), Err(TokenError::Malformed)];
            assert!(expected.contains(&refused), "{name}: {refused:?}");
        }
        let without = good.rsplit_once('.').unwrap().0;
        for token in [without.to_owned(), format!("{without}.")] {
            assert!(keys(key()).authenticate(Some(&token), NOW).is_err());
        }
    }

    #[test]
    fn a_short_key_is_refused() {
        assert_eq!(TokenKey::new(&[1; 31]).unwrap_err(), KeyError);
    }

    #[test]
    fn an_application_token_reaches_its_application_only() {
        let own = ApplicationId::new(NOW, [2; 15]);
        let scope = Scope {
            application: Some(own.clone()),
            ..organization()
        };
        assert_eq!(scope.require_application(&own), Ok(()));
        let other = ApplicationId::new(NOW, [3; 15]);
        assert_eq!(
            scope.require_application(&other),
            Err(ApiError::NotFound("application"))
        );
        assert_eq!(scope.require_organization(), Err(ApiError::Forbidden));
    }
}
