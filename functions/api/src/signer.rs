//! The key that signs tokens. Only this function may read its secret; whoever verifies reads the
//! public key in the config table.
//!
//! The secret is the truth, and the table follows it: a key signs nothing before its public
//! half is in the table. So a rotation may end anywhere and lose nothing: the next token completes it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
};
use posthorn_domain::{
    id::TokenId,
    timestamp::Timestamp,
    token::{KeyError, MintError, Scope, TokenKey, Trust, TrustError},
};
use posthorn_runtime::{entropy, env};
use posthorn_store::{Changed, StoreError, TrustRow, Written};

use crate::TRIES;

/// A token could not be made, or the key not be replaced.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// Secrets Manager. Not the error's `Debug`: it holds the response, and with it the key.
    #[error("Secrets Manager {operation}: {reason}")]
    Secret {
        /// The operation.
        operation: &'static str,
        /// Its error code.
        reason: String,
    },
    /// The secret is too short.
    #[error("the secret that TOKEN_KEY_SECRET names is unusable: {0}")]
    Key(#[from] KeyError),
    /// The config table.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secret holds a key that was replaced, or the list of revocations is full.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The signature.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// Others changed the same row again and again.
    #[error("others changed the token keys at the same time: try again")]
    Busy,
}

/// Signs tokens, and replaces the key that does.
#[derive(Debug)]
pub struct Signer {
    client: Client,
    secret: String,
    trust: TrustRow,
    known: Mutex<Option<Arc<TokenKey>>>,
}

impl Signer {
    /// Signs with the secret that `TOKEN_KEY_SECRET` names; it is read for the first token.
    ///
    /// # Errors
    /// When the variable is not set.
    pub fn from_env(config: &SdkConfig, trust: TrustRow) -> Result<Self, env::EnvError> {
        Ok(Self {
            client: Client::new(config),
            secret: env::required("TOKEN_KEY_SECRET")?,
            trust,
            known: Mutex::default(),
        })
    }

    /// Makes a token. It costs a read of the table, and the first one of a process one of the secret.
    pub(crate) async fn mint(
        &self,
        scope: &Scope,
        id: TokenId,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, SignerError> {
        let key = self.current().await?;
        Ok(key.mint(scope, id, now, lifetime)?)
    }

    /// Puts a new key into the secret and its public half into the table: from then on it signs. The
    /// previous key goes on verifying, unless it is to end. Returns the new key's id.
    pub(crate) async fn rotate(&self, end_previous: bool) -> Result<String, SignerError> {
        let bytes = entropy::<32>();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = Arc::new(TokenKey::new(text.as_bytes())?);
        let put = self.client.put_secret_value().secret_id(&self.secret);
        let put = put.secret_string(text).send().await;
        put.map_err(failed("PutSecretValue"))?;
        let public = key.public().clone();
        self.change_trust(|trust| trust.with_current(public.clone(), !end_previous))
            .await?;
        let id = key.public().id.clone();
        self.remember(key);
        Ok(id)
    }

    /// The key that the table names, after the table was told of the secret's.
    async fn current(&self) -> Result<Arc<TokenKey>, SignerError> {
        let current = TRIES.until(|| self.try_current()).await?;
        current.ok_or(SignerError::Busy)
    }

    /// `None` when others changed what verifiers know meanwhile.
    async fn try_current(&self) -> Result<Option<Arc<TokenKey>>, SignerError> {
        let trust = self.trust.get().await?;
        let is_current = |key: &TokenKey| trust.current() == Some(key.public());
        if let Some(key) = self.known().filter(|key| is_current(key)) {
            return Ok(Some(key));
        }
        let key = Arc::new(self.read().await?);
        if !is_current(&key) {
            let seen = trust.revision;
            let next = trust.with_current(key.public().clone(), true)?;
            if self.trust.put(&next, seen).await? != Written::Yes {
                return Ok(None);
            }
        }
        self.remember(Arc::clone(&key));
        Ok(Some(key))
    }

    /// Changes what verifiers know.
    pub(crate) async fn change_trust(
        &self,
        next: impl Fn(Trust) -> Result<Trust, TrustError>,
    ) -> Result<(), SignerError> {
        let decide = |trust| Ok::<_, SignerError>(next(trust)?);
        match self.trust.change(TRIES, decide).await? {
            Changed::Stored(_) | Changed::Left(_) => Ok(()),
            Changed::Taken | Changed::Contended => Err(SignerError::Busy),
        }
    }

    async fn read(&self) -> Result<TokenKey, SignerError> {
        const OPERATION: &str = "GetSecretValue";
        let read = self.client.get_secret_value().secret_id(&self.secret);
        let output = read.send().await.map_err(failed(OPERATION))?;
        let text = output.secret_string().ok_or_else(|| SignerError::Secret {
            operation: OPERATION,
            reason: "it holds no text".to_owned(),
        })?;
        Ok(TokenKey::new(text.as_bytes())?)
    }

    fn known(&self) -> Option<Arc<TokenKey>> {
        let known = self.known.lock();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, key: Arc<TokenKey>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }
}

fn failed<E: ProvideErrorMetadata, R>(
    operation: &'static str,
) -> impl Fn(SdkError<E, R>) -> SignerError {
    move |error| SignerError::Secret {
        operation,
        reason: error.code().unwrap_or("no answer").to_owned(),
    }
}
