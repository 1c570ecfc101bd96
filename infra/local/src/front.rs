//! The HTTP API in front of the functions: the template's routes, payload format 2.0
//! (Amazon API Gateway: "Create AWS Lambda proxy integrations for HTTP APIs").

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::{RawPathParams, rejection::BytesRejection},
    http::{HeaderMap, Method, StatusCode, Uri, header::COOKIE},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use posthorn_runtime::{entropy, now};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    ACCOUNT,
    lambda::{InvokeError, Pool},
    template::Route,
};

/// The largest request that an HTTP API takes.
const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

/// The longest time that an HTTP API waits for a function.
const MAX_WAIT: Duration = Duration::from_secs(30);

pub(crate) async fn serve(listener: TcpListener, routes: Vec<(Route, Pool)>) {
    let limit = axum::extract::DefaultBodyLimit::max(MAX_BODY_BYTES);
    let mut paths: BTreeMap<String, MethodRouter> = BTreeMap::new();
    let (greedy, exact): (Vec<_>, Vec<_>) = routes
        .into_iter()
        .partition(|(route, _)| route.path.ends_with(GREEDY));
    let greedy = Arc::new(greedy);
    for (route, pool) in exact {
        let methods = paths.remove(&route.path).unwrap_or_default();
        paths.insert(
            route.path.clone(),
            add(methods, route, pool, Arc::clone(&greedy)),
        );
    }
    let router = paths
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(&path, methods)
        });
    // A route matches by path and method; what no route takes is for the greedy one (Amazon API
    // Gateway: "Create routes for HTTP APIs").
    let router = router
        .fallback(answer_greedily)
        .method_not_allowed_fallback(answer_greedily)
        .layer(limit)
        .layer(Extension(greedy));
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("the HTTP API ended: {error}");
    }
}

const GREEDY: &str = "{proxy+}";

type Greedy = Arc<Vec<(Route, Pool)>>;

/// A request body, or why it was not read.
type Posted = Result<Bytes, BytesRejection>;

async fn answer_greedily(
    Extension(greedy): Extension<Greedy>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Posted,
) -> Response {
    pass_greedily(&greedy, &method, &uri, &headers, body).await
}

async fn pass_greedily(
    greedy: &Greedy,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Posted,
) -> Response {
    let rest = |route: &Route| {
        let rest = uri
            .path()
            .strip_prefix(route.path.trim_end_matches(GREEDY))?;
        (!rest.is_empty()).then(|| rest.to_owned())
    };
    let found = greedy
        .iter()
        .find_map(|(route, pool)| Some((route, pool, rest(route)?)));
    let Some((route, pool, rest)) = found else {
        return not_found();
    };
    let parameters = BTreeMap::from([("proxy".to_owned(), rest)]);
    let key = format!("{} {}", route.method, route.path);
    match body {
        Ok(body) => {
            let event = event(&key, method, uri, parameters, headers, &body);
            invoke(pool, event, MAX_WAIT).await
        }
        Err(rejection) => refuse(&rejection),
    }
}

fn add(methods: MethodRouter, route: Route, pool: Pool, greedy: Greedy) -> MethodRouter {
    let filter = Method::from_bytes(route.method.as_bytes())
        .ok()
        .and_then(|method| MethodFilter::try_from(method).ok());
    let Some(filter) = filter else { return methods };
    let key = format!("{} {}", route.method, route.path);
    let wanted = route.method;
    let handler = move |method: Method,
                        uri: Uri,
                        parameters: RawPathParams,
                        headers: HeaderMap,
                        body: Posted| {
        let parameters = parameters
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        // axum answers HEAD with the route of GET; an HTTP API wants a route of its own.
        let is_wanted = method.as_str() == wanted;
        let (pool, key, greedy) = (pool.clone(), key.clone(), Arc::clone(&greedy));
        async move {
            match body {
                body if !is_wanted => pass_greedily(&greedy, &method, &uri, &headers, body).await,
                Ok(body) => {
                    let event = event(&key, &method, &uri, parameters, &headers, &body);
                    invoke(&pool, event, MAX_WAIT).await
                }
                Err(rejection) => refuse(&rejection),
            }
        }
    };
    methods.merge(on(filter, handler))
}

async fn invoke(pool: &Pool, event: Value, limit: Duration) -> Response {
    let invocation = pool.invoke(Bytes::from(event.to_string()));
    match tokio::time::timeout(limit, invocation).await {
        Ok(result) => answer(result),
        // The function goes on; only its caller stops waiting.
        Err(_) => message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
    }
}

fn not_found() -> Response {
    message(StatusCode::NOT_FOUND, "Not Found")
}

/// A body that was not read: too large, or the caller went away.
fn refuse(rejection: &BytesRejection) -> Response {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large")
        }
        _ => message(StatusCode::BAD_REQUEST, "Bad Request"),
    }
}

fn event(
    key: &str,
    method: &Method,
    uri: &Uri,
    parameters: BTreeMap<String, String>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Value {
    let (body, is_base64) = match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (STANDARD.encode(body), true),
    };
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let id: String = entropy::<8>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    json!({
        "version": "2.0", "routeKey": key,
        "rawPath": uri.path(), "rawQueryString": uri.query().unwrap_or_default(),
        "headers": joined(headers), "cookies": cookies(headers), "queryStringParameters": query(uri), "pathParameters": parameters,
        "requestContext": {
            "accountId": ACCOUNT, "apiId": "local", "domainName": header("host"), "domainPrefix": "local",
            "http": {
                "method": method.as_str(), "path": uri.path(), "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1", "userAgent": header("user-agent"),
            },
            "requestId": id, "routeKey": key, "stage": "$default",
            "time": now().to_rfc3339(), "timeEpoch": now().as_millis(),
        },
        "body": body, "isBase64Encoded": is_base64,
    })
}

/// Values of the same name are joined with commas; cookies have a field of their own.
fn joined(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let mut joined: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != COOKIE) {
        let value = String::from_utf8_lossy(value.as_bytes());
        joined
            .entry(name.as_str())
            .and_modify(|all| *all = format!("{all},{value}"))
            .or_insert(value.into_owned());
    }
    joined
}

/// `None` without cookies: the functions' library would make an empty header of an empty list.
fn cookies(headers: &HeaderMap) -> Option<Vec<&str>> {
    let values = headers.get_all(COOKIE).iter();
    let cookies: Vec<_> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';').map(str::trim))
        .filter(|cookie| !cookie.is_empty())
        .collect();
    (!cookies.is_empty()).then_some(cookies)
}

fn query(uri: &Uri) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    let url = reqwest::Url::parse(&format!(
        "http://local/?{}",
        uri.query().unwrap_or_default()
    ));
    for (name, value) in url.iter().flat_map(|url| url.query_pairs()) {
        let all = joined.entry(name.into_owned());
        all.and_modify(|all| *all = format!("{all},{value}"))
            .or_insert_with(|| value.into_owned());
    }
    joined
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
