//! An HTTP server that acts as a customer's endpoint.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::until;

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// When it arrived.
    pub at: Instant,
}

impl Request {
    /// A header as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Verifies it with the official Standard Webhooks library.
    ///
    /// # Errors
    /// When the library rejects the signature.
    pub fn verify(&self, secret: &str) -> Result<(), standardwebhooks::WebhookError> {
        standardwebhooks::Webhook::new(secret)?.verify(&self.body, &self.headers)
    }
}

/// A running endpoint; dropping this value ends it.
#[derive(Debug)]
pub struct Receiver {
    url: String,
    state: Arc<Inner>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Status codes of the next responses; 204 when there are no more.
    script: Mutex<VecDeque<u16>>,
    /// A header of every response.
    header: Option<(&'static str, String)>,
    received: Mutex<Vec<Request>>,
}

/// In a script, instead of a status code: accept the request and never answer.
const HANG: u16 = 0;

impl Receiver {
    /// Answers each request with the next of these status codes, then with 204. 0 never answers.
    pub async fn answering(script: impl IntoIterator<Item = u16>) -> Self {
        Self::start(script, None).await
    }

    /// The same with a header.
    pub async fn answering_with(
        script: impl IntoIterator<Item = u16>,
        name: &'static str,
        value: impl Into<String>,
    ) -> Self {
        Self::start(script, Some((name, value.into()))).await
    }

    async fn start(
        script: impl IntoIterator<Item = u16>,
        header: Option<(&'static str, String)>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let state = Arc::new(Inner {
            script: Mutex::new(script.into_iter().collect()),
            header,
            ..Inner::default()
        });
        let router = Router::new()
            .fallback(any(receive))
            .with_state(Arc::clone(&state));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state, task }
    }

    /// Accepts everything.
    pub async fn accepting() -> Self {
        Self::answering([]).await
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The requests that have arrived so far.
    pub fn received(&self) -> Vec<Request> {
        self.state.received.lock().unwrap().clone()
    }

    /// Waits until this many requests have arrived, and returns all of them.
    pub async fn wait_for(&self, count: usize) -> Vec<Request> {
        until(&format!("{count} requests at the receiver"), || async {
            Some(self.received()).filter(|received| received.len() >= count)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(State(state): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    state.received.lock().unwrap().push(Request {
        headers,
        body,
        at: Instant::now(),
    });
    let status = state.script.lock().unwrap().pop_front().unwrap_or(204);
    if status == HANG {
        std::future::pending::<()>().await;
    }
    let status = StatusCode::from_u16(status).unwrap();
    // Only redirects use it: the second hop must never be visited.
    let location = [(header::LOCATION, "/second-hop")];
    let body = format!("answer {}", status.as_u16());
    let mut response = (status, location, body).into_response();
    if let Some((name, value)) = &state.header {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}
