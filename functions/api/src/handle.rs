//! Lambda events: HTTP requests go to the router, `{"mint": …}` makes a token, `{"rotate_data_key": {}}`
//! a data key.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
};
use lambda_runtime::LambdaEvent;
use posthorn_domain::error::ApiError;
use posthorn_runtime::{
    StartError, gateway,
    http::{Request, Response, error_response},
    now,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{Api, mint::mint};

/// The router and what it works with.
#[derive(Clone)]
pub struct Service {
    pub(crate) router: Router,
    pub(crate) api: Arc<Api>,
}

/// Answers one invocation.
///
/// # Errors
/// When the event is neither an HTTP API request nor a valid `{"mint": …}` or `{"rotate_data_key": {}}`.
pub async fn handle(service: Service, event: LambdaEvent<Value>) -> Result<Value, StartError> {
    let (payload, _) = event.into_parts();
    if let Some(request) = payload.get("mint") {
        let minted = mint(&service.api.tokens, request, now()).await?;
        return Ok(serde_json::to_value(minted)?);
    }
    if payload.get("rotate_data_key").is_some() {
        let key = service.api.vault.rotate().await?;
        let key = key.ok_or("the deployment has no KMS key: there is no data key to rotate")?;
        return Ok(json!({ "data_key": key }));
    }
    let event = serde_json::from_value(payload)?;
    let reply = gateway::answer(event, async |request| route(service.router, request).await);
    Ok(serde_json::to_value(reply.await)?)
}

async fn route(router: Router, request: Request) -> Response {
    let Ok(response) = router.oneshot(request.map(Body::from)).await;
    let (head, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(body) => Response::from_parts(head, body),
        Err(error) => {
            tracing::error!(%error, "an answer could not be read");
            error_response(&ApiError::Unavailable)
        }
    }
}
