//! HTTP ↔ domain: one message, or a batch.

use ::http::{HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use posthorn_contract::{
    ApiError, Refusal,
    application::ApplicationIn,
    batch::{BatchIn, BatchOut, MAX_BATCH_BYTES},
    body::{parse_body, unknown_field},
    http::{self, Request, Response},
    message::{MessageIn, MessageOut, NewMessage},
};
use posthorn_domain::{
    error::FieldError,
    id::{ApplicationId, MessageId, Reference},
    message::{MAX_PAYLOAD_BYTES, Message},
    timestamp::Timestamp,
    token::Scope,
    trace::TraceParent,
};
use posthorn_publish::Target;
use posthorn_runtime::{
    entropy,
    metrics::{Metric, count},
    now,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{Ingest, accept::Accepted, submission::Submission};

/// The most bytes of a body besides its payload: names, channels and tags at their longest, and
/// white space.
const MAX_ENVELOPE_BYTES: usize = 64 * 1024;

/// Bytes of `\u0001`, which stands for one.
const ESCAPE_BYTES: usize = 6;

/// The largest body of one message: in a payload that is sent as a JSON string, every byte may be
/// escaped.
const MAX_BODY_BYTES: usize = ESCAPE_BYTES * MAX_PAYLOAD_BYTES + MAX_ENVELOPE_BYTES;

/// A request after authentication.
struct Caller<'a> {
    scope: Scope,
    reference: Reference<ApplicationId>,
    idempotency_key: Option<&'a str>,
    /// Whether the response includes payloads.
    with_content: bool,
    now: Timestamp,
    /// When the function times out.
    deadline: Timestamp,
    /// The caller's span.
    trace: Option<TraceParent>,
}

/// What a path names. The application is still percent-encoded.
#[derive(Debug, PartialEq, Eq)]
enum Path<'a> {
    /// `/api/v1/app/{app_id}/msg`
    Message(&'a str),
    /// `/api/v1/app/{app_id}/msg/batch`
    Batch(&'a str),
}

impl<'a> Path<'a> {
    /// Matches the two paths; the template's routes pass on others as well.
    fn of(method: &Method, path: &'a str) -> Result<Self, ApiError> {
        let rest = path.strip_prefix("/api/v1/app/");
        let segments: Vec<_> = rest.into_iter().flat_map(|rest| rest.split('/')).collect();
        let found = match segments[..] {
            [app_id, "msg"] => Self::Message(app_id),
            [app_id, "msg", "batch"] => Self::Batch(app_id),
            [_, "msg", _] => return Err(ApiError::Method),
            _ => return Err(ApiError::NotFound("path")),
        };
        match *method {
            Method::POST => Ok(found),
            _ => Err(ApiError::Method),
        }
    }
}

/// 405 with the methods that the path allows (RFC 9110, section 15.5.6). GET of a message belongs
/// to the api function.
fn not_allowed(path: &str) -> Response {
    let takes = match path.ends_with("/msg") || path.ends_with("/msg/batch") {
        true => "POST",
        false => "GET,HEAD",
    };
    let mut response = http::error_response(&ApiError::Method);
    let takes = HeaderValue::from_static(takes);
    response.headers_mut().insert(header::ALLOW, takes);
    response
}

/// Answers one request.
pub(crate) async fn answer(ingest: &Ingest, request: Request, deadline: Timestamp) -> Response {
    let path = request.uri().path();
    let answer = match Path::of(request.method(), path) {
        Ok(Path::Message(app_id)) => answer_message(ingest, &request, app_id, deadline).await,
        Ok(Path::Batch(app_id)) => answer_batch(ingest, &request, app_id, deadline).await,
        Err(ApiError::Method) => return not_allowed(path),
        Err(error) => Err(error.into()),
    };
    answer.unwrap_or_else(|refusal| http::error_response(&public_error(refusal)))
}

async fn answer_message(
    ingest: &Ingest,
    request: &Request,
    app_id: &str,
    deadline: Timestamp,
) -> Result<Response, Refusal> {
    let caller = caller(ingest, request, app_id, deadline).await?;
    let body = request.body().as_ref();
    check_size(body, MAX_BODY_BYTES)?;
    let message = read_message(body, &caller.reference)?;
    let target = target(ingest, &caller, message.application.as_slice()).await?;
    let submission = caller.submission(ingest, message, caller.idempotency_key.map(hash), body);
    let accepted = accept(ingest, &caller, &target, &[submission]).await.pop();
    let message = accepted.unwrap_or(Err(ApiError::Unavailable.into()))?;
    Ok(json(202, &MessageOut::new(&message, caller.with_content)))
}

/// Accepts each message of a batch on its own: 202 when all were accepted, 207 when some were not.
async fn answer_batch(
    ingest: &Ingest,
    request: &Request,
    app_id: &str,
    deadline: Timestamp,
) -> Result<Response, Refusal> {
    let caller = caller(ingest, request, app_id, deadline).await?;
    let body = request.body().as_ref();
    check_size(body, MAX_BATCH_BYTES)?;
    let BatchIn { messages: texts } = parse_body(body).map_err(ApiError::from)?;
    let mut results: Vec<Option<Result<MessageOut, ApiError>>> = Vec::new();
    let (mut taken, mut messages) = (Vec::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        let text = text.as_bytes();
        match read_message(text, &caller.reference) {
            Ok(message) => {
                taken.push((index, text));
                messages.push(message);
                results.push(None);
            }
            Err(error) => results.push(Some(Err(error
                .within(&index.to_string())
                .within("messages")))),
        }
    }
    let brought = messages.iter().filter_map(|it| it.application.clone());
    let target = target(ingest, &caller, &brought.collect::<Vec<_>>()).await?;
    let key = |index: usize| {
        let key = caller.idempotency_key?;
        Some(hash(format!("{index}\n{key}")))
    };
    let submissions = messages.into_iter().zip(&taken);
    let submissions: Vec<_> = submissions
        .map(|(message, (index, text))| caller.submission(ingest, message, key(*index), text))
        .collect();
    let accepted = accept(ingest, &caller, &target, &submissions).await;
    let is_fault = |it: &Accepted| matches!(it, Err(Refusal::Fault(_)));
    let has_fault = accepted.iter().any(is_fault);
    for (accepted, (index, _)) in accepted.into_iter().zip(taken) {
        let shown = |message: Message| MessageOut::new(&message, caller.with_content);
        results[index] = Some(accepted.map(shown).map_err(public_error));
    }
    let results: Vec<_> = results.into_iter().flatten().collect();
    let mut errors = results.iter().map(|result| result.as_ref().err());
    if errors.all(|error| error.is_some_and(|error| error.status() >= 500)) {
        // Clients retry after a 503.
        return Err(ApiError::Unavailable.into());
    }
    if has_fault {
        http::note_fault(&ApiError::Unavailable);
    }
    let batch = BatchOut::new(results);
    let status = if batch.failed == 0 { 202 } else { 207 };
    Ok(json(status, &batch))
}

/// What a caller may learn of a refusal.
fn public_error(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::Caller(error) => error,
        Refusal::Fault(reason) => {
            tracing::error!(reason, "a message could not be accepted");
            ApiError::Unavailable
        }
    }
}

async fn caller<'a>(
    ingest: &Ingest,
    request: &'a Request,
    app_id: &str,
    deadline: Timestamp,
) -> Result<Caller<'a>, Refusal> {
    let with_content = with_content(request).map_err(ApiError::from)?;
    let now = now();
    let scope = ingest.tokens.authenticate(request.headers()).await?;
    let reference = percent_decode_str(app_id).decode_utf8_lossy().parse();
    let reference = reference
        .map_err(|error| ApiError::from(FieldError::at("path", "app_id", format!("{error}"))))?;
    Ok(Caller {
        scope,
        reference,
        idempotency_key: http::idempotency_key(request.headers())?,
        with_content,
        now,
        deadline,
        trace: traceparent(request),
    })
}

fn with_content(request: &Request) -> Result<bool, FieldError> {
    let query = request.uri().query().unwrap_or_default();
    let mut shown = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "with_content" {
            return Err(unknown_field(vec!["query".to_owned(), name.into_owned()]));
        }
        let value = match &*value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        };
        let value = value.map_err(|rule| FieldError::at("query", "with_content", rule))?;
        if shown.replace(value).is_some() {
            let rule = "must not be given twice";
            return Err(FieldError::at("query", "with_content", rule));
        }
    }
    Ok(shown.unwrap_or(true))
}

/// The caller's span; an invalid header counts as absent (W3C Trace Context).
fn traceparent(request: &Request) -> Option<TraceParent> {
    let header = request.headers().get("traceparent")?;
    header.to_str().ok()?.parse().ok()
}

/// The application that the caller may send to. Messages may bring it along, to be created.
async fn target(
    ingest: &Ingest,
    caller: &Caller<'_>,
    brought: &[ApplicationIn],
) -> Result<Target, Refusal> {
    let Caller {
        scope, reference, ..
    } = caller;
    let brought = match scope.application {
        None => brought,
        Some(_) => &[],
    };
    let target = ingest
        .directory
        .target(&scope.organization, reference, brought, caller.now)
        .await?;
    scope.require_application(&target.application.id)?;
    scope.require_producer()?;
    Ok(target)
}

impl Caller<'_> {
    fn submission(
        &self,
        ingest: &Ingest,
        message: NewMessage,
        idempotency_key: Option<String>,
        text: &[u8],
    ) -> Submission {
        // Requests are only compared when they have a key.
        let request_hash = idempotency_key.as_ref().map(|_| hash(text));
        Submission {
            message,
            idempotency_key,
            request_hash: request_hash.unwrap_or_default(),
            id: MessageId::new(self.now, entropy()),
            at: self.now,
            deadline: self.deadline,
            trace: ingest.span(self.trace),
        }
    }
}

async fn accept(
    ingest: &Ingest,
    caller: &Caller<'_>,
    target: &Target,
    submissions: &[Submission],
) -> Vec<Accepted> {
    let accepted = ingest.accept(target, submissions).await;
    for (message, submission) in accepted.iter().zip(submissions) {
        if let Ok(message) = message {
            note(message, submission.trace, caller.trace);
        }
    }
    accepted
}

/// Counts and logs an accepted message.
pub(crate) fn note(message: &Message, span: Option<TraceParent>, caller: Option<TraceParent>) {
    count(Metric::MessagesAccepted, 1);
    tracing::info!(
        msg_id = %message.id,
        event_type = %message.event_type,
        destinations = message.destinations.len(),
        trace_id = span.map(TraceParent::trace_id),
        span_id = span.map(TraceParent::span_id),
        parent_span_id = span.and(caller).map(TraceParent::span_id),
        "accepted"
    );
}

fn json(status: u16, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(body) => http::json_response(status, body),
        Err(_) => http::error_response(&ApiError::Unavailable),
    }
}

fn check_size(body: &[u8], limit: usize) -> Result<(), ApiError> {
    match body.len() <= limit {
        true => Ok(()),
        false => Err(too_large("request body", limit)),
    }
}

fn too_large(what: &str, limit: usize) -> ApiError {
    let kib = limit / 1024;
    ApiError::TooLarge(format!(
        "the {what} must have at most {kib} KiB ({limit} bytes)"
    ))
}

/// Reads one message from JSON, posted or queued.
fn read_message(
    text: &[u8],
    application: &Reference<ApplicationId>,
) -> Result<NewMessage, ApiError> {
    let message: MessageIn = parse_body(text)?;
    check(message, application)
}

/// Refuses a message whose fields contradict each other, or whose payload is too large.
pub(crate) fn check(
    message: MessageIn,
    application: &Reference<ApplicationId>,
) -> Result<NewMessage, ApiError> {
    let message = message.check()?;
    if let Some(brought) = &message.application {
        let checked = brought.check_brought(&application.to_string());
        checked.map_err(|error| error.within("application"))?;
    }
    match message.payload.as_str().len() <= MAX_PAYLOAD_BYTES {
        true => Ok(message),
        false => Err(too_large("payload", MAX_PAYLOAD_BYTES)),
    }
}

pub(crate) fn hash(bytes: impl AsRef<[u8]>) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
