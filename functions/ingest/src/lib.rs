//! Ingest: `POST /api/v1/app/{app_id}/msg`.
//!
//! A message is accepted (202) only after it is stored and one task per matching endpoint is
//! queued. [`handle`] translates HTTP, `publish` decides, `directory` finds the application.

mod directory;
mod handle;
mod publish;

use posthorn_domain::{error::ApiError, token::TokenKey};
use posthorn_queue::{DeliveriesQueue, QueueError};
use posthorn_store::{ConfigTable, MessagesTable, StoreError};

pub use handle::handle;

use crate::directory::Directory;

/// What the function works with; built once per process.
#[derive(Debug)]
pub struct Ingest {
    key: TokenKey,
    directory: Directory,
    messages: MessagesTable,
    queue: DeliveriesQueue,
}

impl Ingest {
    /// Takes the token key, the tables and the queue.
    pub fn new(
        key: TokenKey,
        config: ConfigTable,
        messages: MessagesTable,
        queue: DeliveriesQueue,
    ) -> Self {
        Self {
            key,
            directory: Directory::new(config),
            messages,
            queue,
        }
    }
}

/// Why a message was not accepted.
#[derive(Debug)]
enum Refusal {
    /// The caller's fault; the answer says what to change.
    Caller(ApiError),
    /// Ours: logged, answered with 503.
    Fault(String),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Caller(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.to_string())
    }
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        Self::Fault(error.to_string())
    }
}
