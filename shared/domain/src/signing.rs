//! Standard Webhooks 1.0 signatures: HMAC-SHA256, scheme `v1`.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{id::MessageId, timestamp::Timestamp};

/// Bytes of a secret that Posthorn makes.
pub const GENERATED_SECRET_BYTES: usize = 32;

const PREFIX: &str = "whsec_";

/// An endpoint's signing key: `whsec_` and the base64 of 24 to 75 bytes
/// (Standard Webhooks, "Signature scheme": between 24 and 64 bytes are recommended).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointSecret(Vec<u8>);

/// The text is not an endpoint secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be `whsec_` followed by the base64 of 24 to 75 bytes")]
pub struct SecretError;

impl EndpointSecret {
    /// A secret of random bytes.
    pub fn generate(entropy: [u8; GENERATED_SECRET_BYTES]) -> Self {
        Self(entropy.to_vec())
    }

    /// The secret as receivers take it. This is the only way to see it.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// The value of `webhook-signature` for one attempt: `v1,` and the base64 of the HMAC over
    /// `id.timestamp.body` (Standard Webhooks, "Signature scheme").
    pub fn sign(&self, id: &MessageId, at: Timestamp, body: &[u8]) -> String {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any key length");
        mac.update(format!("{id}.{}.", at.as_seconds()).as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for EndpointSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointSecret(redacted)")
    }
}

impl TryFrom<String> for EndpointSecret {
    type Error = SecretError;

    fn try_from(text: String) -> Result<Self, SecretError> {
        let key = text.strip_prefix(PREFIX).ok_or(SecretError)?;
        let bytes = STANDARD.decode(key).map_err(|_| SecretError)?;
        if (24..=75).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(SecretError)
        }
    }
}

impl From<EndpointSecret> for String {
    fn from(secret: EndpointSecret) -> Self {
        secret.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answer_holds() {
        // Computed with the `standardwebhooks` Python package 1.1.0.
        let secret = EndpointSecret::try_from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let id = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W".parse().unwrap();
        let at = Timestamp::from_millis(1_674_087_231_999);
        let signature = secret
            .unwrap()
            .sign(&id, at, br#"{"type":"contact.created"}"#);
        assert_eq!(signature, "v1,5t/QYgppkyIjIHutBHMQVy3Ghy68cDvncCowsciurFo=");
    }

    #[test]
    fn only_24_to_75_bytes_with_the_prefix_are_a_secret() {
        let secret = |bytes: usize, prefix: &str| {
            EndpointSecret::try_from(format!("{prefix}{}", STANDARD.encode(vec![7; bytes])))
        };
        assert!(secret(24, PREFIX).is_ok() && secret(75, PREFIX).is_ok());
        assert!(secret(23, PREFIX).is_err() && secret(76, PREFIX).is_err());
        assert!(secret(32, "").is_err());
        assert!(EndpointSecret::try_from("whsec_!!".to_owned()).is_err());
    }

    #[test]
    fn debug_shows_nothing() {
        let secret = EndpointSecret::generate([7; 32]);
        assert_eq!(format!("{secret:?}"), "EndpointSecret(redacted)");
    }
}
