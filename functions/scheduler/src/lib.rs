//! The scheduler: every minute, it queues the attempts that fall due in the next minute ([`Due`]).
//!
//! In the remaining time it continues the audit ([`Auditor`]).

mod audit;
mod due;
mod start;

use std::time::Duration;

use lambda_runtime::LambdaEvent;
use posthorn_domain::timestamp::Timestamp;
use posthorn_queue::QueueError;
use posthorn_runtime::{StartError, deadline, now};
use posthorn_store::StoreError;
use serde_json::{Value, json};

pub use audit::{Audited, Auditor};
pub use due::{Due, Report};

/// Time reserved at the end of a run for the batch that is being sent.
const MARGIN: Duration = Duration::from_secs(15);

/// What the function works with; built once per process.
#[derive(Debug)]
pub struct Scheduler {
    due: Due,
    auditor: Auditor,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A read or write of the table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Tasks could not be queued.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl RunError {
    /// Whether AWS failed, as opposed to data that cannot be read.
    fn is_aws_failure(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error, StoreError::Aws { .. }),
            Self::Queue(_) => true,
        }
    }
}

impl Scheduler {
    /// Answers one invocation with what was done.
    ///
    /// # Errors
    /// When the run ended early; the next one continues.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value, StartError> {
        let done = self.run(deadline(event.context.deadline)).await;
        let done = done.inspect_err(
            |error| tracing::error!(%error, "the run ended early; the next one continues"),
        );
        Ok(done?)
    }

    /// Due attempts come first; the audit gets the remaining time.
    async fn run(&self, deadline: Timestamp) -> Result<Value, RunError> {
        let Report { minutes, queued } = self.due.run(now(), deadline).await?;
        let Audited { seen, repaired } = self.auditor.run(deadline).await?;
        Ok(json!({ "minutes": minutes, "queued": queued, "audited": seen, "repaired": repaired }))
    }
}
