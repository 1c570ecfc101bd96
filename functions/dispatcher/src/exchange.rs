//! One request and its answer. The status decides; what is read of the body is for people.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{
    self,
    connect::{CaptureConnection, capture_connection},
};
use posthorn_domain::{
    attempt::{BodyEnd, MAX_BODY_WAIT, MAX_RESPONSE_BYTES, Outcome, ResponseBody},
    failure::Failure,
    retry::retry_after,
};
use posthorn_runtime::{StartError, now};
use tokio::time::{Instant, timeout_at};

use crate::{
    classify::{end_of_body, failure_of_request, is_unprocessed},
    connect::{HttpClient, clients, meter_of},
    meter::Use,
    resolve::GuardedResolver,
};

/// The longest `Content-Encoding` that is kept.
const MAX_ENCODING: usize = 64;

/// Makes requests over connections that are kept for a while.
#[derive(Debug)]
pub(crate) struct Exchange {
    pooled: HttpClient,
    fresh: HttpClient,
}

impl Exchange {
    pub(crate) fn new(resolver: GuardedResolver) -> Result<Self, StartError> {
        let (pooled, fresh) = clients(resolver)?;
        Ok(Self { pooled, fresh })
    }

    /// Makes a request in at most `longest`. One that an earlier attempt's connection swallowed, as the
    /// receiver closed it at that moment, is made once more on a new connection.
    pub(crate) async fn make(&self, request: Request<Full<Bytes>>, longest: Duration) -> Outcome {
        let deadline = Instant::now() + longest;
        let mut asked = ask(&self.pooled, request.clone(), deadline).await;
        if asked.as_ref().is_err_and(|failed| failed.may_repeat) {
            asked = ask(&self.fresh, request, deadline).await;
        }
        match asked {
            Ok((response, used)) => read(response, used, deadline).await,
            Err(failed) => failed.outcome,
        }
    }
}

/// A request without an answer that could be read to the end of its head.
struct Failed {
    outcome: Outcome,
    may_repeat: bool,
}

impl Failed {
    /// The status decides, if one was read.
    fn of(failure: Failure, used: Option<&Use>) -> Self {
        let told = used.and_then(Use::told);
        let outcome = told.map_or(Outcome::Failure(failure), |(status, asked)| {
            Outcome::Response {
                status,
                body: ResponseBody {
                    end: end_after(failure),
                    ..ResponseBody::default()
                },
                retry_after: asked.and_then(|value| retry_after(&value, now())),
            }
        });
        Self {
            outcome,
            may_repeat: false,
        }
    }
}

/// What is noted of an answer that failed so after its status.
fn end_after(failure: Failure) -> BodyEnd {
    match failure {
        Failure::Closed | Failure::Reset => BodyEnd::Cut,
        Failure::Timeout => BodyEnd::Late,
        Failure::TooLarge => BodyEnd::TooLarge,
        _ => BodyEnd::Invalid,
    }
}

/// Sends a request and waits for the status. A connection without an answer is not used again.
async fn ask(
    client: &HttpClient,
    mut request: Request<Full<Bytes>>,
    deadline: Instant,
) -> Result<(Response<Incoming>, Option<Use>), Failed> {
    let captured = capture_connection(&mut request);
    let mut used = None;
    let answer = {
        let mut asking = pin!(client.request(request));
        let asking = poll_fn(|cx: &mut Context<'_>| -> Poll<_> {
            let polled = asking.as_mut().poll(cx);
            follow(&captured, &mut used);
            polled
        });
        timeout_at(deadline, asking).await
    };
    let failed = match answer {
        Ok(Ok(response)) => return Ok((response, used)),
        Ok(Err(error)) => why(&error, used.as_ref()),
        Err(_) => late(used.as_ref()),
    };
    if let Some(connected) = captured.connection_metadata().as_ref() {
        connected.poison();
    }
    Err(failed)
}

/// Notes which connection carries the request: before its bytes go out, and again if the client changes it
/// because nothing of the request went out.
fn follow(captured: &CaptureConnection, used: &mut Option<Use>) {
    let connected = captured.connection_metadata();
    let meter = connected.as_ref().and_then(meter_of);
    if let Some(meter) = meter
        && !used.as_ref().is_some_and(|used| used.is_of(&meter))
    {
        *used = Some(Use::begin(meter));
    }
}

/// Its time is over.
fn late(used: Option<&Use>) -> Failed {
    let failure = match used {
        Some(_) => Failure::Timeout,
        None => Failure::ConnectTimeout,
    };
    Failed::of(failure, used)
}

fn why(error: &legacy::Error, used: Option<&Use>) -> Failed {
    let told = failure_of_request(error);
    let Some(used) = used else {
        return Failed::of(told, None);
    };
    let failure = match told {
        _ if used.is_spent() => Failure::TooLarge,
        Failure::Closed | Failure::Reset | Failure::Other => used.broken().unwrap_or(told),
        told => told,
    };
    let has_ended = matches!(failure, Failure::Closed | Failure::Reset | Failure::Silent);
    let was_lost = used.is_stale() && has_ended;
    Failed {
        may_repeat: was_lost || (used.is_reused() && is_unprocessed(error)),
        ..Failed::of(failure, Some(used))
    }
}

/// The outcome of an answer.
async fn read(response: Response<Incoming>, used: Option<Use>, deadline: Instant) -> Outcome {
    let (head, body) = response.into_parts();
    let asked = head.headers.get(header::RETRY_AFTER);
    let retry_after = asked.and_then(|value| retry_after(value.to_str().ok()?, now()));
    let until = deadline.min(Instant::now() + MAX_BODY_WAIT);
    let (bytes, end) = read_body(body, used.as_ref(), until).await;
    Outcome::Response {
        status: head.status.as_u16(),
        body: ResponseBody {
            bytes,
            end,
            encoding: encoding(&head.headers),
        },
        retry_after,
    }
}

/// The first [`MAX_RESPONSE_BYTES`] of a body, and how it ended; a longer one is cut off without a word.
async fn read_body(mut body: Incoming, used: Option<&Use>, until: Instant) -> (Vec<u8>, BodyEnd) {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_RESPONSE_BYTES {
        let frame = match timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) if used.is_some_and(Use::is_spent) => {
                return (bytes, BodyEnd::TooLarge);
            }
            Ok(Some(Err(error))) => return (bytes, end_of_body(&error)),
            Ok(None) => break,
            Err(_) => return (bytes, BodyEnd::Late),
        };
        if let Some(data) = frame.data_ref() {
            let room = MAX_RESPONSE_BYTES - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    (bytes, BodyEnd::Whole)
}

/// What the body is encoded with, in the server's words.
fn encoding(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_ENCODING)?.to_str().ok()?.trim();
    let is_told = !value.is_empty() && !value.eq_ignore_ascii_case("identity");
    is_told.then(|| value.chars().take(MAX_ENCODING).collect())
}
