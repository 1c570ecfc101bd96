//! A small typed client of the operations that most scenarios use, with the official clients' names.
//! The official clients themselves run in CI (`tests/clients`).

use std::sync::Arc;

use reqwest::{Method, RequestBuilder, header::CONTENT_TYPE};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

mod models;
mod operations;

pub use models::*;
pub use operations::*;

/// Why an operation has no result: the response was not a success.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The status code.
    pub status: u16,
    /// The response's JSON; null when there is none.
    pub body: Value,
}

type Result<T> = std::result::Result<T, Refused>;

/// The API with one token.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    /// A client of the API at a base URL.
    pub(crate) fn new(url: &str, token: &str) -> Self {
        Self(Arc::new(Inner {
            http: reqwest::Client::new(),
            url: format!("{url}/api/v1"),
            token: token.to_owned(),
        }))
    }

    /// Applications.
    pub fn application(&self) -> Applications<'_> {
        Applications(self)
    }

    /// Endpoints.
    pub fn endpoint(&self) -> Endpoints<'_> {
        Endpoints(self)
    }

    /// Event types.
    pub fn event_type(&self) -> EventTypes<'_> {
        EventTypes(self)
    }

    /// Messages.
    pub fn message(&self) -> Messages<'_> {
        Messages(self)
    }

    /// Attempts.
    pub fn message_attempt(&self) -> Attempts<'_> {
        Attempts(self)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.answer(self.request(Method::GET, path)).await
    }

    async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        options: Option<ListOptions>,
    ) -> Result<Page<T>> {
        let ListOptions { limit, iterator } = options.unwrap_or_default();
        let (limit, iterator) = (limit.unwrap_or(50), iterator.unwrap_or_default());
        self.get(&format!("{path}?limit={limit}&iterator={iterator}"))
            .await
    }

    async fn create<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        options: Option<CreateOptions>,
    ) -> Result<T> {
        let mut request = with_json(self.request(Method::POST, path), body);
        if let Some(key) = options.and_then(|options| options.idempotency_key) {
            request = request.header("idempotency-key", key);
        }
        self.answer(request).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let request = self.request(Method::DELETE, path);
        self.answer::<Value>(request).await.map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/{path}", self.0.url);
        let request = self.0.http.request(method, url);
        request.bearer_auth(&self.0.token)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if !status.is_success() {
            let status = status.as_u16();
            return Err(Refused { status, body });
        }
        Ok(serde_json::from_value(body).unwrap_or_else(|error| panic!("{error}: {text}")))
    }
}

fn with_json(request: RequestBuilder, body: &impl Serialize) -> RequestBuilder {
    request
        .header(CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(body).unwrap())
}
