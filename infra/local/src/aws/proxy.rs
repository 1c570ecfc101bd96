//! Before DynamoDB: what a function's role does not allow is denied, and what passes may be counted.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{
    Meter, Roles,
    meter::ask_for_capacity,
    server::{refuse, serve_router, target},
};

#[derive(Clone)]
struct Proxy {
    client: reqwest::Client,
    upstream: String,
    roles: Roles,
    meter: Option<Meter>,
}

pub(super) async fn serve(
    listener: TcpListener,
    upstream: String,
    roles: Roles,
    meter: Option<Meter>,
) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A proxy of this machine's environment is not for loopback.
    let client = match reqwest::Client::builder().no_proxy().build() {
        Ok(client) => client,
        Err(error) => return eprintln!("DynamoDB's proxy has no client: {error}"),
    };
    let proxy = Proxy {
        client,
        upstream,
        roles,
        meter,
    };
    let router = Router::new().fallback(any(forward)).with_state(proxy);
    serve_router(listener, router, "DynamoDB's proxy").await;
}

async fn forward(State(proxy): State<Proxy>, headers: HeaderMap, body: Bytes) -> Response {
    let target = target(&headers).to_owned();
    let request = serde_json::from_slice(&body).unwrap_or_default();
    if let Err(denied) = proxy.roles.check(&headers, &target, &request) {
        return refuse("com.amazon.coral.service#AccessDeniedException", &denied);
    }
    let operation = target.rsplit('.').next().unwrap_or_default();
    match proxy.forward(operation, headers, body).await {
        Ok((status, body)) => (
            status,
            [("content-type", "application/x-amz-json-1.0")],
            body,
        )
            .into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Proxy {
    async fn forward(
        &self,
        operation: &str,
        mut headers: HeaderMap,
        mut body: Bytes,
    ) -> Result<(StatusCode, Bytes), reqwest::Error> {
        headers.remove("content-length");
        headers.remove("host");
        if let Some(meter) = &self.meter {
            meter.count_call("DynamoDB", operation);
            body = ask_for_capacity(operation, body);
        }
        let request = self.client.post(&self.upstream).headers(headers);
        let response = request.body(body).send().await?;
        let status = StatusCode::from_u16(response.status().as_u16());
        let body = response.bytes().await?;
        if let Some(meter) = &self.meter {
            let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
            meter.add_capacity(operation, &answer["ConsumedCapacity"]);
        }
        Ok((status.unwrap_or(StatusCode::BAD_GATEWAY), body))
    }
}
