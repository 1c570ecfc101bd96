//! Envelopes: texts that only some functions may read, encrypted with AES-256-GCM under a data key.
//!
//! An envelope names the id of its key, so that earlier envelopes stay readable after a new key.
//! The owner of the text is associated data: an envelope that is moved to another owner does not
//! open.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::id::DataKeyId;

/// Bytes of a data key.
pub const DATA_KEY_BYTES: usize = 32;

/// The random bytes for sealing: the nonce (NIST SP 800-38D, section 8.2.2, allows 2^32 random ones
/// per key).
pub type SealEntropy = [u8; NONCE_LEN];

/// A key that seals and opens.
#[derive(Clone)]
pub struct DataKey {
    id: DataKeyId,
    key: LessSafeKey,
}

/// A text as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sealed {
    /// Encrypted.
    Envelope {
        /// The key that opens it.
        key: DataKeyId,
        /// Base64 of the nonce, the ciphertext and the tag.
        text: String,
    },
    /// Plain text: the deployment relies on the table's encryption alone.
    Plain(String),
}

/// A text could not be sealed or opened. The error does not say why, because that would help a
/// forger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an envelope could not be sealed or opened with this key for this owner")]
pub struct EnvelopeError;

impl DataKey {
    /// A key of [`DATA_KEY_BYTES`].
    ///
    /// # Errors
    /// When the key has another length.
    pub fn new(id: DataKeyId, bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| EnvelopeError)?;
        let key = LessSafeKey::new(key);
        Ok(Self { id, key })
    }

    /// Its id.
    pub fn id(&self) -> &DataKeyId {
        &self.id
    }

    /// Encrypts a text for its owner.
    ///
    /// # Errors
    /// When the text is longer than the cipher allows (64 GiB).
    pub fn seal(
        &self,
        owner: &str,
        text: &str,
        entropy: SealEntropy,
    ) -> Result<Sealed, EnvelopeError> {
        let nonce = Nonce::assume_unique_for_key(entropy);
        let mut sealed = text.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(nonce, self.associated(owner), &mut sealed)
            .map_err(|_| EnvelopeError)?;
        let text = STANDARD.encode([&entropy[..], &sealed].concat());
        let key = self.id.clone();
        Ok(Sealed::Envelope { key, text })
    }

    /// Decrypts the text of an envelope that names this key.
    ///
    /// # Errors
    /// When it has another owner or another key, or was changed.
    pub fn open(&self, owner: &str, text: &str) -> Result<String, EnvelopeError> {
        let mut sealed = STANDARD.decode(text).map_err(|_| EnvelopeError)?;
        let (nonce, sealed) = sealed
            .split_at_mut_checked(NONCE_LEN)
            .ok_or(EnvelopeError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| EnvelopeError)?;
        let opened = self
            .key
            .open_in_place(nonce, self.associated(owner), sealed);
        let opened = opened.map_err(|_| EnvelopeError)?;
        String::from_utf8(opened.to_vec()).map_err(|_| EnvelopeError)
    }

    /// `owner|version`; no id contains a bar.
    fn associated(&self, owner: &str) -> Aad<Vec<u8>> {
        Aad::from(format!("{owner}|{}", self.id).into_bytes())
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({}, redacted)", self.id)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    const OWNER: &str = "org_1|app_1|ep_1";

    fn key(n: u8) -> DataKey {
        let id = DataKeyId::new(Timestamp::from_millis(i64::from(n)), [n; 15]);
        DataKey::new(id, &[n; DATA_KEY_BYTES]).unwrap()
    }

    fn text(sealed: Sealed) -> String {
        match sealed {
            Sealed::Envelope { text, .. } => text,
            Sealed::Plain(_) => panic!("it is not encrypted"),
        }
    }

    #[test]
    fn only_its_key_opens_an_envelope_and_only_for_its_owner() {
        let sealed = text(key(1).seal(OWNER, "whsec_x", [7; 12]).unwrap());
        assert_eq!(key(1).open(OWNER, &sealed).unwrap(), "whsec_x");
        assert_eq!(key(2).open(OWNER, &sealed), Err(EnvelopeError));
        assert_eq!(key(1).open("org_1|app_1|ep_2", &sealed), Err(EnvelopeError));
        // The same bytes as a key of another version.
        let renamed = DataKey::new(key(2).id().clone(), &[1; DATA_KEY_BYTES]).unwrap();
        assert_eq!(renamed.open(OWNER, &sealed), Err(EnvelopeError));
    }

    #[test]
    fn one_changed_bit_anywhere_keeps_it_closed() {
        let sealed = text(key(1).seal(OWNER, "whsec_x", [7; 12]).unwrap());
        let bytes = STANDARD.decode(sealed).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = STANDARD.encode(changed);
            assert_eq!(
                key(1).open(OWNER, &changed),
                Err(EnvelopeError),
                "bit {bit}"
            );
        }
        for cut in ["", "AAAA", "!"] {
            assert_eq!(key(1).open(OWNER, cut), Err(EnvelopeError));
        }
    }

    #[test]
    fn the_known_answer_of_aes_256_gcm_holds() {
        // Computed with Node's `crypto`: aes-256-gcm, with `org_1|app_1|ep_1|key_…` as associated data.
        let id: DataKeyId = "key_2KWPBgLlAfxdpx2AI54pPJ85f4W".parse().unwrap();
        let key = DataKey::new(id, &[1; DATA_KEY_BYTES]).unwrap();
        let sealed = text(key.seal(OWNER, "whsec_x", [7; 12]).unwrap());
        assert_eq!(sealed, "BwcHBwcHBwcHBwcH+puZwWzxyaiICQPzqsPAPUzT7/uHLfg=");
    }

    #[test]
    fn debug_shows_nothing() {
        let sealed = key(1).seal(OWNER, "whsec_x", [7; 12]).unwrap();
        assert_eq!(format!("{sealed:?}"), "Sealed(redacted)");
        assert_eq!(
            format!("{:?}", Sealed::Plain("whsec_x".to_owned())),
            "Sealed(redacted)"
        );
        assert!(format!("{:?}", key(1)).ends_with(", redacted)"));
    }

    #[test]
    fn a_short_key_is_refused() {
        let id = key(1).id().clone();
        assert_eq!(DataKey::new(id, &[1; 16]).unwrap_err(), EnvelopeError);
    }
}
