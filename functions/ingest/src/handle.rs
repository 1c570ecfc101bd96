//! HTTP ↔ domain.

use lambda_http::{Body, Request, RequestExt, Response};
use posthorn_domain::{
    error::{ApiError, FieldError},
    form::parse_body,
    message::{MAX_PAYLOAD_BYTES, Message, MessageIn},
    trace::TraceParent,
};
use posthorn_runtime::{
    entropy, http,
    metrics::{Metric, count},
    now,
};
use sha2::{Digest, Sha256};

use crate::{Ingest, Refusal, publish::Publication};

/// Bytes of a body beside its payload: names, channels and tags at their longest, and white space.
const MAX_ENVELOPE_BYTES: usize = 64 * 1024;

/// Answers one request.
pub async fn handle(ingest: &Ingest, request: Request) -> Response<Body> {
    let caller = traceparent(&request);
    let span = ingest.traces.then(|| match caller {
        Some(caller) => caller.child(entropy()),
        None => TraceParent::begin(entropy(), entropy()),
    });
    let answer = match with_content(&request) {
        Ok(with_content) => accept(ingest, &request, span)
            .await
            .map(|message| (message, with_content)),
        Err(error) => Err(ApiError::from(error).into()),
    };
    match answer {
        Ok((message, with_content)) => {
            log(&message, span, caller);
            accepted(&message, with_content)
        }
        Err(Refusal::Caller(error)) => http::error_response(&error),
        Err(Refusal::Fault(reason)) => {
            tracing::error!(reason, "a message could not be accepted");
            http::error_response(&ApiError::Unavailable)
        }
    }
}

fn with_content(request: &Request) -> Result<bool, FieldError> {
    let query = request.query_string_parameters_ref();
    match query.and_then(|query| query.first("with_content")) {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(FieldError::at(
            "query",
            "with_content",
            "must be `true` or `false`",
        )),
    }
}

/// The caller's span; a header that is none is as good as no header (W3C Trace Context).
fn traceparent(request: &Request) -> Option<TraceParent> {
    let header = request.headers().get("traceparent")?;
    header.to_str().ok()?.parse().ok()
}

fn log(message: &Message, span: Option<TraceParent>, caller: Option<TraceParent>) {
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

fn accepted(message: &Message, with_content: bool) -> Response<Body> {
    count(Metric::MessagesAccepted, 1);
    match serde_json::to_string(&message.to_out(with_content)) {
        Ok(body) => http::json_response(202, body),
        Err(_) => http::error_response(&ApiError::Unavailable),
    }
}

async fn accept(
    ingest: &Ingest,
    request: &Request,
    trace: Option<TraceParent>,
) -> Result<Message, Refusal> {
    let now = now();
    let scope = ingest.tokens.authenticate(request.headers(), now).await?;
    let idempotency_key = http::idempotency_key(request.headers())?.map(hash);
    let body = request.body().as_ref();
    let message = read_message(body)?;
    let parameters = request.path_parameters_ref();
    let reference = parameters
        .and_then(|path| path.first("app_id"))
        .unwrap_or_default();
    let reference = reference
        .parse()
        .map_err(|error| ApiError::from(FieldError::at("path", "app_id", format!("{error}"))))?;
    let found = ingest
        .directory
        .find(&scope.organization, &reference)
        .await?;
    let (application, endpoints) = match (found, &message.application) {
        (Some(found), _) => found,
        (None, Some(body)) if scope.application.is_none() => {
            ingest
                .directory
                .create(&scope.organization, reference, body.clone(), now)
                .await?
        }
        (None, _) => return Err(ApiError::NotFound("application").into()),
    };
    scope.require_application(&application.id)?;
    scope.require_producer()?;
    let request_hash = hash(body);
    let publication = Publication {
        scope,
        application,
        endpoints,
        message,
        idempotency_key,
        request_hash,
        now,
        trace,
    };
    ingest.publish(publication).await
}

fn read_message(body: &[u8]) -> Result<MessageIn, ApiError> {
    let too_large = |what: &str, limit: usize| {
        let kib = limit / 1024;
        Err(ApiError::TooLarge(format!(
            "the {what} must have at most {kib} KiB ({limit} bytes)"
        )))
    };
    if body.len() > MAX_PAYLOAD_BYTES + MAX_ENVELOPE_BYTES {
        return too_large("request body", MAX_PAYLOAD_BYTES + MAX_ENVELOPE_BYTES);
    }
    let message: MessageIn = parse_body(body)?;
    if message.payload.as_str().len() > MAX_PAYLOAD_BYTES {
        return too_large("payload", MAX_PAYLOAD_BYTES);
    }
    Ok(message)
}

fn hash(bytes: impl AsRef<[u8]>) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
