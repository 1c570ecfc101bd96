//! Makes one signed request (Standard Webhooks 1.0) and says what came of it.

use std::{sync::Arc, time::Duration};

use posthorn_domain::{
    address::Policy,
    attempt::{FailureClass, MAX_RESPONSE_BYTES, Outcome},
    endpoint::Confidential,
    id::MessageId,
    payload::Payload,
    retry::retry_after,
    timestamp::Timestamp,
    trace::TraceParent,
};
use posthorn_runtime::{StartError, now};
use reqwest::{Client, RequestBuilder, Response, header, redirect};

use crate::{Lookup, classify::classify, resolve::GuardedResolver};

/// The longest time to connect; inside the whole request's time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections idle for longer are not used again: a frozen function may have missed their end.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

const USER_AGENT: &str = concat!("Posthorn/", env!("CARGO_PKG_VERSION"));

/// How requests are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the connection to the last byte of the response that is read.
    pub request_timeout: Duration,
    /// Whether to send `svix-*` headers too.
    pub svix_headers: bool,
    /// Where requests may go.
    pub addresses: Policy,
    /// What names mean.
    pub lookup: Arc<dyn Lookup>,
}

/// What is posted, and with which keys and headers.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Of the endpoint.
    pub confidential: &'a Confidential,
    /// Becomes `webhook-id`.
    pub id: &'a MessageId,
    /// Becomes `webhook-timestamp`.
    pub at: Timestamp,
    /// The body.
    pub payload: &'a Payload,
    /// The attempt's span; becomes `traceparent`.
    pub trace: Option<TraceParent>,
}

/// Makes requests.
#[derive(Debug)]
pub struct Sender {
    client: Client,
    settings: Settings,
}

impl Sender {
    /// Prepares a client that follows no redirects, uses no proxy and connects to checked addresses only.
    ///
    /// # Errors
    /// When the system's root certificates cannot be read.
    pub fn new(settings: Settings) -> Result<Self, StartError> {
        // An error means that the process has a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let resolver = GuardedResolver::new(settings.addresses.clone(), settings.lookup.clone());
        let client = Client::builder()
            .dns_resolver(Arc::new(resolver))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_title_case_headers()
            .default_headers(default_headers())
            .build()?;
        Ok(Self { client, settings })
    }

    /// The longest time for a request.
    pub(crate) fn longest(&self) -> Duration {
        self.settings.request_timeout
    }

    /// Posts a payload to an endpoint, in at most `longest`. Whatever the endpoint does is an outcome.
    pub async fn send(&self, url: &str, request: Signed<'_>, longest: Duration) -> Outcome {
        let Signed {
            confidential,
            id,
            at,
            payload,
            trace,
        } = request;
        // An IP literal never reaches the resolver, so the URL itself is checked, too.
        let Ok(url) = self.settings.addresses.check(url) else {
            return Outcome::Failure(FailureClass::Blocked);
        };
        let body = payload.as_str().as_bytes();
        let signature = confidential.sign(id, at, body);
        // The customer's headers first: they cannot be any of ours.
        let custom = confidential.headers.iter();
        let request = custom.fold(
            self.client.post(url).timeout(longest),
            |request, (name, value)| request.header(name, value),
        );
        let mut request = request.header(header::CONTENT_TYPE, payload.content_type());
        // A customer may have set a constant one.
        let is_free = |name: &str| {
            !confidential
                .headers
                .iter()
                .any(|(it, _)| it.eq_ignore_ascii_case(name))
        };
        if let Some(span) = trace.filter(|_| is_free(TRACEPARENT)) {
            request = request.header(TRACEPARENT, span.to_string());
        }
        let request = self.signed(request, id, at, &signature).body(body.to_vec());
        match read(request).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failure(classify(&error)),
        }
    }

    fn signed(
        &self,
        request: RequestBuilder,
        id: &MessageId,
        at: Timestamp,
        signature: &str,
    ) -> RequestBuilder {
        let values = [
            ("id", id.as_str()),
            ("timestamp", &at.as_seconds().to_string()),
            ("signature", signature),
        ];
        let families: &[&str] = if self.settings.svix_headers {
            &["webhook", "svix"]
        } else {
            &["webhook"]
        };
        families.iter().fold(request, |request, family| {
            values.iter().fold(request, |request, (name, value)| {
                request.header(format!("{family}-{name}"), *value)
            })
        })
    }
}

/// A customer's header of this name takes its place.
fn default_headers() -> header::HeaderMap {
    let agent = header::HeaderValue::from_static(USER_AGENT);
    header::HeaderMap::from_iter([(header::USER_AGENT, agent)])
}

/// Sends and reads at most [`MAX_RESPONSE_BYTES`] of the answer: a longer body, or an endless one, is
/// cut off, and the client's time-out covers reading it.
async fn read(request: RequestBuilder) -> Result<Outcome, reqwest::Error> {
    let mut response: Response = request.send().await?;
    let status = response.status().as_u16();
    let header = response.headers().get(header::RETRY_AFTER);
    let retry_after = header.and_then(|value| retry_after(value.to_str().ok()?, now()));
    let mut body = Vec::new();
    while body.len() < MAX_RESPONSE_BYTES {
        let Some(chunk) = response.chunk().await? else {
            break;
        };
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_RESPONSE_BYTES - body.len())]);
    }
    Ok(Outcome::Response {
        status,
        body,
        retry_after,
    })
}
