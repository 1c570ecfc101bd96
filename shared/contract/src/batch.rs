//! The bodies of `POST /api/v1/app/{app_id}/msg/batch`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{ApiError, message::MessageOut};

/// The most messages of a batch.
pub const MAX_BATCH: usize = 100;

/// The largest batch: 2 MiB. Lambda accepts events of 6 MB, in which every quote of the body is
/// escaped.
pub const MAX_BATCH_BYTES: usize = 2 * 1024 * 1024;

/// The body of `POST /api/v1/app/{app_id}/msg/batch`. Its messages are kept as text: each is parsed
/// on its own, so that an invalid one fails alone.
#[derive(Debug, Deserialize, ToSchema)]
pub struct BatchIn {
    /// 1 to 100 messages, each as the body of `POST …/msg` (`MessageIn`). The list accepts
    /// anything: an item that is not a message fails alone.
    #[schema(value_type = Vec<serde_json::Value>, min_items = 1, max_items = 100)]
    pub messages: BatchTexts,
}

/// The messages of a batch as text: 1 to [`MAX_BATCH`].
#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<Box<RawValue>>")]
pub struct BatchTexts(Vec<Box<RawValue>>);

impl BatchTexts {
    /// The messages' exact texts.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|text| text.get())
    }
}

impl TryFrom<Vec<Box<RawValue>>> for BatchTexts {
    type Error = String;

    fn try_from(texts: Vec<Box<RawValue>>) -> Result<Self, String> {
        match texts.len() {
            1..=MAX_BATCH => Ok(Self(texts)),
            _ => Err(format!("must have 1 to {MAX_BATCH} messages")),
        }
    }
}

/// The result of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchOut {
    /// How many messages were not accepted.
    pub failed: usize,
    /// One result per message, in the order of the batch.
    pub results: Vec<BatchResult>,
}

/// The result of one message of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchResult {
    /// The status that the message would have got on its own: 202 when it was accepted.
    pub status: u16,
    /// The message, when it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageOut>,
    /// The body of the error, when it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub error: Option<ApiError>,
}

impl BatchOut {
    /// From the result of each message.
    pub fn new(results: Vec<Result<MessageOut, ApiError>>) -> Self {
        let result = |result: Result<MessageOut, ApiError>| BatchResult {
            status: result.as_ref().map_or_else(ApiError::status, |_| 202),
            error: result.as_ref().err().cloned(),
            message: result.ok(),
        };
        let results: Vec<_> = results.into_iter().map(result).collect();
        Self {
            failed: results.iter().filter(|it| it.error.is_some()).count(),
            results,
        }
    }
}
