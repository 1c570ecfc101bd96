//! What tokens of the application portal may do: every operation that is open to them, with the
//! capability that it takes. What is not listed is refused, so a new operation is closed until somebody
//! decides.

use axum::{
    extract::MatchedPath,
    http::{Method, request::Parts},
};
use posthorn_contract::ApiError;
use posthorn_domain::token::{
    Capability::{
        self, CreateAttempts, ManageEndpoint, ManageEndpointSecret, ViewBase, ViewEndpointSecret,
    },
    Scope,
};

/// Method and path (as routes write it, after `/api/v1`) of what customers may do; the capability.
const OPEN: &[(Method, &str, Capability)] = &[
    (Method::POST, "/auth/logout", ViewBase),
    (Method::GET, "/app/{app_id}", ViewBase),
    (Method::GET, "/event-type", ViewBase),
    (Method::GET, "/event-type/{event_type_name}", ViewBase),
    (Method::GET, "/background-task/{task_id}", ViewBase),
    // Endpoints.
    (Method::GET, "/app/{app_id}/endpoint", ViewBase),
    (Method::POST, "/app/{app_id}/endpoint", ManageEndpoint),
    (
        Method::GET,
        "/app/{app_id}/endpoint/{endpoint_id}",
        ViewBase,
    ),
    (
        Method::PUT,
        "/app/{app_id}/endpoint/{endpoint_id}",
        ManageEndpoint,
    ),
    (
        Method::PATCH,
        "/app/{app_id}/endpoint/{endpoint_id}",
        ManageEndpoint,
    ),
    (
        Method::DELETE,
        "/app/{app_id}/endpoint/{endpoint_id}",
        ManageEndpoint,
    ),
    (
        Method::GET,
        "/app/{app_id}/endpoint/{endpoint_id}/headers",
        ViewBase,
    ),
    (
        Method::PUT,
        "/app/{app_id}/endpoint/{endpoint_id}/headers",
        ManageEndpoint,
    ),
    (
        Method::PATCH,
        "/app/{app_id}/endpoint/{endpoint_id}/headers",
        ManageEndpoint,
    ),
    (
        Method::GET,
        "/app/{app_id}/endpoint/{endpoint_id}/secret",
        ViewEndpointSecret,
    ),
    (
        Method::POST,
        "/app/{app_id}/endpoint/{endpoint_id}/secret/rotate",
        ManageEndpointSecret,
    ),
    (
        Method::GET,
        "/app/{app_id}/endpoint/{endpoint_id}/stats",
        ViewBase,
    ),
    // Messages and attempts.
    (Method::GET, "/app/{app_id}/msg", ViewBase),
    (Method::GET, "/app/{app_id}/msg/{msg_id}", ViewBase),
    (Method::GET, "/app/{app_id}/msg/{msg_id}/endpoint", ViewBase),
    (
        Method::GET,
        "/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}",
        ViewBase,
    ),
    (
        Method::GET,
        "/app/{app_id}/endpoint/{endpoint_id}/msg",
        ViewBase,
    ),
    (Method::GET, "/app/{app_id}/attempt/msg/{msg_id}", ViewBase),
    (
        Method::GET,
        "/app/{app_id}/attempt/endpoint/{endpoint_id}",
        ViewBase,
    ),
    (
        Method::POST,
        "/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend",
        CreateAttempts,
    ),
    (
        Method::POST,
        "/app/{app_id}/endpoint/{endpoint_id}/send-example",
        CreateAttempts,
    ),
    (
        Method::POST,
        "/app/{app_id}/endpoint/{endpoint_id}/recover",
        CreateAttempts,
    ),
    (
        Method::POST,
        "/app/{app_id}/endpoint/{endpoint_id}/replay-missing",
        CreateAttempts,
    ),
];

/// Lets a request of the portal pass that its capabilities allow; other tokens' pass.
///
/// # Errors
/// [`ApiError::Forbidden`].
pub(crate) fn check(scope: &Scope, parts: &Parts) -> Result<(), ApiError> {
    let Some(session) = &scope.session else {
        return Ok(());
    };
    let path = parts.extensions.get::<MatchedPath>();
    let path = path.and_then(|path| path.as_str().strip_prefix("/api/v1"));
    // A GET route answers HEAD as well.
    let method = match &parts.method {
        &Method::HEAD => &Method::GET,
        method => method,
    };
    let needed = OPEN
        .iter()
        .find(|(open, route, _)| open == method && Some(*route) == path);
    match needed {
        Some((_, _, needed)) if session.may(*needed) => Ok(()),
        _ => Err(ApiError::Forbidden),
    }
}
