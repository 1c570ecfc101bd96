//! Calls of KMS.

use aws_config::SdkConfig;
use aws_sdk_kms::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::DataKeySpec,
};
use posthorn_domain::id::DataKeyId;

use crate::VaultError;

/// The name of the encryption context's only entry; it appears in CloudTrail.
const CONTEXT: &str = "posthorn:data-key";

/// A KMS key.
#[derive(Clone, Debug)]
pub(crate) struct Kms {
    client: Client,
    pub(crate) key: String,
}

impl Kms {
    pub(crate) fn new(config: &SdkConfig, key: String) -> Self {
        Self {
            client: Client::new(config),
            key,
        }
    }

    /// A new data key: its bytes, plain and encrypted.
    pub(crate) async fn generate(&self, id: &DataKeyId) -> Result<(Vec<u8>, Vec<u8>), VaultError> {
        const OPERATION: &str = "GenerateDataKey";
        let request = self
            .client
            .generate_data_key()
            .key_id(&self.key)
            .key_spec(DataKeySpec::Aes256)
            .encryption_context(CONTEXT, id.as_str());
        let output = request.send().await.map_err(failed(OPERATION))?;
        match (output.plaintext, output.ciphertext_blob) {
            (Some(plain), Some(wrapped)) => Ok((plain.into_inner(), wrapped.into_inner())),
            _ => Err(empty(OPERATION)),
        }
    }

    /// The bytes of a data key.
    pub(crate) async fn decrypt(
        &self,
        id: &DataKeyId,
        wrapped: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        const OPERATION: &str = "Decrypt";
        let request = self
            .client
            .decrypt()
            .key_id(&self.key)
            .ciphertext_blob(Blob::new(wrapped))
            .encryption_context(CONTEXT, id.as_str());
        let output = request.send().await.map_err(failed(OPERATION))?;
        let plain = output.plaintext.ok_or_else(|| empty(OPERATION))?;
        Ok(plain.into_inner())
    }
}

/// Uses the error's code only: its `Debug` may include the response, and with it the key.
fn failed<E: ProvideErrorMetadata, R>(
    operation: &'static str,
) -> impl Fn(SdkError<E, R>) -> VaultError {
    move |error| VaultError::Kms {
        operation,
        reason: error.code().unwrap_or("no answer").to_owned(),
    }
}

fn empty(operation: &'static str) -> VaultError {
    VaultError::Kms {
        operation,
        reason: "the response has no key".to_owned(),
    }
}
