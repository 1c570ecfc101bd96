//! The HTTP server for SQS and Secrets Manager: `X-Amz-Target` says which operation.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use rustack_sqs_model::operations::SqsOperation;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Queues, secrets::Secrets};

pub(super) async fn serve(listener: TcpListener, queues: Queues, secrets: Secrets) {
    let limit = axum::extract::DefaultBodyLimit::max(16 * 1024 * 1024);
    let router = Router::new()
        .fallback(any(handle))
        .layer(limit)
        .with_state((queues, secrets));
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("SQS ended: {error}");
    }
}

async fn handle(
    State((queues, secrets)): State<(Queues, Secrets)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    let Some(request) = object(&body) else {
        return refuse("SerializationException", "the body is not a JSON object");
    };
    if let Some(operation) = target
        .strip_prefix("AmazonSQS.")
        .and_then(SqsOperation::from_name)
    {
        let (status, body) = queues.serve(operation, request).await;
        return answer(status, &body);
    }
    if target == "secretsmanager.GetSecretValue" {
        return match secrets.get(&request) {
            Some(secret) => answer(200, &secret),
            None => refuse("ResourceNotFoundException", "there is no such secret"),
        };
    }
    refuse(
        "UnknownOperationException",
        &format!("the local stack has no operation `{target}`"),
    )
}

fn object(body: &Bytes) -> Option<Value> {
    let value: Value = serde_json::from_slice(body).ok()?;
    value.is_object().then_some(value)
}

fn refuse(kind: &str, message: &str) -> Response {
    answer(400, &json!({ "__type": kind, "message": message }))
}

fn answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = [("content-type", "application/x-amz-json-1.0")];
    (status, content_type, body.to_string()).into_response()
}
