//! `idempotency-key` for every POST of this function: the same request again gets the first answer.
//!
//! Only effects are remembered: a refusal, or a fault of ours, gives the key back. Tokens are not
//! kept, so requests for one are carried out again.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE},
    middleware::Next,
    response::{IntoResponse, Response},
};
use posthorn_domain::{error::ApiError, error::FieldError, id::OrganizationId};
use posthorn_runtime::{
    entropy,
    http::{IDEMPOTENCY_KEY, idempotency_key},
    now,
};
use posthorn_store::Answer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Api,
    extract::{Caller, read_body},
    refusal::Refusal,
};

/// The largest answer that is kept: an item of the table has at most 400 KB.
const MAX_ANSWER_BYTES: usize = 350 * 1024;

/// How long a request waits for an earlier one with its key that is still being carried out.
const POLL: Duration = Duration::from_millis(200);
const MAX_POLLS: u32 = 25;

/// Answers from memory, or lets the request through and remembers its answer.
pub(crate) async fn remember(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    let key = idempotency_key(&parts.headers)?.map(str::to_owned);
    let is_kept = parts.method == Method::POST && !parts.uri.path().starts_with("/api/v1/auth/");
    let Some(key) = key.filter(|_| is_kept) else {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let Caller(scope) = Caller::from_request_parts(&mut parts, &api).await?;
    let body = read_body(body).await?;
    let subject = scope.application.as_ref().map_or("", |id| id.as_str());
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let reserved = Reserved {
        api: &api,
        organization: scope.organization,
        key: hash([subject.as_bytes(), target.as_bytes(), key.as_bytes()]),
        answer: Answer {
            request_hash: hash([&body]),
            status: 0,
            body: String::new(),
            started_at: now(),
            nonce: hash([&entropy::<16>()]),
        },
        path: parts.uri.path().to_owned(),
    };
    if let Some(earlier) = reserved.reserve().await? {
        return reserved.repeat(earlier);
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    reserved.finish(response).await
}

struct Reserved<'a> {
    api: &'a Api,
    organization: OrganizationId,
    key: String,
    answer: Answer,
    path: String,
}

impl Reserved<'_> {
    /// What an earlier request left, after it had some time to end.
    async fn reserve(&self) -> Result<Option<Answer>, Refusal> {
        let config = self.api.config();
        for _ in 0..MAX_POLLS {
            let earlier = config
                .reserve_answer(&self.organization, &self.key, &self.answer)
                .await?;
            let is_same = |earlier: &Answer| earlier.request_hash == self.answer.request_hash;
            if earlier
                .as_ref()
                .is_none_or(|earlier| earlier.status != 0 || !is_same(earlier))
            {
                return Ok(earlier);
            }
            tokio::time::sleep(POLL).await;
        }
        // Clients repeat a 503, and no other refusal.
        Err(ApiError::Unavailable.into())
    }

    fn repeat(&self, earlier: Answer) -> Result<Response, Refusal> {
        if earlier.request_hash != self.answer.request_hash {
            let msg = "was used before with another request body";
            return Err(FieldError::at("header", IDEMPOTENCY_KEY, msg).into());
        }
        Ok(answer(earlier.status, Bytes::from(earlier.body)))
    }

    async fn finish(self, response: Response) -> Result<Response, Refusal> {
        let Self {
            api,
            organization,
            key,
            answer: begun,
            path,
        } = self;
        let config = api.config();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        if head.status.is_success() {
            let (status, text) = kept(&path, head.status.as_u16(), &body);
            let answer = Answer {
                status,
                body: text,
                ..begun
            };
            config.keep_answer(&organization, &key, &answer).await?;
        } else {
            config.release_answer(&organization, &key).await?;
        }
        Ok(Response::from_parts(head, Body::from(body)))
    }
}

/// What is kept of an answer: no secret, no payload, and nothing too large for an item.
fn kept(path: &str, status: u16, body: &[u8]) -> (u16, String) {
    let text = String::from_utf8_lossy(body);
    if path.ends_with("/secret/rotate") {
        return (StatusCode::NO_CONTENT.as_u16(), String::new());
    }
    if path.ends_with("/send-example")
        && let Ok(mut message) = serde_json::from_str::<Value>(&text)
    {
        message["payload"] = json!({});
        return (status, message.to_string());
    }
    let fits = text.len() <= MAX_ANSWER_BYTES;
    (
        status,
        if fits {
            text.into_owned()
        } else {
            "{}".to_owned()
        },
    )
}

fn answer(status: u16, body: Bytes) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let is_empty = body.is_empty();
    let mut response = (status, body).into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    if !is_empty {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
    }
    response
}

/// Each part with its length, so that no two lists of parts are alike.
fn hash<'a, T: AsRef<[u8]> + ?Sized + 'a>(parts: impl IntoIterator<Item = &'a T>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.as_ref().len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
