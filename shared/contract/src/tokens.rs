//! Verifies bearer tokens against the config table's public keys and revoked tokens ([`Trust`]).
//! Only the api function can sign tokens; the functions that merely verify them cannot.
//!
//! One read returns both, and a process in use reads every 10 seconds, so a revoked token keeps
//! working for up to 10 seconds. A token that names an unknown key is refused only after a read
//! that started after the token arrived: a new key's tokens work at once, even while somebody
//! floods the function with forged ones. Forged tokens cost at most 20 reads per second and
//! process.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, header};
use posthorn_domain::{
    timestamp::Timestamp,
    token::{Presented, Scope, TokenError, Trust},
};
use posthorn_runtime::{
    metrics::{Metric, count},
    now,
};
use posthorn_store::TrustRow;

use crate::ApiError;

/// How long the result of a read is used, and so how long a revoked token keeps working.
const MAX_AGE: Duration = Duration::from_secs(10);

/// The shortest time between two reads for unknown keys; a request waits until it has passed.
const READ_AGAIN: Duration = Duration::from_millis(50);

/// Verifies bearer tokens.
#[derive(Debug)]
pub struct Tokens {
    row: TrustRow,
    known: Mutex<Option<Snapshot>>,
}

#[derive(Clone, Debug)]
struct Snapshot {
    trust: Arc<Trust>,
    /// When the read started.
    read_at: Timestamp,
}

impl Snapshot {
    fn is_fresh(&self, now: Timestamp) -> bool {
        // After the clock was set back, nothing may count as fresh for ever.
        self.read_at <= now && now < self.read_at.plus(MAX_AGE)
    }

    /// How long a read for an unknown key has to wait.
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

    /// The scope of the caller's token. Refused tokens are counted as `TokensRefused`.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] with a helpful reason; [`ApiError::Unavailable`] if the token may
    /// be valid but the table cannot be read.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Scope, ApiError> {
        let header = headers.get(header::AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok());
        self.verify(Presented::read(header)).await
    }

    /// The scope of a token from a request body.
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
        let known = Snapshot {
            trust: Arc::clone(&trust),
            read_at,
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(trust)
    }

    fn known(&self) -> Option<Snapshot> {
        let known = self.known.lock();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Counts a refused token, and returns the error to answer with.
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
        let known = Snapshot {
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
