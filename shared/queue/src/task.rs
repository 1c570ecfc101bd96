//! A task: "make attempt N of this delivery", as it travels through SQS and the schedule table.
//!
//! The wire shape is JSON. Fields may be added; a field that is removed or renamed would strand the
//! tasks that are queued while a new version is deployed, so the fixtures below are tested.

use posthorn_domain::{
    id::{ApplicationId, EndpointId, MessageId, OrganizationId},
    message::Payload,
    name::EventTypeName,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Payloads up to this size travel inside the task of a first attempt, which saves the dispatcher a
/// read of a message that was written moments ago. Ten such tasks stay within 64 KB, the unit that
/// SQS bills a batch by.
pub const INLINE_PAYLOAD_BYTES: usize = 5 * 1024;

/// One attempt to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Where the application lives.
    pub organization: OrganizationId,
    /// Whose message it is.
    pub application: ApplicationId,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// The endpoint's revision when the task was made: an older one must not be used.
    pub revision: u64,
    /// What is delivered.
    pub message: MessageId,
    /// Its event type.
    pub event_type: EventTypeName,
    /// How many shards the application's messages are spread over.
    pub shards: u16,
    /// The number of the attempt, from 0.
    pub attempt: u32,
    /// When the message, and so the delivery's record, may be removed.
    pub expires_at: Timestamp,
    /// The payload, if it travels along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
}

impl Task {
    /// Reads a task from the body of a queue message.
    ///
    /// # Errors
    /// When the body is not a task: the record is poison.
    pub fn from_body(body: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(body)
    }

    /// The body of a queue message.
    ///
    /// # Errors
    /// Never in practice; the serializer's signature has an error.
    pub fn to_body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The task of a later attempt. It reads its payload from the table: a payload must not stay in
    /// queues for hours after it was expunged.
    pub fn retry(self, attempt: u32) -> Self {
        Self {
            attempt,
            payload: None,
            ..self
        }
    }
}

/// The payload as a task may carry it: not when it is large, and not when it holds one of the two
/// characters of JSON text that SQS refuses (U+FFFE and U+FFFF; Amazon SQS: SendMessage).
pub(crate) fn inline(payload: &Payload) -> Option<Payload> {
    let text = payload.as_str();
    let fits = text.len() <= INLINE_PAYLOAD_BYTES;
    let allowed = !text.contains(['\u{fffe}', '\u{ffff}']);
    (fits && allowed).then(|| payload.clone())
}

impl Task {
    /// Lets the payload travel along if it may.
    pub fn with_payload(self, payload: &Payload) -> Self {
        Self {
            payload: inline(payload),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{"organization":"org_2KWPBgLlAfxdpx2AI54pPJ85f4W","application":"app_2KWPBgLlAfxdpx2AI54pPJ85f4W","endpoint":"ep_2KWPBgLlAfxdpx2AI54pPJ85f4W","revision":3,"message":"msg_2KWPBgLlAfxdpx2AI54pPJ85f4W","event_type":"invoice.paid","shards":4,"attempt":0,"expires_at":1795253400000,"payload":{ "z": "\u00e9", "a" : 1.0 }}"#;

    #[test]
    fn the_wire_shape_is_fixed() {
        let task = Task::from_body(FIRST).unwrap();
        assert_eq!(
            task.payload.as_ref().unwrap().as_str(),
            r#"{ "z": "\u00e9", "a" : 1.0 }"#
        );
        assert_eq!(task.to_body().unwrap(), FIRST);
    }

    #[test]
    fn a_retry_leaves_the_payload_behind() {
        let retry = Task::from_body(FIRST).unwrap().retry(1).to_body().unwrap();
        let expected = FIRST.replace("\"attempt\":0", "\"attempt\":1");
        assert_eq!(
            retry,
            format!("{}}}", expected.split(",\"payload\"").next().unwrap())
        );
    }

    #[test]
    fn large_payloads_and_characters_that_sqs_refuses_do_not_travel() {
        let payload = |text: String| Payload::from_text(text).unwrap();
        assert!(
            inline(&payload(format!(
                r#"{{"a":"{}"}}"#,
                "x".repeat(INLINE_PAYLOAD_BYTES - 8)
            )))
            .is_some()
        );
        assert!(
            inline(&payload(format!(
                r#"{{"a":"{}"}}"#,
                "x".repeat(INLINE_PAYLOAD_BYTES - 7)
            )))
            .is_none()
        );
        assert!(inline(&payload("{\"a\":\"\u{ffff}\"}".to_owned())).is_none());
    }

    #[test]
    fn poison_is_an_error() {
        assert!(Task::from_body("hello").is_err());
        assert!(Task::from_body(r#"{"organization":"app_1"}"#).is_err());
    }
}
