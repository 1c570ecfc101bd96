//! The deployment's token keys: the current one, and the one before it while it is replaced.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_secret_value::GetSecretValueError,
};
use lambda_http::http::{HeaderMap, header};
use posthorn_domain::{
    error::ApiError,
    timestamp::Timestamp,
    token::{KeyError, MintError, Scope, TokenError, TokenKey, TokenKeys},
};

use crate::{
    emit,
    env::{self, EnvError},
};

/// How often the keys are read again at most, when tokens come that none of them signed.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// Before anything was read again.
const NEVER: Timestamp = Timestamp::from_millis(0);

/// The stages of the secret's versions (AWS Secrets Manager: "Secret versions").
const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// The token keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// The variable that names the secret is missing.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// Secrets Manager did not give it.
    #[error("the secret that TOKEN_KEY_SECRET names could not be read: {0}")]
    Read(String),
    /// It cannot be used.
    #[error("the secret that TOKEN_KEY_SECRET names is unusable: {0}")]
    Unusable(#[from] KeyError),
}

/// Signs and verifies bearer tokens. A new value of the secret signs from the next start of a process
/// on; it verifies at once, and so does the value before it.
#[derive(Debug)]
pub struct Tokens {
    client: Client,
    secret: String,
    /// And when they were read again.
    keys: Mutex<(Arc<TokenKeys>, Timestamp)>,
}

impl Tokens {
    /// Reads the keys from the secret that `TOKEN_KEY_SECRET` names: two calls per cold start.
    ///
    /// # Errors
    /// [`TokenKeyError`].
    pub async fn load(config: &SdkConfig) -> Result<Self, TokenKeyError> {
        let secret = env::required("TOKEN_KEY_SECRET")?;
        let client = Client::new(config);
        let keys = Arc::new(read_keys(&client, &secret).await?);
        let keys = Mutex::new((keys, NEVER));
        Ok(Self {
            client,
            secret,
            keys,
        })
    }

    /// Makes a token with the current key.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint(
        &self,
        scope: &Scope,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, MintError> {
        self.keys().0.current.mint(scope, now, lifetime)
    }

    /// Who is calling. Refused tokens are counted: `TokensRefused`.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] with a reason that helps.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Scope, ApiError> {
        let header = headers.get(header::AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok());
        let (keys, read_at) = self.keys().clone();
        let mut result = keys.authenticate(header, now);
        if result == Err(TokenError::Forged) && now >= read_at.plus(READ_AGAIN) {
            // Signed with a key that is newer than what this process read, perhaps.
            if let Some(keys) = self.read_again(now).await {
                result = keys.authenticate(header, now);
            }
        }
        result.map_err(|error| {
            emit(&[("TokensRefused", 1)]);
            ApiError::Unauthorized(error.to_string())
        })
    }

    async fn read_again(&self, now: Timestamp) -> Option<Arc<TokenKeys>> {
        // Before the call: others need not read as well.
        self.keys().1 = now;
        match read_keys(&self.client, &self.secret).await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                self.keys().0 = Arc::clone(&keys);
                Some(keys)
            }
            Err(error) => {
                tracing::error!(%error, "the token keys could not be read again");
                None
            }
        }
    }

    fn keys(&self) -> MutexGuard<'_, (Arc<TokenKeys>, Timestamp)> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_keys(client: &Client, secret: &str) -> Result<TokenKeys, TokenKeyError> {
    let missing = || TokenKeyError::Read(format!("it has no version {CURRENT}"));
    Ok(TokenKeys {
        current: read_key(client, secret, CURRENT)
            .await?
            .ok_or_else(missing)?,
        previous: read_key(client, secret, PREVIOUS).await?,
    })
}

/// A version of the secret; `None` when there is none of that stage.
async fn read_key(
    client: &Client,
    secret: &str,
    stage: &str,
) -> Result<Option<TokenKey>, TokenKeyError> {
    let request = client.get_secret_value().secret_id(secret);
    let output = match request.version_stage(stage).send().await {
        Ok(output) => output,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => {
            // Not the error's `Debug`: it holds the response, and with it the key.
            let code = error.code().unwrap_or("no answer");
            return Err(TokenKeyError::Read(format!("{error}: {code}")));
        }
    };
    let key = output.secret_string();
    let key = key.ok_or_else(|| TokenKeyError::Read("it holds no text".to_owned()))?;
    Ok(Some(TokenKey::new(key.as_bytes())?))
}

fn is_missing<R>(error: &SdkError<GetSecretValueError, R>) -> bool {
    let error = error.as_service_error();
    error.is_some_and(GetSecretValueError::is_resource_not_found_exception)
}
