//! What can go wrong in a table.

use std::error::Error;

use aws_sdk_dynamodb::error::{DisplayErrorContext, SdkError};

/// A read or write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB refused, was throttled or out of reach, after the SDK's retries.
    #[error("DynamoDB {operation} failed: {reason}")]
    Aws {
        /// The operation, as `PutItem`.
        operation: &'static str,
        /// The whole chain of causes, for logs.
        reason: String,
    },
    /// An item is not what this version writes.
    #[error("an item could not be read or written: {0}")]
    Item(#[from] serde_dynamo::Error),
    /// A payload could not be compressed or expanded.
    #[error("a payload could not be compressed or expanded: {0}")]
    Payload(#[from] std::io::Error),
    /// An item lacks an attribute, or it has another type.
    #[error("an item has no valid attribute `{0}`")]
    Attribute(&'static str),
}

impl StoreError {
    pub(crate) fn aws<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> Self
    where
        E: Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        move |error| Self::Aws {
            operation,
            reason: DisplayErrorContext(&error).to_string(),
        }
    }
}
