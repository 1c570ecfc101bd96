//! An endpoint's signing secret.

use std::time::Duration;

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use posthorn_contract::{ApiError, Refusal};
use posthorn_domain::{
    endpoint::{Confidential, DEFAULT_GRACE, MAX_GRACE},
    name::Uid,
    signing::EndpointSecret,
};
use posthorn_runtime::{entropy, now};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Routes, State,
    endpoints::{Edit, change},
    extract::{Json, TheEndpoint},
    idempotency::Repeated,
    routes::routes,
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(get)).routes(routes!(rotate))
}

/// `EndpointSecretOut` of the contract.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndpointSecretOut {
    /// `whsec_…`, or the public key of an ed25519 endpoint: `whpk_…`.
    key: String,
}

/// `EndpointSecretRotateIn` of the contract.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointSecretRotateIn {
    /// The new secret; a random one of the same scheme when absent.
    key: Option<EndpointSecret>,
    /// How long the one before stays valid: a day when absent.
    #[schema(value_type = Option<u32>, maximum = 604800)]
    grace_period_seconds: Option<Grace>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "i64")]
struct Grace(Duration);

impl TryFrom<i64> for Grace {
    type Error = String;

    fn try_from(seconds: i64) -> Result<Self, String> {
        let grace = u64::try_from(seconds).map(Duration::from_secs);
        let grace = grace.ok().filter(|grace| *grace <= MAX_GRACE);
        grace
            .map(Self)
            .ok_or_else(|| format!("must be from 0 to {}", MAX_GRACE.as_secs()))
    }
}

/// Reads what a receiver verifies with.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret", operation_id = "v1.endpoint.get-secret", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), responses((status = 200, body = EndpointSecretOut)))]
pub(crate) async fn get(
    api: State,
    found: TheEndpoint,
) -> Result<Json<EndpointSecretOut>, Refusal> {
    let key = found.confidential(&api).await?.secret.expose();
    Ok(Json(EndpointSecretOut { key }))
}

/// Replaces the secret; attempts are signed with both until the grace period is over.
///
/// The contract's answer is 204. Official clients from 2.0 expect the new secret and fail without a
/// body, so they get it.
#[utoipa::path(post, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret/rotate", operation_id = "v1.endpoint.rotate-secret", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), request_body = EndpointSecretRotateIn,
    responses((status = 204), (status = 200, body = EndpointSecretOut, description = "For official clients from 2.0")))]
pub(crate) async fn rotate(
    api: State,
    found: TheEndpoint,
    headers: HeaderMap,
    Repeated(is_done): Repeated,
    Json(body): Json<EndpointSecretRotateIn>,
) -> Result<Response, Refusal> {
    let before = found.confidential(&api).await?.secret;
    if is_done {
        return Ok(rotated(&headers, &before));
    }
    let TheEndpoint { owner, endpoint } = found;
    let key = body.key.unwrap_or_else(|| before.generate_like(entropy()));
    let grace = body
        .grace_period_seconds
        .map_or(DEFAULT_GRACE, |grace| grace.0);
    let rotate = |before: Confidential| {
        let after = before.rotate(key.clone(), grace, now());
        after.map_err(|error| ApiError::BadRequest(error.to_string()).into())
    };
    change(&api, &owner, endpoint, Edit::Sealed(&rotate)).await?;
    Ok(rotated(&headers, &key))
}

/// The answer, once an endpoint has a new secret.
fn rotated(headers: &HeaderMap, key: &EndpointSecret) -> Response {
    if expects_secret(headers) {
        let key = key.expose();
        return Json(EndpointSecretOut { key }).into_response();
    }
    StatusCode::NO_CONTENT.into_response()
}

/// `svix-libs/2.9.1/python`
fn expects_secret(headers: &HeaderMap) -> bool {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let version = agent.and_then(|agent| agent.strip_prefix("svix-libs/"));
    let major = version.and_then(|version| version.split('.').next()?.parse().ok());
    major.is_some_and(|major: u32| major >= 2)
}
