//! `idempotency-key` for every POST of this function: the same request again gets the first answer.
//!
//! Only effects are remembered: a refusal gives the key back. A request that ended in the middle, or
//! in a fault of ours, is carried out again with the same new ids ([`Fresh`]), so that it finds what
//! it made before. Secrets and payloads are not kept either: a handler whose answer has one shows what it did
//! before ([`Repeated`]). Tokens are not kept, so requests for one are carried out again. Tokens of different reach
//! ([`Scope::remembers_as`]) share no answers.
//!
//! [`Scope::remembers_as`]: posthorn_domain::token::Scope::remembers_as

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use posthorn_contract::{
    ApiError, Refusal,
    http::{IDEMPOTENCY_KEY, idempotency_key},
};
use posthorn_domain::{
    error::FieldError,
    id::{Entropy, OrganizationId},
    timestamp::Timestamp,
};
use posthorn_runtime::{entropy, now};
use posthorn_store::{Answer, FAILED, Seed};
use sha2::{Digest, Sha256};

use crate::{
    Api,
    extract::{Caller, read_body},
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
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let (now, nonce) = (now(), hash([&entropy::<16>()]));
    let mut reserved = Reserved {
        api: &api,
        key: hash([
            scope.remembers_as().as_bytes(),
            target.as_bytes(),
            key.as_bytes(),
        ]),
        organization: scope.organization,
        answer: Answer {
            request_hash: hash([&body]),
            status: 0,
            body: String::new(),
            started_at: now,
            seed: Seed {
                at: now,
                nonce: nonce.clone(),
            },
            nonce,
        },
        path: parts.uri.path().to_owned(),
    };
    if let Some(earlier) = reserved.reserve().await? {
        reserved.check_same(&earlier)?;
        if !is_shown_again(&reserved.path) {
            return Ok(answer(earlier.status, Bytes::from(earlier.body)));
        }
        parts.extensions.insert(Repeated(true));
        parts.extensions.insert(Fresh::of(&earlier.seed));
        return Ok(next.run(Request::from_parts(parts, Body::from(body))).await);
    }
    parts.extensions.insert(Fresh::of(&reserved.answer.seed));
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
    async fn reserve(&mut self) -> Result<Option<Answer>, Refusal> {
        let answers = &self.api.answers;
        for _ in 0..MAX_POLLS {
            let reserve = answers.reserve(&self.organization, &self.key, &self.answer);
            let earlier = match reserve.await? {
                Ok(reserved) => {
                    self.answer = reserved;
                    return Ok(None);
                }
                Err(earlier) => earlier,
            };
            if earlier.status != 0 || earlier.request_hash != self.answer.request_hash {
                return Ok(Some(earlier));
            }
            tokio::time::sleep(POLL).await;
        }
        // Clients repeat a 503, and no other refusal.
        Err(ApiError::Unavailable.into())
    }

    fn check_same(&self, earlier: &Answer) -> Result<(), FieldError> {
        let msg = "was used before with another request body";
        match earlier.request_hash == self.answer.request_hash {
            true => Ok(()),
            false => Err(FieldError::at("header", IDEMPOTENCY_KEY, msg)),
        }
    }

    async fn finish(self, response: Response) -> Result<Response, Refusal> {
        let Self {
            api,
            organization,
            key,
            answer: begun,
            path,
        } = self;
        let answers = &api.answers;
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        if head.status.is_client_error() {
            answers.release(&organization, &key).await?;
        } else {
            let (status, text) = kept(&path, head.status, &body);
            let answer = Answer {
                status,
                body: text,
                ..begun
            };
            answers.keep(&organization, &key, &answer).await?;
        }
        Ok(Response::from_parts(head, Body::from(body)))
    }
}

/// What is kept of an answer: no secret, no payload, and nothing too large for an item.
fn kept(path: &str, status: StatusCode, body: &[u8]) -> (u16, String) {
    if !status.is_success() {
        return (FAILED, String::new());
    }
    if is_shown_again(path) {
        return (status.as_u16(), String::new());
    }
    let text = String::from_utf8_lossy(body);
    let fits = text.len() <= MAX_ANSWER_BYTES;
    let text = if fits {
        text.into_owned()
    } else {
        "{}".to_owned()
    };
    (status.as_u16(), text)
}

/// Whether an operation's answer has what is not kept: its handler takes [`Repeated`].
fn is_shown_again(path: &str) -> bool {
    path.ends_with("/secret/rotate") || path.ends_with("/send-example")
}

/// Whether the request was carried out before, so that its answer is all that is left to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeated(pub(crate) bool);

impl<S: Sync> FromRequestParts<S> for Repeated {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(false)))
    }
}

/// What a handler makes new ids of: the same for a request and its repetition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fresh {
    pub(crate) now: Timestamp,
    pub(crate) entropy: Entropy,
}

impl Fresh {
    fn of(seed: &Seed) -> Self {
        let hash = Sha256::digest(&seed.nonce);
        let mut entropy = Entropy::default();
        let length = entropy.len();
        entropy.copy_from_slice(&hash[..length]);
        Self {
            now: seed.at,
            entropy,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Fresh {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let seeded = parts.extensions.get().copied();
        Ok(seeded.unwrap_or_else(|| Self {
            now: now(),
            entropy: entropy(),
        }))
    }
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
