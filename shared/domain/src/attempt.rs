//! Attempts: what one HTTP request of a delivery came to.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    id::{AttemptId, JobId},
    timestamp::Timestamp,
};

/// What is kept in place of a response that was removed for good: the contract's word.
pub const EXPUNGED: &str = "EXPUNGED";

/// Bytes of a response body that are read and kept.
pub const MAX_RESPONSE_BYTES: usize = 4096;

/// How long a response body is read after its status, inside the attempt's time: shorter than what makes an
/// endpoint slow ([`crate::health::SLOW_AFTER`]), so that a body that never comes holds nobody up.
pub const MAX_BODY_WAIT: Duration = Duration::from_secs(1);

/// Bytes of the URL that an attempt keeps: every attempt of a delivery is written again with the next.
pub const MAX_URL_KEPT: usize = 1024;

/// What an endpoint did. Every variant is a result of the outside world; our own faults are errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its status came in time.
    Response {
        /// The HTTP status code.
        status: u16,
        /// What was read of the body.
        body: ResponseBody,
        /// How long it asks to be left alone ([`crate::retry::retry_after`]).
        retry_after: Option<Duration>,
    },
    /// It did not answer, or was not asked.
    Failure(Failure),
}

impl Outcome {
    /// Whether the endpoint says that it is gone for good (410).
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Response { status: 410, .. })
    }

    /// 2xx and only that: redirects are not followed and count as failures (Standard Webhooks,
    /// "Deliverability and reliability").
    pub fn is_success(&self) -> bool {
        matches!(
            self,
            Self::Response {
                status: 200..=299,
                ..
            }
        )
    }
}

/// What was read of a response's body. The status decides what becomes of the delivery; the body is kept
/// for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseBody {
    /// The first [`MAX_RESPONSE_BYTES`].
    pub bytes: Vec<u8>,
    /// How it ended.
    pub end: BodyEnd,
    /// Its `Content-Encoding`, unless it is `identity`. Posthorn asks for none and decodes none.
    pub encoding: Option<String>,
}

/// How the body of a response ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyEnd {
    /// As it should; or what was read is all that is kept.
    #[default]
    Whole,
    /// The connection ended before the body did, or before the head did.
    Cut,
    /// The time for the body was over ([`MAX_BODY_WAIT`]).
    Late,
    /// The answer was longer than [`crate::failure::MAX_ANSWER_BYTES`].
    TooLarge,
    /// Its framing, or what follows the status in its head, is not valid HTTP.
    Invalid,
}

impl BodyEnd {
    /// Whether nothing is to be said of it.
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// One line for people.
    fn describe(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Cut => Some("the connection ended before the body did"),
            Self::Late => Some("the body did not end in time"),
            Self::TooLarge => Some("the answer is too large: 256 KiB are read, with all headers"),
            Self::Invalid => Some("what follows the status is not valid HTTP"),
        }
    }
}

/// One HTTP request, as it is stored inside its delivery. Attribute names are short because every
/// attempt of a delivery is written again with the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id.
    #[serde(rename = "i")]
    pub id: AttemptId,
    /// When it began.
    #[serde(rename = "t")]
    pub started_at: Timestamp,
    /// Milliseconds from its begin to its end.
    #[serde(rename = "d")]
    pub duration_ms: u64,
    /// The HTTP status code; 0 when there was no response.
    #[serde(rename = "c")]
    pub status_code: u16,
    /// Why there was no response.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The beginning of the response body; base64 when it is not UTF-8.
    #[serde(rename = "b", default, skip_serializing_if = "String::is_empty")]
    pub response: String,
    /// How the response body ended.
    #[serde(rename = "e", default, skip_serializing_if = "BodyEnd::is_whole")]
    pub body_end: BodyEnd,
    /// The response's `Content-Encoding`.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Seconds that a refusing endpoint asked to be left alone for.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Whether it was on the schedule or asked for.
    #[serde(
        rename = "g",
        default,
        skip_serializing_if = "TriggerType::is_scheduled"
    )]
    pub trigger: TriggerType,
    /// Which request of an operator asked for it.
    #[serde(rename = "j", default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Where it was posted; the first [`MAX_URL_KEPT`] bytes.
    #[serde(rename = "u")]
    pub url: String,
}

/// Why an attempt was made; the numbers are the contract's `MessageAttemptTriggerType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
pub enum TriggerType {
    /// By the retry schedule, the first attempt included.
    #[default]
    Scheduled = 0,
    /// By an operator's request.
    Manual = 1,
}

impl TriggerType {
    fn is_scheduled(&self) -> bool {
        *self == Self::Scheduled
    }
}

impl From<TriggerType> for u8 {
    fn from(trigger: TriggerType) -> Self {
        trigger as Self
    }
}

impl From<u8> for TriggerType {
    fn from(number: u8) -> Self {
        if number == 1 {
            Self::Manual
        } else {
            Self::Scheduled
        }
    }
}

impl Attempt {
    /// When it ended.
    pub fn ended_at(&self) -> Timestamp {
        self.started_at
            .plus(Duration::from_millis(self.duration_ms))
    }

    /// Writes down what an endpoint did.
    pub fn record(
        id: AttemptId,
        url: String,
        started_at: Timestamp,
        ended_at: Timestamp,
        outcome: &Outcome,
    ) -> Self {
        let nothing = ResponseBody::default();
        let (status_code, failure, body, wait) = match outcome {
            Outcome::Response {
                status,
                body,
                retry_after,
            } => (*status, None, body, *retry_after),
            Outcome::Failure(failure) => (0, Some(*failure), &nothing, None),
        };
        let retry_after = wait
            .filter(|_| !outcome.is_success())
            .map(|wait| wait.as_secs());
        let mut url = url;
        if url.len() > MAX_URL_KEPT {
            // URLs are ASCII once they are parsed; the check keeps any other text whole, too.
            let end = (0..=MAX_URL_KEPT)
                .rev()
                .find(|end| url.is_char_boundary(*end));
            url.truncate(end.unwrap_or(0));
        }
        Self {
            id,
            started_at,
            duration_ms: u64::try_from(ended_at.since(started_at).as_millis()).unwrap_or(u64::MAX),
            status_code,
            failure,
            response: response_text(&body.bytes),
            body_end: body.end,
            encoding: body.encoding.clone(),
            retry_after,
            trigger: TriggerType::Scheduled,
            job: None,
            url,
        }
    }

    /// Whether the endpoint accepted it.
    pub fn is_success(&self) -> bool {
        (200..=299).contains(&self.status_code)
    }

    /// The response as the API shows it: the body, or why there is none, or [`EXPUNGED`].
    pub fn response_shown(&self) -> String {
        match self.failure {
            Some(failure) if self.response.is_empty() => failure.to_string(),
            _ => self.response.clone(),
        }
    }

    /// What is to be known of the response body besides its bytes.
    pub fn response_note(&self) -> Option<String> {
        let encoding = self.encoding.as_ref();
        let encoding = encoding.map(|it| format!("its Content-Encoding is {it}"));
        let notes = [self.body_end.describe().map(str::to_owned), encoding];
        let notes: Vec<_> = notes.into_iter().flatten().collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

/// The body as text: UTF-8 as it is (a character cut by the cap is dropped), anything else as base64.
fn response_text(body: &[u8]) -> String {
    let body = &body[..body.len().min(MAX_RESPONSE_BYTES)];
    match std::str::from_utf8(body) {
        Ok(text) => text.to_owned(),
        Err(error) if error.error_len().is_none() && body.len() == MAX_RESPONSE_BYTES => {
            String::from_utf8_lossy(&body[..error.valid_up_to()]).into_owned()
        }
        Err(_) => STANDARD.encode(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_is_success() {
        let is_success = |status| {
            Outcome::Response {
                status,
                body: ResponseBody::default(),
                retry_after: None,
            }
            .is_success()
        };
        assert!(is_success(200) && is_success(204) && is_success(299));
        assert!(!is_success(199) && !is_success(301) && !is_success(404) && !is_success(500));
        assert!(!Outcome::Failure(Failure::Timeout).is_success());
    }

    #[test]
    fn what_became_of_a_body_is_told_beside_it() {
        let attempt = |outcome| {
            let at = Timestamp::from_millis(1_700_000_000_000);
            Attempt::record(AttemptId::new(at, [1; 15]), String::new(), at, at, &outcome)
        };
        let body = ResponseBody {
            bytes: vec![0x1f, 0x8b],
            end: BodyEnd::Cut,
            encoding: Some("gzip".to_owned()),
        };
        let cut = attempt(Outcome::Response {
            status: 200,
            body,
            retry_after: None,
        });
        assert!(cut.is_success());
        let note = "the connection ended before the body did; its Content-Encoding is gzip";
        assert_eq!(
            (cut.response_shown(), cut.response_note()),
            ("H4s=".to_owned(), Some(note.to_owned()))
        );
        let failed = attempt(Outcome::Failure(Failure::CertificateExpired));
        assert_eq!(
            (failed.response_shown(), failed.response_note()),
            ("tls: the certificate has expired".to_owned(), None)
        );
    }

    #[test]
    fn responses_are_kept_as_text_or_base64_and_cut_between_characters() {
        assert_eq!(response_text("grüß".as_bytes()), "grüß");
        assert_eq!(response_text(&[0xff, 0x00]), "/wA=");
        let long = format!("a{}", "ü".repeat(MAX_RESPONSE_BYTES));
        let kept = response_text(long.as_bytes());
        assert!(long.starts_with(&kept));
        assert_eq!(kept.len(), MAX_RESPONSE_BYTES - 1);
    }
}
