//! Standard Webhooks 1.0 signatures: HMAC-SHA256 (scheme `v1`) and ed25519 (scheme `v1a`).

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use crate::{id::MessageId, timestamp::Timestamp};

/// Bytes of a secret that Posthorn makes.
pub const GENERATED_SECRET_BYTES: usize = 32;

const HMAC_PREFIX: &str = "whsec_";
const ED25519_PREFIX: &str = "whsk_";
const ED25519_PUBLIC_PREFIX: &str = "whpk_";

/// An endpoint's signing key: `whsec_`, which may be left out, and the base64 of 24 to 75 bytes, or `whsk_` and the base64
/// of an ed25519 seed (32 bytes), which its public key may follow (64 bytes). Standard Webhooks,
/// "Signature scheme": HMAC secrets of 24 to 64 bytes are recommended.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointSecret(Key);

#[derive(Clone, PartialEq, Eq)]
enum Key {
    Hmac(Vec<u8>),
    Ed25519(Box<[u8; 32]>),
}

/// The text is not an endpoint secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the base64 of 24 to 75 bytes, with or without `whsec_` before it, or `whsk_` and that of an ed25519 key"
)]
pub struct SecretError;

impl EndpointSecret {
    /// An HMAC secret of random bytes.
    pub fn generate(entropy: [u8; GENERATED_SECRET_BYTES]) -> Self {
        Self(Key::Hmac(entropy.to_vec()))
    }

    /// A new secret of the same scheme.
    pub fn generate_like(&self, entropy: [u8; GENERATED_SECRET_BYTES]) -> Self {
        match self.0 {
            Key::Hmac(_) => Self::generate(entropy),
            Key::Ed25519(_) => Self(Key::Ed25519(Box::new(entropy))),
        }
    }

    /// What receivers verify with: the HMAC secret itself, or the public key (`whpk_`). This is the
    /// only way to see it.
    pub fn expose(&self) -> String {
        match &self.0 {
            Key::Hmac(bytes) => format!("{HMAC_PREFIX}{}", STANDARD.encode(bytes)),
            Key::Ed25519(seed) => {
                let public = pair(seed).map(|pair| STANDARD.encode(pair.public_key()));
                format!("{ED25519_PUBLIC_PREFIX}{}", public.unwrap_or_default())
            }
        }
    }

    /// One signature of `webhook-signature`: the scheme, a comma, and the base64 of the HMAC or
    /// ed25519 signature over `id.timestamp.body` (Standard Webhooks, "Signature scheme").
    pub fn sign(&self, id: &MessageId, at: Timestamp, body: &[u8]) -> String {
        let head = format!("{id}.{}.", at.as_seconds());
        match &self.0 {
            Key::Hmac(key) => {
                #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
                mac.update(head.as_bytes());
                mac.update(body);
                format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
            }
            Key::Ed25519(seed) => {
                let signed = [head.as_bytes(), body].concat();
                let signature = pair(seed).map(|pair| STANDARD.encode(pair.sign(&signed)));
                format!("v1a,{}", signature.unwrap_or_default())
            }
        }
    }
}

/// `None` never: any 32 bytes are a seed.
fn pair(seed: &[u8; 32]) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(seed).ok()
}

impl fmt::Debug for EndpointSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointSecret(redacted)")
    }
}

impl TryFrom<String> for EndpointSecret {
    type Error = SecretError;

    fn try_from(text: String) -> Result<Self, SecretError> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| SecretError);
        let Some(ed25519) = text.strip_prefix(ED25519_PREFIX) else {
            let bytes = decode(text.strip_prefix(HMAC_PREFIX).unwrap_or(&text))?;
            let is_allowed = (24..=75).contains(&bytes.len());
            return is_allowed
                .then_some(Self(Key::Hmac(bytes)))
                .ok_or(SecretError);
        };
        let bytes = decode(ed25519)?;
        let (seed, public) = bytes.split_first_chunk().ok_or(SecretError)?;
        let pair = pair(seed).ok_or(SecretError)?;
        if public.is_empty() || public == pair.public_key().as_ref() {
            Ok(Self(Key::Ed25519(Box::new(*seed))))
        } else {
            Err(SecretError)
        }
    }
}

/// The form that is stored.
impl From<EndpointSecret> for String {
    fn from(secret: EndpointSecret) -> Self {
        match &secret.0 {
            Key::Hmac(_) => secret.expose(),
            Key::Ed25519(seed) => format!("{ED25519_PREFIX}{}", STANDARD.encode(seed.as_slice())),
        }
    }
}

impl PartialSchema for EndpointSecret {
    fn schema() -> RefOr<Schema> {
        let secret = ObjectBuilder::new().schema_type(Type::String);
        let pattern = "^((whsec_)?[a-zA-Z0-9+/=]{32,100}|whsk_[a-zA-Z0-9+/=]{44,88})$";
        secret.pattern(Some(pattern)).build().into()
    }
}

impl ToSchema for EndpointSecret {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("EndpointSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(secret: &str) -> String {
        let secret = EndpointSecret::try_from(secret.to_owned()).unwrap();
        let id = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W".parse().unwrap();
        let at = Timestamp::from_millis(1_674_087_231_999);
        secret.sign(&id, at, br#"{"type":"contact.created"}"#)
    }

    #[test]
    fn the_known_answer_of_v1_holds() {
        // Computed with the `standardwebhooks` Python package 1.1.0.
        assert_eq!(
            signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            "v1,5t/QYgppkyIjIHutBHMQVy3Ghy68cDvncCowsciurFo="
        );
    }

    #[test]
    fn the_known_answer_of_v1a_holds() {
        // The seed and public key of RFC 8032, section 7.1, test 2; the signature was computed with
        // the Python package `cryptography`.
        let seed = "TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=";
        let secret = EndpointSecret::try_from(format!("whsk_{seed}")).unwrap();
        assert_eq!(
            secret.expose(),
            "whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="
        );
        assert_eq!(
            signature(&format!("whsk_{seed}")),
            "v1a,zs5dVi2ETzIYEt9wAZlGvs8O8t9yLQ1mLmGTqafW9pTS1cx+/59CJtpYGtdKa/kh0hhImlXdBvoWwALdi8GrDg=="
        );
    }

    #[test]
    fn only_24_to_75_bytes_are_a_secret() {
        let secret = |bytes: usize, prefix: &str| {
            EndpointSecret::try_from(format!("{prefix}{}", STANDARD.encode(vec![7; bytes])))
        };
        assert!(secret(24, HMAC_PREFIX).is_ok() && secret(75, HMAC_PREFIX).is_ok());
        assert!(secret(23, HMAC_PREFIX).is_err() && secret(76, HMAC_PREFIX).is_err());
        assert_eq!(secret(32, ""), secret(32, HMAC_PREFIX));
        assert!(secret(23, "").is_err() && secret(32, "whpk_").is_err());
        assert!(EndpointSecret::try_from("whsec_!!".to_owned()).is_err());
    }

    #[test]
    fn an_ed25519_key_may_bring_its_own_public_key_only() {
        let key = |bytes: &[u8]| {
            EndpointSecret::try_from(format!("{ED25519_PREFIX}{}", STANDARD.encode(bytes)))
        };
        let seed = [7; 32];
        let public = pair(&seed).unwrap().public_key().as_ref().to_vec();
        assert_eq!(key(&seed), key(&[seed.to_vec(), public].concat()));
        assert_eq!(key(&[7; 64]), Err(SecretError), "another key's public half");
        assert_eq!(key(&[7; 31]), Err(SecretError));
        let stored = String::from(key(&seed).unwrap());
        assert_eq!(EndpointSecret::try_from(stored), key(&seed));
    }

    #[test]
    fn the_api_description_names_the_type() {
        assert_eq!(EndpointSecret::name(), "EndpointSecret");
    }

    #[test]
    fn debug_shows_nothing() {
        let secret = EndpointSecret::generate([7; 32]);
        assert_eq!(format!("{secret:?}"), "EndpointSecret(redacted)");
    }
}
