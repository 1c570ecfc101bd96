//! Health.

use axum::http::StatusCode;
use posthorn_store::Page;

use crate::{State, refusal::Refusal};

/// 204 when the config table answers; 503 when it does not. No token is needed, so it tells nothing.
pub(crate) async fn get(api: State) -> Result<StatusCode, Refusal> {
    let nobody = posthorn_domain::id::OrganizationId::new(posthorn_runtime::now(), [0; 15]);
    api.config
        .event_types(
            &nobody,
            &Page {
                limit: 1,
                ascending: true,
                after: None,
            },
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// 204: the function runs.
pub(crate) async fn ping() -> StatusCode {
    StatusCode::NO_CONTENT
}
