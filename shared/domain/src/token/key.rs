//! The key that signs tokens, and its public half. Only the function that creates tokens has the
//! seed.

use std::{fmt, sync::Once, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result as JwtResult},
};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use signature::{Signer, Verifier};

use super::{Claims, Scope, TokenError};
use crate::{id::TokenId, timestamp::Timestamp};

const ISSUER: &str = "posthorn";

/// The minimum length, in bytes, of the secret that a key is derived from: that of an Ed25519 seed
/// (RFC 8032, section 5.1.5).
pub const MIN_KEY_BYTES: usize = 32;

/// The label for deriving the 32 bytes of the seed from the text of the secret.
const SEED_LABEL: &[u8] = b"posthorn token key v1";

/// The key that signs tokens.
pub struct TokenKey {
    encoding: EncodingKey,
    public: PublicKey,
}

/// The secret is too short to be safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token key must have at least {MIN_KEY_BYTES} bytes")]
pub struct KeyError;

/// Why a token could not be created; never happens with a key from [`TokenKey::new`].
pub type MintError = jsonwebtoken::errors::Error;

/// What verifies the tokens of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// Identifies the key in the tokens' headers (`kid`); derived from the key.
    pub id: String,
    /// The base64url of its 32 bytes.
    pub key: String,
}

impl TokenKey {
    /// Derives a key from the template's secret: any text of at least [`MIN_KEY_BYTES`].
    ///
    /// # Errors
    /// When the secret is shorter.
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        install_provider();
        if secret.len() < MIN_KEY_BYTES {
            return Err(KeyError);
        }
        let seed = Sha256::new_with_prefix(SEED_LABEL)
            .chain_update(secret)
            .finalize();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError)?;
        let public = pair.public_key().as_ref();
        Ok(Self {
            encoding: EncodingKey::from_ed_der(&seed),
            public: PublicKey {
                id: URL_SAFE_NO_PAD.encode(&Sha256::digest(public)[..12]),
                key: URL_SAFE_NO_PAD.encode(public),
            },
        })
    }

    /// The public key that verifies its tokens.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Creates a token that is valid from `now` for `lifetime`. The token of a session has the
    /// session's id, whatever `id` is.
    ///
    /// # Errors
    /// Never with a key from [`TokenKey::new`]; the library's signature has an error.
    pub fn mint(
        &self,
        scope: &Scope,
        id: TokenId,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, MintError> {
        let (sub, organization) = match &scope.application {
            None => (scope.organization.to_string(), None),
            Some(application) => (application.to_string(), Some(scope.organization.clone())),
        };
        let session = scope.session.as_ref();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            iat: now.as_seconds(),
            nbf: now.as_seconds(),
            exp: now.plus(lifetime).as_seconds(),
            sub,
            jti: session.map_or(id, |session| session.id.clone()),
            organization,
            feature_flags: scope.feature_flags.clone(),
            portal: session.map(Into::into),
        };
        let header = Header {
            kid: Some(self.public.id.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        jsonwebtoken::encode(&header, &claims, &self.encoding)
    }
}

impl PublicKey {
    /// The claims of a token, if this key signed them. Times are not checked.
    pub(super) fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        install_provider();
        let key = URL_SAFE_NO_PAD.decode(&self.key);
        let key = DecodingKey::from_ed_der(&key.map_err(|_| TokenError::Forged)?);
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[ISSUER]);
        // The library reads the clock for these; the caller's `now` decides.
        (rules.validate_exp, rules.validate_nbf) = (false, false);
        jsonwebtoken::decode(token, &key, &rules)
            .map(|token| token.claims)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidSignature => TokenError::Forged,
                ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
                _ => TokenError::Malformed,
            })
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({}, redacted)", self.public.id)
    }
}

/// Ed25519 from the crate that also signs webhooks: the JWT library's own backends would add a
/// second family of cryptography crates.
struct Ed25519Signer(Ed25519KeyPair);

struct Ed25519Verifier(Vec<u8>);

fn only_eddsa(algorithm: Algorithm) -> JwtResult<()> {
    match algorithm {
        Algorithm::EdDSA => Ok(()),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

impl Signer<Vec<u8>> for Ed25519Signer {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl Verifier<Vec<u8>> for Ed25519Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Ed25519Signer {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

impl JwtVerifier for Ed25519Verifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, seed| {
        only_eddsa(*algorithm)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_bytes());
        let pair = pair.map_err(|_| ErrorKind::InvalidKeyFormat)?;
        Ok(Box::new(Ed25519Signer(pair)))
    },
    verifier_factory: |algorithm, key| {
        only_eddsa(*algorithm)?;
        Ok(Box::new(Ed25519Verifier(key.try_get_as_bytes()?.to_vec())))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

pub(super) fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the process already has a provider, which works as well.
        let _ = PROVIDER.install_default();
    });
}
