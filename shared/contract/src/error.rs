//! The API's refusals: one enum, with one variant per kind of refusal.
//!
//! Status codes and bodies are those of the contract (`HttpErrorOut`, `HTTPValidationError`).

use posthorn_domain::{error::FieldError, token::ScopeError};
use serde::{Serialize, Serializer};

/// Why the API refuses a request, as far as the caller may know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 400: the request as a whole cannot be carried out.
    #[error("{0}")]
    BadRequest(String),
    /// 422: a field of the request breaks a rule.
    #[error("invalid request: {0:?}")]
    Invalid(FieldError),
    /// 401: the token is missing, malformed, expired or from another deployment.
    #[error("{0}")]
    Unauthorized(String),
    /// 403: the token is valid, but its scope does not include this operation.
    #[error("this token may not do that")]
    Forbidden,
    /// 404: nothing with that id exists in the token's organization.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// 409: something with that identity already exists.
    #[error("{0}")]
    Conflict(String),
    /// 413: the payload is larger than [`posthorn_domain::message::MAX_PAYLOAD_BYTES`].
    #[error("{0}")]
    TooLarge(String),
    /// 405: the path exists, but not with this method.
    #[error("this path does not take that method")]
    Method,
    /// 503: an AWS call failed or was throttled. The request is not acknowledged; the caller may repeat it.
    #[error("temporarily unavailable")]
    Unavailable,
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::Invalid(error)
    }
}

impl From<ScopeError> for ApiError {
    fn from(error: ScopeError) -> Self {
        match error {
            ScopeError::Forbidden => Self::Forbidden,
            // It must not learn of other applications.
            ScopeError::OtherApplication => Self::NotFound("application"),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Fields { detail: [&'a FieldError; 1] },
    Plain { code: &'a str, detail: String },
}

impl ApiError {
    /// The HTTP status code.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Invalid(_) => 422,
            Self::Unauthorized(_) => 401,
            Self::Forbidden => 403,
            Self::NotFound(_) => 404,
            Self::Conflict(_) => 409,
            Self::TooLarge(_) => 413,
            Self::Method => 405,
            Self::Unavailable => 503,
        }
    }

    /// The same, where the body that broke a rule is a field of another one.
    pub fn within(self, field: &str) -> Self {
        match self {
            Self::Invalid(error) => error.within(field).into(),
            other => other,
        }
    }

    /// The JSON body.
    pub fn body(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

/// In the shape of the contract.
impl Serialize for ApiError {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let code = match self {
            Self::Invalid(error) => return Body::Fields { detail: [error] }.serialize(to),
            Self::BadRequest(_) => "bad_request",
            Self::Unauthorized(_) => "authentication_failed",
            Self::Forbidden => "insufficient_permissions",
            Self::NotFound(_) => "not_found",
            Self::Conflict(_) => "conflict",
            Self::TooLarge(_) => "payload_too_large",
            Self::Method => "method_not_allowed",
            Self::Unavailable => "unavailable",
        };
        let detail = self.to_string();
        Body::Plain { code, detail }.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_contracts_shape() {
        let invalid = ApiError::from(FieldError::body("eventType", "must not be empty"));
        assert_eq!(
            invalid.body(),
            r#"{"detail":[{"loc":["body","eventType"],"msg":"must not be empty","type":"value_error"}]}"#
        );
        assert_eq!(
            ApiError::NotFound("application").body(),
            r#"{"code":"not_found","detail":"application not found"}"#
        );
    }

    #[test]
    fn a_token_does_not_learn_of_other_applications() {
        assert_eq!(
            ApiError::from(ScopeError::OtherApplication),
            ApiError::NotFound("application")
        );
        assert_eq!(ApiError::from(ScopeError::Forbidden), ApiError::Forbidden);
    }
}
