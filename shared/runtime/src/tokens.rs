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
use http::{HeaderMap, header};
use posthorn_domain::{
    error::ApiError,
    timestamp::Timestamp,
    token::{KeyError, MintError, Scope, TokenError, TokenKey, TokenKeys},
};

use crate::{
    env::{self, EnvError},
    metrics::{Metric, count},
    now,
};

/// How long keys are used without being read again: so long a key that was replaced twice stays good.
const MAX_AGE: Duration = Duration::from_secs(300);

/// How often the keys are read again at most, when tokens come that none of them signed.
const READ_AGAIN: Duration = Duration::from_secs(60);

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

/// Signs and verifies bearer tokens. A new value of the secret signs within 5 minutes and verifies at
/// once; the value before it verifies until the next replacement, and 5 minutes longer.
#[derive(Debug)]
pub struct Tokens {
    client: Client,
    secret: String,
    known: Mutex<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    keys: Arc<TokenKeys>,
    /// When they were asked for.
    read_at: Timestamp,
    /// When they were last asked for because of a token that they did not sign.
    doubted_at: Timestamp,
}

impl Tokens {
    /// Reads the keys from the secret that `TOKEN_KEY_SECRET` names: two calls per cold start, and two every
    /// 5 minutes in use.
    ///
    /// # Errors
    /// [`TokenKeyError`].
    pub async fn load(config: &SdkConfig) -> Result<Self, TokenKeyError> {
        let secret = env::required("TOKEN_KEY_SECRET")?;
        let client = Client::new(config);
        let keys = Arc::new(read_keys(&client, &secret).await?);
        let known = Mutex::new(Known {
            keys,
            read_at: now(),
            doubted_at: Timestamp::from_millis(0),
        });
        Ok(Self {
            client,
            secret,
            known,
        })
    }

    /// Makes a token with the current key.
    ///
    /// # Errors
    /// [`MintError`].
    pub async fn mint(
        &self,
        scope: &Scope,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, MintError> {
        self.keys(now).await.current.mint(scope, now, lifetime)
    }

    /// Who is calling. Refused tokens are counted: `TokensRefused`.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] with a reason that helps; [`ApiError::Unavailable`] for a token that may be
    /// good, while the keys cannot be read.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Scope, ApiError> {
        let header = headers.get(header::AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok());
        let keys = self.keys(now).await;
        let mut result = keys.authenticate(header, now);
        if result == Err(TokenError::Forged) && self.may_doubt(now) {
            // Signed with a key that is newer than what this process read, perhaps.
            let keys = self.read(now).await.ok_or(ApiError::Unavailable)?;
            result = keys.authenticate(header, now);
        }
        result.map_err(|error| refuse(&error.to_string()))
    }

    /// The keys; read again when they are old. While that fails those of before are used.
    async fn keys(&self, now: Timestamp) -> Arc<TokenKeys> {
        let Known { keys, read_at, .. } = self.known().clone();
        if now < read_at.plus(MAX_AGE) {
            return keys;
        }
        self.read(now).await.unwrap_or(keys)
    }

    /// Whether it is time to read the keys because of one token.
    fn may_doubt(&self, now: Timestamp) -> bool {
        let mut known = self.known();
        let may = now >= known.doubted_at.plus(READ_AGAIN);
        if may {
            known.doubted_at = now;
        }
        may
    }

    async fn read(&self, now: Timestamp) -> Option<Arc<TokenKeys>> {
        match read_keys(&self.client, &self.secret).await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                let mut known = self.known();
                (known.keys, known.read_at) = (Arc::clone(&keys), now);
                Some(keys)
            }
            Err(error) => {
                tracing::error!(%error, "the token keys could not be read again");
                // The next request tries again.
                self.known().doubted_at = Timestamp::from_millis(0);
                None
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a token that is refused.
pub fn refuse(reason: &str) -> ApiError {
    count(Metric::TokensRefused, 1);
    ApiError::Unauthorized(reason.to_owned())
}

async fn read_keys(client: &Client, secret: &str) -> Result<TokenKeys, TokenKeyError> {
    let missing = || TokenKeyError::Read(format!("it has no version {CURRENT}"));
    Ok(TokenKeys {
        current: read_key(client, secret, CURRENT)
            .await?
            .ok_or_else(missing)?,
        previous: match read_key(client, secret, PREVIOUS).await {
            // Put there by mistake and replaced: it signed nothing.
            Err(error @ TokenKeyError::Unusable(_)) => {
                tracing::warn!(%error, "the token key before the current one is left out");
                None
            }
            read => read?,
        },
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
