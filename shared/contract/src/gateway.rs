//! API Gateway's payload format 2.0 as HTTP: events in, responses out (Amazon API Gateway: "Create
//! AWS Lambda proxy integrations for HTTP APIs").
//!
//! The gateway passes `rawPath` percent-decoded, so the path is encoded again before it is parsed:
//! a `#`, `?` or `/../` in a name stays part of the name. Whatever is not valid HTTP is answered
//! with 400; nothing here panics, whatever a caller sends.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header,
    uri::{Authority, PathAndQuery},
};
use lambda_http::{
    Request, aws_lambda_events::apigw::ApiGatewayV2httpRequest, request::LambdaRequest,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use posthorn_runtime::{
    Panicked, caught,
    metrics::{Metric, count},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    ApiError,
    http::{Response, error_response, json_response},
};

/// Encodes everything but what a path may contain as it is: RFC 3986's unreserved characters, and
/// slashes between segments.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// An HTTP request as API Gateway passes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    raw_path: String,
    raw_query_string: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    request_context: Context,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Debug, Deserialize)]
struct Context {
    http: Http,
}

#[derive(Debug, Deserialize)]
struct Http {
    method: String,
}

/// A response as API Gateway expects it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    status_code: u16,
    headers: BTreeMap<String, String>,
    cookies: Vec<String>,
    body: String,
    is_base64_encoded: bool,
}

impl Event {
    /// The request that the caller sent, with its path encoded and without a trailing slash, which
    /// clients before Svix 1.22 add to every path.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`] names the part that is not valid HTTP.
    pub fn into_request(self) -> Result<Request, ApiError> {
        let invalid = |what: &str| ApiError::BadRequest(format!("the {what} is not valid HTTP"));
        let headers = header_map(self.headers.unwrap_or_default())
            .ok_or_else(|| invalid("header section"))?;
        let method = Method::from_bytes(self.request_context.http.method.as_bytes());
        let query = self.raw_query_string.unwrap_or_default();
        if !query.bytes().all(is_of_query) {
            return Err(invalid("query"));
        }
        let is_base64 = |body: &String| STANDARD.decode(body).is_ok();
        if self.is_base64_encoded && !self.body.as_ref().is_none_or(is_base64) {
            return Err(invalid("body"));
        }
        let mut clean = ApiGatewayV2httpRequest::default();
        clean.request_context.http.method = method.map_err(|_| invalid("method"))?;
        clean.headers = headers;
        clean.body = self.body;
        clean.is_base64_encoded = self.is_base64_encoded;
        // `lambda_http` reads a path as a browser does, for which `/other/../victim` is `/victim`,
        // so it is given none.
        clean.raw_path = Some("/".to_owned());
        let mut request = Request::from(LambdaRequest::ApiGatewayV2(clean));
        *request.uri_mut() = uri(&self.raw_path, &query).ok_or_else(|| invalid("URL"))?;
        Ok(request)
    }
}

/// The URI of a path and a query; `None` when it is too long.
fn uri(path: &str, query: &str) -> Option<Uri> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut target = format!("/{}", utf8_percent_encode(path, ENCODED));
    if !query.is_empty() {
        target.push('?');
        target.push_str(query);
    }
    PathAndQuery::try_from(target).ok().map(Uri::from)
}

/// Whether RFC 3986 allows the byte in a query: visible ASCII, with some exceptions.
fn is_of_query(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>#".contains(&byte)
}

/// The headers; `None` when a name, a value or the host is invalid.
fn header_map(headers: BTreeMap<String, String>) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let name = HeaderName::try_from(name).ok()?;
        let value = HeaderValue::try_from(value).ok()?;
        if name == header::HOST {
            Authority::try_from(value.as_bytes()).ok()?;
        }
        // How the caller reached the gateway does not matter here, and `lambda_http` panics on
        // values that it cannot read.
        if name != header::HOST && name != FORWARDED_PROTO {
            map.append(name, value);
        }
    }
    Some(map)
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        let (head, body) = response.into_parts();
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        let mut cookies = Vec::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if name == header::SET_COOKIE {
                cookies.push(value);
                continue;
            }
            let all = headers.entry(name.as_str().to_owned());
            all.and_modify(|all| *all = format!("{all},{value}"))
                .or_insert(value);
        }
        let (body, is_base64_encoded) = match String::from_utf8(body.to_vec()) {
            Ok(text) => (text, false),
            Err(error) => (STANDARD.encode(error.as_bytes()), true),
        };
        Self {
            status_code: head.status.as_u16(),
            headers,
            cookies,
            body,
            is_base64_encoded,
        }
    }
}

/// Whether a request is a webhook, from this deployment or another one. Webhooks always carry these
/// headers, and an endpoint's own headers cannot replace them (Standard Webhooks: "Webhook
/// headers").
fn is_webhook(headers: &HeaderMap) -> bool {
    let has = |names: [&str; 2]| names.iter().any(|name| headers.contains_key(*name));
    has(["webhook-id", "svix-id"]) && has(["webhook-signature", "svix-signature"])
}

/// Answers one event: the entrance of every public function. A webhook is refused before anything
/// else is read, because an endpoint that points at this API would make messages go round in
/// circles.
pub async fn answer(event: Event, handle: impl AsyncFnOnce(Request) -> Response) -> Reply {
    let response = match event.into_request() {
        Ok(request) if is_webhook(request.headers()) => {
            let detail = "this request is a webhook: an endpoint cannot be a Posthorn API, as its \
                          messages would go in circles";
            error_response(&ApiError::BadRequest(detail.to_owned()))
        }
        Ok(request) => caught(handle(request))
            .await
            .unwrap_or_else(|panic| failed(&panic)),
        Err(error) => error_response(&error),
    };
    guarded(response).into()
}

/// The answer to a request whose handler panicked.
fn failed(panic: &Panicked) -> Response {
    count(Metric::RequestFaults, 1);
    tracing::error!(error = %panic, "a request failed");
    let body = json!({ "code": "internal_error", "detail": "the request failed" });
    json_response(500, body.to_string())
}

/// Adds the headers that every response has for browsers and caches (OWASP: "REST Security Cheat
/// Sheet"). A handler that allows caching sets its own.
fn guarded(mut response: Response) -> Response {
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    if is_unauthorized {
        let bearer = HeaderValue::from_static("Bearer");
        headers.insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

#[cfg(test)]
mod tests;
