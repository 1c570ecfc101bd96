//! Headers that an endpoint's attempts carry besides their own.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use posthorn_contract::Refusal;
use posthorn_domain::{
    endpoint::Confidential,
    error::FieldError,
    headers::{CustomHeaders, HeaderChanges},
    name::Uid,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Routes, State,
    endpoints::{Edit, change},
    extract::{Json, TheEndpoint},
    routes::routes,
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(get, update, patch))
}

/// `EndpointHeadersIn` of the contract.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct EndpointHeadersIn {
    headers: CustomHeaders,
}

/// `EndpointHeadersPatchIn` of the contract, and the list of names that newer clients send instead
/// of nulls.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointHeadersPatchIn {
    headers: HeaderChanges,
    #[serde(default)]
    delete_headers: Vec<String>,
}

/// `EndpointHeadersOut` of the contract.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndpointHeadersOut {
    headers: BTreeMap<String, String>,
    /// Names of headers whose values are not shown.
    sensitive: Vec<String>,
}

/// Reads an endpoint's headers; values that may be credentials are left out.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers", operation_id = "v1.endpoint.get-headers", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), responses((status = 200, body = EndpointHeadersOut)))]
pub(crate) async fn get(
    api: State,
    found: TheEndpoint,
) -> Result<Json<EndpointHeadersOut>, Refusal> {
    let headers = found.confidential(&api).await?.headers;
    let (shown, sensitive) = headers.redacted();
    let shown = shown
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(Json(EndpointHeadersOut {
        headers: shown.collect(),
        sensitive: sensitive.into_iter().map(str::to_owned).collect(),
    }))
}

/// Sets an endpoint's headers, all of them.
#[utoipa::path(put, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers", operation_id = "v1.endpoint.update-headers", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), request_body = EndpointHeadersIn, responses((status = 204)))]
pub(crate) async fn update(
    api: State,
    found: TheEndpoint,
    Json(body): Json<EndpointHeadersIn>,
) -> Result<StatusCode, Refusal> {
    let TheEndpoint { owner, endpoint } = found;
    let set = |before| {
        Ok(Confidential {
            headers: body.headers.clone(),
            ..before
        })
    };
    change(&api, &owner, endpoint, Edit::Sealed(&set)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets single headers; null removes one.
#[utoipa::path(patch, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers", operation_id = "v1.endpoint.patch-headers", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), request_body = EndpointHeadersPatchIn, responses((status = 204)))]
pub(crate) async fn patch(
    api: State,
    found: TheEndpoint,
    Json(body): Json<EndpointHeadersPatchIn>,
) -> Result<StatusCode, Refusal> {
    let mut changes = body.headers;
    changes.extend(body.delete_headers.into_iter().map(|name| (name, None)));
    let TheEndpoint { owner, endpoint } = found;
    let patch = |before: Confidential| {
        let headers = before.headers.change(changes.clone());
        let headers = headers.map_err(|error| FieldError::body("headers", error.to_string()))?;
        Ok(Confidential { headers, ..before })
    };
    change(&api, &owner, endpoint, Edit::Sealed(&patch)).await?;
    Ok(StatusCode::NO_CONTENT)
}
