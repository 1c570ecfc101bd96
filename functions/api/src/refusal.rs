//! Answers for requests that are not carried out.

use std::error::Error;

use axum::response::{IntoResponse, Response};
use posthorn_domain::error::{ApiError, FieldError};
use posthorn_publish::PublishError;
use posthorn_queue::QueueError;
use posthorn_runtime::http::note_fault;
use posthorn_store::StoreError;
use posthorn_vault::VaultError;

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The caller's fault; the answer says what to change.
    Caller(ApiError),
    /// Ours: logged, answered with 503.
    Fault(Box<dyn Error + Send + Sync>),
}

impl Refusal {
    /// The same, where the body that broke a rule is a field of another one.
    pub(crate) fn within(self, field: &str) -> Self {
        match self {
            Self::Caller(ApiError::Invalid(error)) => error.within(field).into(),
            refusal => refusal,
        }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Caller(error)
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::Caller(error.into())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Self {
        Self::Fault(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Caller(error) => error,
            Self::Fault(error) => {
                tracing::error!(%error, "a request failed");
                ApiError::Unavailable
            }
        };
        note_fault(&error);
        let status = axum::http::StatusCode::from_u16(error.status());
        let status = status.unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
        (status, [("content-type", "application/json")], error.body()).into_response()
    }
}
