//! Translates between HTTP and the domain: headers in, JSON and errors out.

use http::{HeaderMap, StatusCode, header};
pub use lambda_http::{Body, Request};
use posthorn_domain::error::FieldError;
use posthorn_runtime::metrics::{Metric, count};

use crate::ApiError;

/// A complete response.
pub type Response = lambda_http::Response<Body>;

/// The header that lets a caller repeat a request safely.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The value of `idempotency-key`.
///
/// # Errors
/// [`ApiError::Invalid`] when it is empty, longer than 256 characters or not visible ASCII.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=256).contains(&key.len()) => Ok(Some(key)),
        _ => Err(FieldError::at(
            "header",
            IDEMPOTENCY_KEY,
            "must have 1 to 256 visible ASCII characters",
        )
        .into()),
    }
}

/// A response with a JSON body.
pub fn json_response(status: u16, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The response for a refused request; server errors are counted.
pub fn error_response(error: &ApiError) -> Response {
    note_fault(error);
    json_response(error.status(), error.body())
}

/// Counts a request that fails with a server error.
pub fn note_fault(error: &ApiError) {
    if error.status() >= 500 {
        count(Metric::RequestFaults, 1);
    }
}
