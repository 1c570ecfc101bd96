//! The HTTP server for DynamoDB: denies what a function's role does not allow, and counts what
//! passes if asked to.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use dynoxide::Database;
use serde_json::Value;
use tokio::net::TcpListener;

use super::{
    Meter, Roles, dynamodb,
    meter::ask_for_capacity,
    server::{refuse, serve_router, target},
};

/// What answers requests.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) database: Database,
    pub(super) roles: Roles,
    pub(super) meter: Option<Meter>,
}

pub(super) async fn serve(listener: TcpListener, proxy: Proxy) {
    let router = Router::new().fallback(any(handle)).with_state(proxy);
    serve_router(listener, router, "DynamoDB").await;
}

async fn handle(State(proxy): State<Proxy>, headers: HeaderMap, body: Bytes) -> Response {
    let target = target(&headers);
    let request = serde_json::from_slice(&body).unwrap_or_default();
    if let Err(denied) = proxy.roles.check(&headers, target, &request) {
        let (kind, message) = denied.parts();
        return refuse(&format!("com.amazon.coral.service#{kind}"), message);
    }
    let operation = target.rsplit('.').next().unwrap_or_default();
    let (status, body) = proxy.serve(operation, body);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = [("content-type", "application/x-amz-json-1.0")];
    (status, content_type, body).into_response()
}

impl Proxy {
    fn serve(&self, operation: &str, mut body: Bytes) -> (u16, String) {
        let Some(meter) = &self.meter else {
            return dynamodb::serve(&self.database, operation, &body);
        };
        meter.count_call("DynamoDB", operation);
        body = ask_for_capacity(operation, body);
        let (status, answer) = dynamodb::serve(&self.database, operation, &body);
        let read: Value = serde_json::from_str(&answer).unwrap_or_default();
        meter.add_capacity(operation, &read["ConsumedCapacity"]);
        (status, answer)
    }
}
