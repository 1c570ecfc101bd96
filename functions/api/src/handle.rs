//! Lambda events: HTTP requests go to the router, operators' events to [`operator`].

use std::sync::Arc;

use axum::Router;
use lambda_http::{Adapter, request::LambdaRequest};
use lambda_runtime::LambdaEvent;
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

/// Answers one invocation.
///
/// # Errors
/// When the event is neither an HTTP API request nor a valid event of an operator.
pub async fn handle(service: Service, event: LambdaEvent<Value>) -> Result<Value, StartError> {
    let (payload, context) = event.into_parts();
    if let Some(answer) = Box::pin(operator::answer(&service.api, &payload)).await {
        return answer;
    }
    let request: LambdaRequest = serde_json::from_value(payload)?;
    let response = Adapter::from(service.router)
        .oneshot(LambdaEvent::new(request, context))
        .await?;
    Ok(serde_json::to_value(response)?)
}
