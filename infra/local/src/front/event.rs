//! The event that a function gets for a request: payload format 2.0 (Amazon API Gateway: "Create
//! AWS Lambda proxy integrations for HTTP APIs").
//!
//! Where the manual is silent, this follows events captured from real HTTP APIs: the path is
//! decoded, a route is looked up, and the path is decoded again, so `%252F` arrives as a slash,
//! too; an invalid escape is refused at either step. One thing differs on purpose: API Gateway cuts
//! a path at a `%3F`, which no function can notice; here the question mark stays, so that nothing
//! happens to the resource with the shorter name.

use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    http::{
        HeaderMap, Method, Uri,
        header::{CONTENT_TYPE, COOKIE},
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use posthorn_runtime::{entropy, now};
use serde_json::{Value, json};

use super::route::Variables;
use crate::{ACCOUNT, template::Route};

/// A request on its way to a function.
pub(super) struct Forwarded<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
}

/// Decodes a path once; `None` when a `%` does not start a valid escape.
pub(super) fn decode(path: &str) -> Option<String> {
    let is_escape = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !path.split('%').skip(1).all(is_escape) {
        return None;
    }
    Some(percent_decode_str(path).decode_utf8_lossy().into_owned())
}

impl Forwarded<'_> {
    /// The event; `decoded` and `variables` are decoded once. `None` when they cannot be decoded again.
    pub(super) fn event(
        &self,
        route: &Route,
        decoded: &str,
        variables: Variables,
    ) -> Option<Value> {
        let path = decode(decoded)?;
        let variables = variables.into_iter();
        let variables: Option<Variables> = variables
            .map(|(name, value)| Some((name, decode(&value)?)))
            .collect();
        let (body, is_base64) = self.body_text();
        let id: String = entropy::<8>()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let key = format!("{} {}", route.method, route.path);
        let query = self.uri.query().unwrap_or_default();
        Some(json!({
            "version": "2.0", "routeKey": key,
            "rawPath": path, "rawQueryString": query,
            "headers": joined(self.headers), "cookies": cookies(self.headers),
            "queryStringParameters": parameters(query), "pathParameters": variables?,
            "requestContext": {
                "accountId": ACCOUNT, "apiId": "local", "domainName": self.header("host"), "domainPrefix": "local",
                "http": {
                    "method": self.method.as_str(), "path": path, "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1", "userAgent": self.header("user-agent"),
                },
                "requestId": id, "routeKey": key, "stage": "$default",
                "time": now().to_rfc3339(), "timeEpoch": now().as_millis(),
            },
            "body": body, "isBase64Encoded": is_base64,
        }))
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    /// A body with a text content type is forwarded as text, any other as base64.
    fn body_text(&self) -> (String, bool) {
        let kind = self.header(CONTENT_TYPE.as_str()).to_ascii_lowercase();
        let is_text = kind.starts_with("text/")
            || ["json", "xml", "javascript"]
                .iter()
                .any(|it| kind.contains(it));
        match std::str::from_utf8(self.body) {
            Ok(text) if is_text || text.is_empty() => (text.to_owned(), false),
            _ => (STANDARD.encode(self.body), true),
        }
    }
}

/// Headers: values of the same name are joined with commas; cookies have their own field.
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

/// The request's cookies; `None` without any.
fn cookies(headers: &HeaderMap) -> Option<Vec<&str>> {
    let values = headers.get_all(COOKIE).iter();
    let cookies: Vec<_> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';').map(str::trim))
        .filter(|cookie| !cookie.is_empty())
        .collect();
    (!cookies.is_empty()).then_some(cookies)
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let all = joined.entry(name.into_owned());
        all.and_modify(|all| *all = format!("{all},{value}"))
            .or_insert_with(|| value.into_owned());
    }
    joined
}
