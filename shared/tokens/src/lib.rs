//! Verifies bearer tokens with what the config table says of them: the public keys, and the revoked
//! tokens ([`Trust`]). No function that verifies can sign; the api function mints.
//!
//! One read brings both, and a process reads every 10 seconds in use, so a token that was revoked works for
//! up to 10 seconds. A token that names a key which the process does not know is
//! refused only after a read that started after the token came: a new key's tokens are good at
//! once, whoever floods the function with forged ones. Those cost at most 20 reads a second and process.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, header};
use posthorn_domain::{
    error::ApiError,
    timestamp::Timestamp,
    token::{Presented, Scope, TokenError, Trust},
};
use posthorn_runtime::{
    metrics::{Metric, count},
    now,
};
use posthorn_store::TrustRow;

/// For how long what was read is used: so long a revoked token still works.
const MAX_AGE: Duration = Duration::from_secs(10);

/// The least time from one read to the next that an unknown key asks for; the request waits for it.
const READ_AGAIN: Duration = Duration::from_millis(50);

/// Verifies bearer tokens.
#[derive(Debug)]
pub struct Tokens {
    row: TrustRow,
    known: Mutex<Option<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    trust: Arc<Trust>,
    /// When the read started.
    read_at: Timestamp,
}

impl Known {
    fn is_fresh(&self, now: Timestamp) -> bool {
        // A clock that was set back makes nothing fresh for ever.
        self.read_at <= now && now < self.read_at.plus(MAX_AGE)
    }

    /// How long a read for the sake of an unknown key has to wait.
    fn wait(&self, now: Timestamp) -> Duration {
        let next = self.read_at.plus(READ_AGAIN).as_millis();
        let left = u64::try_from(next - now.as_millis()).unwrap_or_default();
        Duration::from_millis(left).min(READ_AGAIN)
    }
}

impl Tokens {
    /// Verifies with what this row says; the first token reads it.
    pub fn new(row: TrustRow) -> Self {
        Self {
            row,
            known: Mutex::default(),
        }
    }

    /// Who is calling. Refused tokens are counted: `TokensRefused`.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] with a reason that helps; [`ApiError::Unavailable`] for a token that may be
    /// good, while the table cannot be read.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Scope, ApiError> {
        let header = headers.get(header::AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok());
        self.verify(Presented::read(header)).await
    }

    /// Who holds a token that came in a body.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub async fn authenticate_bare(&self, token: &str) -> Result<Scope, ApiError> {
        self.verify(Presented::bare(token)).await
    }

    async fn verify(
        &self,
        presented: Result<Presented<'_>, TokenError>,
    ) -> Result<Scope, ApiError> {
        let refused = |error: TokenError| refuse(&error.to_string());
        let presented = presented.map_err(refused)?;
        let trust = self.trust_for(&presented).await?;
        trust.authenticate(&presented, now()).map_err(refused)
    }

    async fn trust_for(&self, presented: &Presented<'_>) -> Result<Arc<Trust>, ApiError> {
        let known = self.known();
        let Some(known) = known.filter(|known| known.is_fresh(now())) else {
            return self.read().await;
        };
        if known.trust.knows(presented) {
            return Ok(known.trust);
        }
        tokio::time::sleep(known.wait(now())).await;
        self.read().await
    }

    async fn read(&self) -> Result<Arc<Trust>, ApiError> {
        let read_at = now();
        let trust = self.row.get().await.map_err(|error| {
            tracing::error!(%error, "the token keys could not be read");
            ApiError::Unavailable
        })?;
        let trust = Arc::new(trust);
        let known = Known {
            trust: Arc::clone(&trust),
            read_at,
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(trust)
    }

    fn known(&self) -> Option<Known> {
        let known = self.known.lock();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Counts a token that is refused.
pub fn refuse(reason: &str) -> ApiError {
    count(Metric::TokensRefused, 1);
    ApiError::Unauthorized(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_cost_twenty_reads_a_second_at_most() {
        let at = |millis: i64| Timestamp::from_millis(1_700_000_000_000 + millis);
        let known = Known {
            trust: Arc::default(),
            read_at: at(0),
        };
        let waits = [0, 20, 50, 9_000].map(|millis| known.wait(at(millis)).as_millis());
        assert_eq!(waits, [50, 30, 0, 0]);
        assert_eq!(known.wait(at(-5_000)), READ_AGAIN, "a clock set back");
        assert!(known.is_fresh(at(9_999)) && !known.is_fresh(at(10_000)));
        assert!(!known.is_fresh(at(-1)), "a clock set back");
    }
}
