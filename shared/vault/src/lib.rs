//! Seals and opens endpoints' secrets, which the tables hold encrypted.
//!
//! A data key encrypts the secrets ([`posthorn_domain::envelope`]); KMS encrypts the data key, and
//! the config table keeps it in that form under its id. A process asks KMS once for each data key
//! and then keeps it in memory, so sealing and opening need no calls. A replaced data key
//! ([`Vault::rotate`]) still opens what it sealed.

mod kms;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_config::SdkConfig;
use posthorn_domain::{
    endpoint::Confidential,
    envelope::{DataKey, EnvelopeError, Sealed},
    id::DataKeyId,
    key::EndpointKey,
    timestamp::Timestamp,
};
use posthorn_runtime::{entropy, env, now};
use posthorn_store::{Consistency, DataKeys, StoreError, WrappedKey};

use kms::Kms;

/// How long a process seals with a data key before it looks for a newer one.
const CURRENT_FOR: Duration = Duration::from_secs(300);

/// After KMS or the table fails, calls fail at once for this long. Otherwise every task of a batch would
/// wait for its own call to fail.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// Why something could not be sealed or opened. No variant includes the secret itself.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The config table could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// KMS did not create or decrypt a data key.
    #[error("KMS {operation}: {reason}")]
    Kms {
        /// The operation.
        operation: &'static str,
        /// Its error code.
        reason: String,
    },
    /// The envelope or a data key is invalid.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The envelope names a data key that the table does not have.
    #[error("there is no data key {0}")]
    NoKey(DataKeyId),
    /// There are envelopes, but `SECRETS_KEY` names no KMS key to open them.
    #[error("an envelope cannot be opened: the deployment has no KMS key (SECRETS_KEY is empty)")]
    NoKms,
    /// Something is stored as plain text although this deployment seals everything, so this
    /// deployment did not write it.
    #[error("plain text is refused: the deployment has a KMS key")]
    Plain,
    /// The content of an envelope does not have the expected shape.
    #[error("an envelope has unexpected content")]
    Content,
}

impl VaultError {
    /// Whether trying again is pointless, because what is stored is wrong.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Envelope(_) | Self::NoKey(_) | Self::Plain | Self::Content => true,
            Self::Store(_) | Self::Kms { .. } | Self::NoKms => false,
        }
    }
}

/// The data keys of a deployment. A deployment without a KMS key has none: secrets are then stored
/// as plain text, and only the table's own encryption protects them.
#[derive(Debug)]
pub struct Vault {
    stored: DataKeys,
    kms: Option<Kms>,
    keys: Mutex<Keys>,
    /// Held while a data key is read or created, so that a batch asks for a new key only once.
    requesting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Keys {
    known: HashMap<DataKeyId, Arc<DataKey>>,
    /// The data key that seals, and when it was last known to be the newest.
    current: Option<(Arc<DataKey>, Timestamp)>,
    /// When reading or creating a key last failed.
    failed_at: Option<Timestamp>,
}

impl Vault {
    /// A vault with the KMS key that the variable `SECRETS_KEY` names; empty means none.
    ///
    /// # Errors
    /// When the variable is not set.
    pub fn from_env(config: &SdkConfig, stored: DataKeys) -> Result<Self, env::EnvError> {
        let key = env::required("SECRETS_KEY")?;
        Ok(Self {
            stored,
            kms: (!key.is_empty()).then(|| Kms::new(config, key)),
            keys: Mutex::default(),
            requesting: tokio::sync::Mutex::default(),
        })
    }

    /// Seals an endpoint's secrets.
    pub async fn seal(
        &self,
        endpoint: EndpointKey<'_>,
        confidential: &Confidential,
    ) -> Result<Sealed, VaultError> {
        let text = serde_json::to_string(confidential).map_err(|_| VaultError::Content)?;
        let Some(kms) = &self.kms else {
            return Ok(Sealed::Plain(text));
        };
        let key = self.current(kms).await?;
        Ok(key.seal(&endpoint.envelope_owner(), &text, entropy())?)
    }

    /// Opens an endpoint's secrets.
    pub async fn open(
        &self,
        endpoint: EndpointKey<'_>,
        sealed: &Sealed,
    ) -> Result<Confidential, VaultError> {
        let opened;
        let text = match sealed {
            // Otherwise whoever can write to the table could place their own secret there.
            Sealed::Plain(_) if self.kms.is_some() => return Err(VaultError::Plain),
            Sealed::Plain(text) => text,
            Sealed::Envelope { key, text } => {
                let kms = self.kms.as_ref().ok_or(VaultError::NoKms)?;
                let key = self.key(kms, key).await?;
                opened = key.open(&endpoint.envelope_owner(), text)?;
                &opened
            }
        };
        // Not the parser's error, which quotes the text.
        serde_json::from_str(text).map_err(|_| VaultError::Content)
    }

    /// Creates a new data key, which seals from now on; other processes may use the previous one
    /// for up to 5 more minutes. `None` without KMS.
    pub async fn rotate(&self) -> Result<Option<DataKeyId>, VaultError> {
        let Some(kms) = &self.kms else {
            return Ok(None);
        };
        let _requesting = self.requesting.lock().await;
        let key = self.create(kms).await?;
        Ok(Some(key.id().clone()))
    }

    async fn current(&self, kms: &Kms) -> Result<Arc<DataKey>, VaultError> {
        let _requesting = self.requesting.lock().await;
        let current = self.keys().current.clone();
        if let Some((key, since)) = current
            && now() < since.plus(CURRENT_FOR)
        {
            return Ok(key);
        }
        let newest = self.stored.newest().await?;
        // A data key of another KMS key cannot be decrypted here: the deployment was without a KMS
        // key in between.
        let newest = newest.filter(|(_, wrapped)| wrapped.kms_key == kms.key);
        let Some((id, wrapped)) = newest else {
            return self.create(kms).await;
        };
        let known = self.keys().known.get(&id).cloned();
        let key = match known {
            Some(key) => key,
            None => self.unwrap(kms, id, &wrapped.wrapped).await?,
        };
        self.keys().current = Some((Arc::clone(&key), now()));
        Ok(key)
    }

    async fn key(&self, kms: &Kms, id: &DataKeyId) -> Result<Arc<DataKey>, VaultError> {
        let known = || self.keys().known.get(id).cloned();
        if let Some(key) = known() {
            return Ok(key);
        }
        let _requesting = self.requesting.lock().await;
        if let Some(key) = known() {
            return Ok(key);
        }
        let failed_at = self.keys().failed_at;
        if failed_at.is_some_and(|failed_at| now() < failed_at.plus(FAILED_FOR)) {
            return Err(VaultError::Kms {
                operation: "Decrypt",
                reason: "failed a moment ago".to_owned(),
            });
        }
        let read = self.read(kms, id).await;
        if read.as_ref().is_err_and(|error| !error.is_lasting()) {
            self.keys().failed_at = Some(now());
        }
        read
    }

    async fn read(&self, kms: &Kms, id: &DataKeyId) -> Result<Arc<DataKey>, VaultError> {
        // An eventually consistent read could miss a data key that was just created.
        let wrapped = self.stored.get(id, Consistency::Strong).await?;
        let wrapped = wrapped.ok_or_else(|| VaultError::NoKey(id.clone()))?;
        self.unwrap(kms, id.clone(), &wrapped.wrapped).await
    }

    async fn unwrap(
        &self,
        kms: &Kms,
        id: DataKeyId,
        wrapped: &[u8],
    ) -> Result<Arc<DataKey>, VaultError> {
        let bytes = kms.decrypt(&id, wrapped).await?;
        let key = Arc::new(DataKey::new(id.clone(), &bytes)?);
        self.keys().known.insert(id, Arc::clone(&key));
        Ok(key)
    }

    /// Two processes may create one each at the same time: both are kept, and the newer one seals.
    async fn create(&self, kms: &Kms) -> Result<Arc<DataKey>, VaultError> {
        let id = DataKeyId::new(now(), entropy());
        let (bytes, wrapped) = kms.generate(&id).await?;
        let key = Arc::new(DataKey::new(id.clone(), &bytes)?);
        // Stored before it seals anything; otherwise what it sealed could be lost.
        let wrapped = WrappedKey {
            wrapped,
            kms_key: kms.key.clone(),
        };
        self.stored.put(&id, wrapped).await?;
        let mut keys = self.keys();
        keys.known.insert(id, Arc::clone(&key));
        keys.current = Some((Arc::clone(&key), now()));
        drop(keys);
        Ok(key)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
