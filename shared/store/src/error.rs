//! What can go wrong in a table.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// Why a read or write failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB refused, throttled or could not be reached, after the SDK's retries.
    #[error("DynamoDB {operation} failed: {reason}")]
    Aws {
        /// The operation, for example `PutItem`.
        operation: &'static str,
        /// The whole chain of causes, for logs.
        reason: String,
    },
    /// An item does not have the shape that this version writes.
    #[error("an item could not be read or written: {0}")]
    Item(#[from] serde_dynamo::Error),
    /// A payload could not be compressed or expanded.
    #[error("a payload could not be compressed or expanded: {0}")]
    Payload(#[from] std::io::Error),
    /// An attribute is missing or has the wrong type.
    #[error("an item has no valid attribute `{0}`")]
    Attribute(&'static str),
}

impl StoreError {
    pub(crate) fn aws<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> Self
    where
        E: Error + ProvideErrorMetadata + 'static,
        R: std::fmt::Debug + 'static,
    {
        move |error| Self::Aws {
            operation,
            reason: reason(&error),
        }
    }
}

/// The chain of causes, with AWS's code and message. Not the error's `Debug`: it includes the
/// response, and with it secrets and payloads.
fn reason<E: Error + ProvideErrorMetadata + 'static, R: std::fmt::Debug + 'static>(
    error: &SdkError<E, R>,
) -> String {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason.push_str(&format!(": {error}"));
        cause = error.source();
    }
    for part in [error.code(), error.message()].into_iter().flatten() {
        reason.push_str(&format!(" ({part})"));
    }
    reason
}
