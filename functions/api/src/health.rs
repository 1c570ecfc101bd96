//! Health.

use axum::http::StatusCode;
use posthorn_domain::id::OrganizationId;
use posthorn_store::Page;
use utoipa_axum::routes;

use crate::{Routes, State, refusal::Refusal};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(get)).routes(routes!(ping))
}

/// 204 when the tables can be read; 503 when not. No token is needed, so it tells nothing.
#[utoipa::path(method(get, head), path = "/api/v1/health", operation_id = "v1.health.get", tag = "Health",
    security(()), responses((status = 204)))]
pub(crate) async fn get(api: State) -> Result<StatusCode, Refusal> {
    let nobody = OrganizationId::new(posthorn_runtime::now(), [0; 15]);
    let page = Page {
        limit: 1,
        ascending: true,
        after: None,
    };
    api.config().event_types(&nobody, &page).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// 204: the function runs.
#[utoipa::path(method(get, head), path = "/api/v1/health/ping", operation_id = "v1.health.ping", tag = "Health",
    security(()), responses((status = 204)))]
pub(crate) async fn ping() -> StatusCode {
    StatusCode::NO_CONTENT
}
