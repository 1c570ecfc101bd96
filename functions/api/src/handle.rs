//! Lambda events: HTTP requests go to the router, operators' events to [`operator`].

use std::sync::Arc;

use axum::{
    Router,
    body::{self, to_bytes},
};
use lambda_runtime::LambdaEvent;
use posthorn_contract::{
    ApiError, gateway,
    http::{Request, Response, error_response},
};
use posthorn_runtime::StartError;
use serde_json::Value;
use tower::ServiceExt;

use crate::{Api, operator};

/// The router and what it works with.
#[derive(Clone)]
pub struct Service {
    pub(crate) router: Router,
    pub(crate) api: Arc<Api>,
}

impl Service {
    /// Answers one invocation.
    ///
    /// # Errors
    /// When the event is neither an HTTP API request nor a valid event of an operator.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value, StartError> {
        let (payload, _) = event.into_parts();
        if let Some(answer) = Box::pin(operator::answer(&self.api, &payload)).await {
            return answer;
        }
        let event = serde_json::from_value(payload)?;
        let router = self.router.clone();
        let reply = gateway::answer(event, async |request| route(router, request).await);
        Ok(serde_json::to_value(reply.await)?)
    }
}

async fn route(router: Router, request: Request) -> Response {
    let Ok(response) = router.oneshot(request.map(body::Body::new)).await;
    let (head, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(body) => Response::from_parts(head, body.to_vec().into()),
        Err(error) => {
            tracing::error!(%error, "an answer could not be read");
            error_response(&ApiError::Unavailable)
        }
    }
}
