//! Headers that customers add to an endpoint's requests.

use std::{collections::BTreeMap, fmt};

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most bytes of all names and values together.
pub const MAX_HEADER_BYTES: usize = 4096;

/// The most headers.
pub const MAX_HEADERS: usize = 100;

/// Names that the request itself needs, hop-by-hop names (RFC 9110, section 7.6.1), and names that
/// proxies trust: a customer who could set them could forge signatures, break the connection's
/// framing or pretend to be somebody else. Underscores count as hyphens, because CGI, WSGI and the
/// like read them so.
const FORBIDDEN: [&str; 25] = [
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];
/// Posthorn's own headers, and those that clouds and their proxies interpret.
const FORBIDDEN_PREFIXES: [&str; 14] = [
    "cf-",
    "fastly-",
    "proxy-",
    "sec-",
    "svix-",
    "webhook-",
    "x-amz-",
    "x-amzn-",
    "x-appengine-",
    "x-azure-",
    "x-envoy-",
    "x-forwarded-",
    "x-goog-",
    "x-ms-",
];

/// Names whose values are not shown again.
const SENSITIVE: [&str; 4] = [
    "authorization",
    "cookie",
    "www-authenticate",
    "x-auth-token",
];
const SENSITIVE_PARTS: [&str; 5] = ["api-key", "apikey", "password", "secret", "token"];

/// Header names and values, as they were given; no name occurs twice, in any spelling.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
#[schema(value_type = BTreeMap<String, String>)]
pub struct CustomHeaders(BTreeMap<String, String>);

/// Changes of single headers; null removes one.
pub type HeaderChanges = BTreeMap<String, Option<String>>;

/// Why a header may not be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name is not a token of RFC 9110.
    #[error("`{0}` is not a header name")]
    Name(String),
    /// The name is reserved.
    #[error("`{0}` may not be set")]
    Forbidden(String),
    /// The value has control characters or bytes outside of visible ASCII.
    #[error("the value of `{0}` may hold visible ASCII characters, spaces and tabs only")]
    Value(String),
    /// One name occurs in two spellings.
    #[error("`{0}` is there twice")]
    Duplicate(String),
    /// There are more than [`MAX_HEADERS`].
    #[error("there may be at most {MAX_HEADERS} headers")]
    TooMany,
    /// They have more than [`MAX_HEADER_BYTES`].
    #[error("names and values must have at most {MAX_HEADER_BYTES} bytes together")]
    TooLarge,
}

impl CustomHeaders {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The headers after single changes.
    pub fn change(&self, changes: HeaderChanges) -> Result<Self, HeaderError> {
        let mut headers = self.0.clone();
        for (name, value) in changes {
            headers.retain(|known, _| !known.eq_ignore_ascii_case(&name));
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        headers.try_into()
    }

    /// What may be shown: headers that are not sensitive, and the names of those that are.
    pub fn redacted(&self) -> (BTreeMap<&str, &str>, Vec<&str>) {
        let (sensitive, shown): (Vec<_>, Vec<_>) =
            self.iter().partition(|(name, _)| is_sensitive(name));
        let names = sensitive.into_iter().map(|(name, _)| name).collect();
        (shown.into_iter().collect(), names)
    }
}

fn is_sensitive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SENSITIVE.contains(&name.as_str()) || SENSITIVE_PARTS.iter().any(|part| name.contains(part))
}

fn check(name: &str, value: &str) -> Result<(), HeaderError> {
    let parsed =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::Name(name.to_owned()))?;
    let parsed = &parsed.as_str().replace('_', "-");
    let has_prefix = FORBIDDEN_PREFIXES
        .iter()
        .any(|prefix| parsed.starts_with(prefix));
    if has_prefix || FORBIDDEN.contains(&parsed.as_str()) {
        return Err(HeaderError::Forbidden(name.to_owned()));
    }
    let is_value = value.is_ascii() && HeaderValue::from_str(value).is_ok();
    is_value
        .then_some(())
        .ok_or_else(|| HeaderError::Value(name.to_owned()))
}

impl TryFrom<BTreeMap<String, String>> for CustomHeaders {
    type Error = HeaderError;

    fn try_from(headers: BTreeMap<String, String>) -> Result<Self, HeaderError> {
        if headers.len() > MAX_HEADERS {
            return Err(HeaderError::TooMany);
        }
        let mut names = std::collections::BTreeSet::new();
        let mut bytes = 0;
        for (name, value) in &headers {
            check(name, value)?;
            bytes += name.len() + value.len();
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(HeaderError::Duplicate(name.clone()));
            }
        }
        if bytes > MAX_HEADER_BYTES {
            return Err(HeaderError::TooLarge);
        }
        Ok(Self(headers))
    }
}

impl From<CustomHeaders> for BTreeMap<String, String> {
    fn from(headers: CustomHeaders) -> Self {
        headers.0
    }
}

/// Shows names only, because values may be credentials.
impl fmt::Debug for CustomHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Result<CustomHeaders, HeaderError> {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect::<BTreeMap<_, _>>().try_into()
    }

    #[test]
    fn names_of_the_request_are_refused_in_any_spelling() {
        for name in [
            "webhook-id",
            "Svix-Signature",
            "HOST",
            "Content-Length",
            "Transfer-Encoding",
            "Content_Length",
            "Webhook_Signature",
            "WEBHOOK_ID",
            "svix_id",
            "Svix-_x",
            "X-Amz-Date",
            "x_amz_security_token",
            "X-Amzn-Trace-Id",
            "X-Goog-Iam-Authorization",
            "X-MS-Version",
            "X-Forwarded-For",
            "x_forwarded_host",
            "X-Real-IP",
            "Forwarded",
            "Via",
            "Proxy-Authorization",
            "CF-Connecting-IP",
            "TE",
            "HTTP2-Settings",
        ] {
            let refused = Err(HeaderError::Forbidden(name.to_owned()));
            assert_eq!(headers(&[(name, "x")]), refused);
        }
        assert!(matches!(
            headers(&[("a b", "x")]),
            Err(HeaderError::Name(_))
        ));
        assert!(matches!(headers(&[("", "x")]), Err(HeaderError::Name(_))));
        assert!(matches!(
            headers(&[("x", "a\r\nb: c")]),
            Err(HeaderError::Value(_))
        ));
        assert!(matches!(
            headers(&[("x", "grüß")]),
            Err(HeaderError::Value(_))
        ));
        let twice = headers(&[("X-A", "1"), ("x-a", "2")]);
        assert!(matches!(twice, Err(HeaderError::Duplicate(_))));
    }

    #[test]
    fn size_is_bounded() {
        assert!(headers(&[("x", &"v".repeat(MAX_HEADER_BYTES - 1))]).is_ok());
        let large = headers(&[("x", &"v".repeat(MAX_HEADER_BYTES))]);
        assert_eq!(large, Err(HeaderError::TooLarge));
        let many = |count: usize| -> Result<CustomHeaders, HeaderError> {
            let pairs = (0..count).map(|n| (format!("x-{n}"), String::new()));
            pairs.collect::<BTreeMap<_, _>>().try_into()
        };
        assert!(many(MAX_HEADERS).is_ok());
        assert_eq!(many(MAX_HEADERS + 1), Err(HeaderError::TooMany));
    }

    #[test]
    fn one_header_is_changed_or_removed() {
        let before = headers(&[("X-Keep", "1"), ("X-Change", "2"), ("X-Remove", "3")]).unwrap();
        let changes = [
            ("x-change", Some("4")),
            ("X-REMOVE", None),
            ("X-New", Some("5")),
        ];
        let changes = changes.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        let after = before.change(changes.into()).unwrap();
        let wanted = headers(&[("X-Keep", "1"), ("x-change", "4"), ("X-New", "5")]);
        assert_eq!(after, wanted.unwrap());
    }

    #[test]
    fn credentials_are_not_shown() {
        let headers = headers(&[
            ("Authorization", "Bearer x"),
            ("X-Api-Key", "y"),
            ("X-A", "z"),
        ]);
        let headers = headers.unwrap();
        let (shown, sensitive) = headers.redacted();
        assert_eq!(shown, BTreeMap::from([("X-A", "z")]));
        assert_eq!(sensitive, ["Authorization", "X-Api-Key"]);
        assert!(!format!("{headers:?}").contains("Bearer"));
    }
}
