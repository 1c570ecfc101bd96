//! Makes one signed request (Standard Webhooks 1.0) and says what came of it.

use std::{sync::Arc, time::Duration};

use http::{Request, header, request::Builder};
use http_body_util::Full;
use posthorn_domain::{
    address::Policy, attempt::Outcome, endpoint::Confidential, failure::Failure, id::MessageId,
    payload::Payload, timestamp::Timestamp, trace::TraceParent,
};
use posthorn_runtime::StartError;

use crate::{Lookup, exchange::Exchange, resolve::GuardedResolver};

/// W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

const USER_AGENT: &str = concat!("Posthorn/", env!("CARGO_PKG_VERSION"));

/// How requests are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the connection to the status, and to what is read of the body.
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
    exchange: Exchange,
    settings: Settings,
}

impl Sender {
    /// Prepares a client that follows no redirects, uses no proxy and connects to checked addresses only.
    ///
    /// # Errors
    /// When the system's root certificates cannot be read.
    pub fn new(settings: Settings) -> Result<Self, StartError> {
        let resolver = GuardedResolver::new(settings.addresses.clone(), settings.lookup.clone());
        let exchange = Exchange::new(resolver)?;
        Ok(Self { exchange, settings })
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
            return Outcome::Failure(Failure::Blocked);
        };
        let body = payload.as_str().as_bytes();
        let signature = confidential.sign(id, at, body);
        // The customer's headers first: they cannot be any of ours.
        let custom = confidential.headers.iter();
        let request = custom.fold(Request::post(url.as_str()), |request, (name, value)| {
            request.header(name, value)
        });
        let mut request = request.header(header::CONTENT_TYPE, payload.content_type());
        // A customer may have set one of these.
        let is_free = |name: &str| {
            !confidential
                .headers
                .iter()
                .any(|(it, _)| it.eq_ignore_ascii_case(name))
        };
        for (name, value) in [("user-agent", USER_AGENT), ("accept", "*/*")] {
            if is_free(name) {
                request = request.header(name, value);
            }
        }
        if let Some(span) = trace.filter(|_| is_free(TRACEPARENT)) {
            request = request.header(TRACEPARENT, span.to_string());
        }
        let body = Full::from(body.to_vec());
        match self.signed(request, id, at, &signature).body(body) {
            Ok(request) => self.exchange.make(request, longest).await,
            // URLs and headers are checked when they are stored.
            Err(_) => Outcome::Failure(Failure::Blocked),
        }
    }

    fn signed(&self, request: Builder, id: &MessageId, at: Timestamp, signature: &str) -> Builder {
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
