//! The HTTP server for SQS, Secrets Manager and KMS: `X-Amz-Target` names the operation.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use rustack_sqs_model::operations::SqsOperation;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Queues, Roles, kms::Kms, secrets::Secrets};

/// The services behind this server.
#[derive(Clone, Debug)]
pub(super) struct Services {
    pub(super) queues: Queues,
    pub(super) secrets: Secrets,
    pub(super) kms: Kms,
    pub(super) roles: Roles,
}

pub(super) async fn serve(listener: TcpListener, services: Services) {
    let router = Router::new().fallback(any(handle)).with_state(services);
    serve_router(listener, router, "SQS").await;
}

/// Serves until the task ends. Requests are as large as DynamoDB's and SQS's may be.
pub(super) async fn serve_router(listener: TcpListener, router: Router, name: &str) {
    let limit = DefaultBodyLimit::max(16 * 1024 * 1024);
    if let Err(error) = axum::serve(listener, router.layer(limit)).await {
        eprintln!("{name} ended: {error}");
    }
}

async fn handle(State(services): State<Services>, headers: HeaderMap, body: Bytes) -> Response {
    let target = target(&headers);
    let request = object(&body);
    let asked = request.as_ref().unwrap_or(&Value::Null);
    if let Err(denied) = services.roles.check(&headers, target, asked) {
        let (kind, message) = denied.parts();
        return refuse(kind, message);
    }
    let Some(request) = request else {
        return refuse("SerializationException", "the body is not a JSON object");
    };
    if let Some(operation) = target
        .strip_prefix("AmazonSQS.")
        .and_then(SqsOperation::from_name)
    {
        let (status, body) = services.queues.serve(operation, request).await;
        return answer(status, &body);
    }
    let secret = match target {
        "secretsmanager.GetSecretValue" => Some(services.secrets.get(&request).map(Ok)),
        "secretsmanager.PutSecretValue" => Some(services.secrets.put(&request)),
        _ => None,
    };
    if let Some(secret) = secret {
        return match secret {
            Some(Ok(secret)) => answer(200, &secret),
            Some(Err(error)) => refuse("InternalServiceError", &error.to_string()),
            None => refuse("ResourceNotFoundException", "there is no such secret"),
        };
    }
    let operation = target.strip_prefix("TrentService.").unwrap_or_default();
    if let Some(result) = services.kms.serve(operation, &request) {
        return match result {
            Ok(body) => answer(200, &body),
            Err((kind, message)) => refuse(kind, message),
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

/// The requested operation, for example `AmazonSQS.SendMessage`.
pub(super) fn target(headers: &HeaderMap) -> &str {
    let target = headers.get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok());
    target.unwrap_or_default()
}

pub(super) fn refuse(kind: &str, message: &str) -> Response {
    answer(400, &json!({ "__type": kind, "message": message }))
}

fn answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = [("content-type", "application/x-amz-json-1.0")];
    (status, content_type, body.to_string()).into_response()
}
