//! Attempts: what one HTTP request of a delivery came to.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    id::{AttemptId, JobId},
    timestamp::Timestamp,
};

/// Bytes of a response body that are read and kept.
pub const MAX_RESPONSE_BYTES: usize = 4096;

/// Bytes of the URL that an attempt keeps: every attempt of a delivery is written again with the next.
pub const MAX_URL_KEPT: usize = 1024;

/// What an endpoint did. Every variant is a result of the outside world; our own faults are errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered in time.
    Response {
        /// The HTTP status code.
        status: u16,
        /// The first [`MAX_RESPONSE_BYTES`] of the body.
        body: Vec<u8>,
        /// How long it asks to be left alone ([`crate::retry::retry_after`]).
        retry_after: Option<Duration>,
    },
    /// It did not answer, or was not asked.
    Failure(FailureClass),
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

/// Why there is no response. The texts say nothing about the network that Posthorn runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The host name has no address, or none that may be reached: which of the two is not told.
    Dns,
    /// The connection was refused.
    Refused,
    /// The connection broke.
    Reset,
    /// The TLS handshake failed.
    Tls,
    /// The deadline passed, in the connection, the response or its body.
    Timeout,
    /// The URL is not one that may be reached.
    Blocked,
    /// Anything else of the connection or the protocol.
    Other,
}

impl FailureClass {
    /// One line for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Dns => "the host name has no public address",
            Self::Refused => "the connection was refused",
            Self::Reset => "the connection was closed before the response was complete",
            Self::Tls => "the TLS handshake failed",
            Self::Timeout => "the endpoint did not answer in time",
            Self::Blocked => "the URL is not allowed",
            Self::Other => "the request failed",
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
    pub failure: Option<FailureClass>,
    /// The beginning of the response body; base64 when it is not UTF-8.
    #[serde(rename = "b", default, skip_serializing_if = "String::is_empty")]
    pub response: String,
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
    /// Writes down what an endpoint did.
    pub fn record(
        id: AttemptId,
        url: String,
        started_at: Timestamp,
        ended_at: Timestamp,
        outcome: &Outcome,
    ) -> Self {
        let (status_code, failure, response, wait) = match outcome {
            Outcome::Response {
                status,
                body,
                retry_after,
            } => (*status, None, response_text(body), *retry_after),
            Outcome::Failure(class) => (0, Some(*class), String::new(), None),
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
            response,
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

    /// The response as the API shows it: the body, or why there is none.
    pub fn response_shown(&self) -> &str {
        match self.failure {
            Some(class) => class.describe(),
            None => &self.response,
        }
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
                body: vec![],
                retry_after: None,
            }
            .is_success()
        };
        assert!(is_success(200) && is_success(204) && is_success(299));
        assert!(!is_success(199) && !is_success(301) && !is_success(404) && !is_success(500));
        assert!(!Outcome::Failure(FailureClass::Timeout).is_success());
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
