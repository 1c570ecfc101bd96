//! The HTTP API in front of the functions: the template's routes ([`route`]), payload format 2.0
//! ([`event`]).

mod event;
mod route;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::rejection::BytesRejection,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::event::Forwarded;
use crate::{
    lambda::{InvokeError, Pool},
    template::Route,
};

/// The largest request that an HTTP API accepts.
const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

/// The longest time that an HTTP API waits for a function.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A request body, or why it was not read.
type RequestBody = Result<Bytes, BytesRejection>;

pub(crate) async fn serve(listener: TcpListener, routes: Vec<(Route, Pool)>) {
    let limit = axum::extract::DefaultBodyLimit::max(MAX_BODY_BYTES);
    let routes = Arc::new(routes);
    let handler = async move |method: Method, uri: Uri, headers: HeaderMap, body: RequestBody| {
        forward(&routes, &method, &uri, &headers, body).await
    };
    let router = Router::new().fallback(handler).layer(limit);
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("the HTTP API ended: {error}");
    }
}

/// Passes a request to the function whose route matches it.
async fn forward(
    routes: &[(Route, Pool)],
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: RequestBody,
) -> Response {
    let Some(path) = event::decode(uri.path()) else {
        return bad_request();
    };
    let found = route::find(routes, method.as_str(), &path);
    let Some(((route, pool), variables)) = found else {
        return message(StatusCode::NOT_FOUND, "Not Found");
    };
    let body = match &body {
        Ok(body) => body,
        Err(rejection) => return refuse(rejection),
    };
    let forwarded = Forwarded {
        method,
        uri,
        headers,
        body,
    };
    match forwarded.event(route, &path, variables) {
        Some(event) => invoke(pool, event, MAX_WAIT).await,
        None => bad_request(),
    }
}

async fn invoke(pool: &Pool, event: Value, limit: Duration) -> Response {
    let invocation = pool.invoke(Bytes::from(event.to_string()));
    match tokio::time::timeout(limit, invocation).await {
        Ok(result) => answer(result),
        // The function keeps running; only its caller stops waiting.
        Err(_) => message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
    }
}

fn bad_request() -> Response {
    message(StatusCode::BAD_REQUEST, "Bad Request")
}

/// The response to a body that was not read: it is too large, or the caller went away.
fn refuse(rejection: &BytesRejection) -> Response {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large")
        }
        _ => bad_request(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    status_code: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    cookies: Vec<String>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

fn answer(result: Result<Bytes, InvokeError>) -> Response {
    match result {
        Ok(body) => reply(&body)
            .unwrap_or_else(|| message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")),
        Err(InvokeError::TimedOut(_)) => {
            message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
        }
        Err(error) => {
            eprintln!("{error}");
            message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }
}

fn reply(result: &Bytes) -> Option<Response> {
    let reply: Reply = serde_json::from_slice(result).ok()?;
    let body = reply.body.unwrap_or_default();
    let body = if reply.is_base64_encoded {
        STANDARD.decode(body).ok()?
    } else {
        body.into_bytes()
    };
    let mut response = Response::builder().status(reply.status_code);
    for (name, value) in reply
        .headers
        .iter()
        .filter(|(name, _)| *name != "content-length")
    {
        response = response.header(name, value);
    }
    for cookie in &reply.cookies {
        response = response.header("set-cookie", cookie);
    }
    response.body(Body::from(body)).ok()
}

fn message(status: StatusCode, text: &str) -> Response {
    (
        status,
        [("content-type", "application/json")],
        json!({ "message": text }).to_string(),
    )
        .into_response()
}

#[cfg(test)]
mod tests;
