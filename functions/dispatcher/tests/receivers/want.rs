//! What a row wants.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use posthorn_dispatcher::{Lookup, Sender, Settings, Signed};
use posthorn_domain::{
    address::Policy,
    attempt::{Attempt, BodyEnd, Outcome},
    delivery::{Ask, record},
    endpoint::Confidential,
    failure::Failure,
    health::{Health, MessageMark, Observation, Verdict},
    id::{AttemptId, MessageId},
    payload::Payload,
    signing::EndpointSecret,
    timestamp::Timestamp,
};

/// A name that means this machine.
pub(crate) const HOST: &str = "receiver.example.com";

/// The time of attempts that it ends.
pub(crate) const SHORT: Duration = Duration::from_secs(3);

/// The time of all others.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The wait before the second attempt.
const WAIT: u64 = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// A status, the beginning of the body that is kept, and what is noted of it.
    Answer(u16, &'static str, BodyEnd),
    Fails(Failure),
}

/// What follows the first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Done,
    /// Another attempt after so many seconds.
    Again(u64),
    Disabled,
}

impl Want {
    pub(crate) fn of(outcome: &Outcome, kept: &str) -> Self {
        match outcome {
            Outcome::Response { status, body, .. } => {
                let text = String::from_utf8_lossy(&body.bytes);
                assert!(text.starts_with(kept), "{kept:?} is not kept: {text:?}");
                Self::Answer(*status, "", body.end)
            }
            Outcome::Failure(failure) => Self::Fails(*failure),
        }
    }

    /// How long an attempt may take: little where time must end it, else as long as a busy machine needs.
    pub(crate) fn time(&self) -> Duration {
        match self {
            Self::Fails(Failure::Timeout) | Self::Answer(.., BodyEnd::Late) => SHORT,
            _ => LONG,
        }
    }

    /// What must follow when the receiver asks for nothing.
    pub(crate) fn next(&self) -> Next {
        match self {
            Self::Answer(200..=299, ..) => Next::Done,
            Self::Answer(410, ..) => Next::Disabled,
            _ => Next::Again(WAIT),
        }
    }
}

/// What the domain does after an outcome.
pub(crate) fn next(outcome: &Outcome) -> Next {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let observation = Observation {
        outcome,
        message: MessageMark::of(&MessageId::new(at, [1; 15])),
        started_at: at,
        ended_at: at,
    };
    let verdict = Health::default().after(observation, Duration::from_secs(86_400));
    if matches!(verdict, Verdict::Disable(..)) {
        return Next::Disabled;
    }
    let attempt = Attempt::record(AttemptId::new(at, [1; 15]), String::new(), at, at, outcome);
    let (event_type, schedule) = ("a".to_owned().try_into().unwrap(), "5,300".parse().unwrap());
    let (_, step) = record(
        None,
        &event_type,
        Ask::Scheduled(0),
        attempt,
        &schedule,
        at,
        0.5,
    );
    match step.retry {
        Some(retry) => Next::Again(retry.due.since(at).as_secs()),
        None => Next::Done,
    }
}

#[derive(Debug)]
struct ThisMachine;

impl Lookup for ThisMachine {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![Ipv4Addr::LOCALHOST.into()]) })
    }
}

pub(crate) fn sender() -> Sender {
    let settings = Settings {
        request_timeout: LONG,
        svix_headers: false,
        addresses: Policy {
            allow_http: true,
            allow_subnets: vec!["127.0.0.0/8".parse().unwrap()],
        },
        lookup: Arc::new(ThisMachine),
    };
    Sender::new(settings).unwrap()
}

/// Makes an attempt.
pub(crate) async fn post(sender: &Sender, url: &str, longest: Duration) -> Outcome {
    let confidential = Confidential::new(EndpointSecret::generate([1; 32]));
    post_as(sender, url, &confidential, longest).await
}

pub(crate) async fn post_as(
    sender: &Sender,
    url: &str,
    confidential: &Confidential,
    longest: Duration,
) -> Outcome {
    let payload = serde_json::from_str("{}").unwrap();
    post_payload(sender, url, confidential, &payload, longest).await
}

pub(crate) async fn post_payload(
    sender: &Sender,
    url: &str,
    confidential: &Confidential,
    payload: &Payload,
    longest: Duration,
) -> Outcome {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let request = Signed {
        confidential,
        id: &MessageId::new(at, [1; 15]),
        at,
        payload,
        trace: None,
    };
    sender.send(url, request, longest).await
}
