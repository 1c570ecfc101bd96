//! KMS: GenerateDataKey and Decrypt, with keys of this machine.

use std::{collections::BTreeMap, io, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use posthorn_domain::{
    envelope::{DATA_KEY_BYTES, DataKey, Sealed},
    id::DataKeyId,
    timestamp::Timestamp,
};
use posthorn_runtime::entropy;
use serde_json::{Value, json};

use super::secrets;

/// The keys by their ids, which are logical ids.
#[derive(Clone, Debug)]
pub(super) struct Kms(BTreeMap<String, DataKey>);

/// An error's code and message.
type Refusal = (&'static str, &'static str);

/// The file of a key in the data folder.
pub(super) fn file(id: &str) -> String {
    format!("kms-{id}")
}

impl Kms {
    /// Reads the keys from the data folder; creates missing ones.
    pub(super) fn open(ids: &[String], data: Option<&Path>) -> io::Result<Self> {
        let key = |id: &String| {
            let text = secrets::open(&file(id), data)?;
            Ok((id.clone(), key(&text).ok_or(io::ErrorKind::InvalidData)?))
        };
        ids.iter().map(key).collect::<io::Result<_>>().map(Self)
    }

    /// Executes an operation; `None` when it is not supported here.
    pub(super) fn serve(&self, operation: &str, request: &Value) -> Option<Result<Value, Refusal>> {
        match operation {
            "GenerateDataKey" => Some(self.generate(request)),
            "Decrypt" => Some(self.decrypt(request)),
            _ => None,
        }
    }

    fn generate(&self, request: &Value) -> Result<Value, Refusal> {
        let (id, key) = self.key(request)?;
        let plain = STANDARD.encode(entropy::<DATA_KEY_BYTES>());
        match key.seal(&context(request), &plain, entropy()) {
            Ok(Sealed::Envelope { text, .. }) => {
                Ok(json!({ "KeyId": id, "Plaintext": plain, "CiphertextBlob": text }))
            }
            _ => Err(("KMSInternalException", "the key cannot encrypt")),
        }
    }

    fn decrypt(&self, request: &Value) -> Result<Value, Refusal> {
        let (id, key) = self.key(request)?;
        let wrapped = request["CiphertextBlob"].as_str().unwrap_or_default();
        let plain = key.open(&context(request), wrapped);
        let plain = plain.map_err(|_| {
            let reason = "wrong key, wrong encryption context, or changed ciphertext";
            ("InvalidCiphertextException", reason)
        })?;
        Ok(json!({ "KeyId": id, "Plaintext": plain }))
    }

    fn key<'a>(&self, request: &'a Value) -> Result<(&'a str, &DataKey), Refusal> {
        let id = request["KeyId"].as_str().unwrap_or_default();
        let name = id.rsplit([':', '/']).next().unwrap_or_default();
        let key = self.0.get(name);
        Ok((
            id,
            key.ok_or(("NotFoundException", "there is no such key"))?,
        ))
    }
}

fn key(text: &str) -> Option<DataKey> {
    let digits = |n: usize| text.get(2 * n..2 * n + 2);
    let byte = |n| u8::from_str_radix(digits(n)?, 16).ok();
    let bytes: Vec<u8> = (0..DATA_KEY_BYTES).map(byte).collect::<Option<_>>()?;
    let id = DataKeyId::new(Timestamp::from_millis(1_700_000_000_000), [0; 15]);
    DataKey::new(id, &bytes).ok()
}

/// The encryption context, with sorted entries.
fn context(request: &Value) -> String {
    request["EncryptionContext"].to_string()
}
