//! Requests that are not carried out.

use std::fmt::Display;

use axum_core::response::{IntoResponse, Response};
use http::{StatusCode, header::CONTENT_TYPE};
use posthorn_domain::{error::FieldError, token::ScopeError};
use posthorn_publish::PublishError;
use posthorn_queue::QueueError;
use posthorn_runtime::Panicked;
use posthorn_store::StoreError;

use crate::{ApiError, http::note_fault};

/// Why a request was not carried out.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The caller must change something; the error says what.
    Caller(ApiError),
    /// The function itself failed, for this reason: logged, and answered with 503.
    Fault(String),
}

impl Refusal {
    /// The function itself failed.
    pub fn fault(reason: impl Display) -> Self {
        Self::Fault(reason.to_string())
    }

    /// The same, where the body that broke a rule is a field of another one.
    pub fn within(self, field: &str) -> Self {
        match self {
            Self::Caller(error) => error.within(field).into(),
            fault => fault,
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

impl From<ScopeError> for Refusal {
    fn from(error: ScopeError) -> Self {
        Self::Caller(error.into())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::fault(error)
    }
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        Self::fault(error)
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        Self::fault(error)
    }
}

impl From<Panicked> for Refusal {
    fn from(error: Panicked) -> Self {
        Self::fault(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Caller(error) => error,
            Self::Fault(error) => {
                tracing::error!(error, "a request failed");
                ApiError::Unavailable
            }
        };
        note_fault(&error);
        let status = StatusCode::from_u16(error.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(CONTENT_TYPE, "application/json")], error.body()).into_response()
    }
}
