//! A task, "make attempt N of this delivery", as it travels through SQS and the schedule table.
//!
//! The wire shape is JSON. Fields may be added, but removing or renaming one would strand the tasks
//! that are queued while a new version is deployed. The fixtures below guard the shape.

use posthorn_domain::{
    delivery::Ask,
    health::Lane,
    id::{ApplicationId, EndpointId, JobId, MessageId, OrganizationId},
    key::{AppKey, DeliveryKey, EndpointKey, LogKey, MessageKey},
    name::EventTypeName,
    payload::Payload,
    timestamp::Timestamp,
    trace::TraceParent,
};
use serde::{Deserialize, Serialize, de::Error as _};

/// Payloads up to this size travel inside the task of a first attempt, which saves the dispatcher
/// from reading a message that was just written. Ten such tasks stay within 64 KB, the unit by
/// which SQS bills a batch.
pub const INLINE_PAYLOAD_BYTES: usize = 5 * 1024;

/// An attempt to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The organization of the application.
    pub organization: OrganizationId,
    /// The application of the message.
    pub application: ApplicationId,
    /// The endpoint to deliver to.
    pub endpoint: EndpointId,
    /// The endpoint's revision when the task was created; an older revision must not be used.
    pub revision: u64,
    /// The message to deliver.
    pub message: MessageId,
    /// Its event type.
    pub event_type: EventTypeName,
    /// The number of shards that the application's messages are spread over.
    pub shards: u16,
    /// The number of the attempt, from 0.
    pub attempt: u32,
    /// When the message, and so the delivery's record, may be removed.
    pub expires_at: Timestamp,
    /// The resend that asks for an extra attempt; `attempt` then has no meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<JobId>,
    /// How often the task was put back since the last attempt, because no attempt could be made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u16,
    /// The slot that the task has reserved at an endpoint with a rate ([`posthorn_domain::rate`]).
    #[serde(rename = "place", default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Timestamp>,
    /// The span that queued it, when messages are traced ([`posthorn_domain::trace`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// The payload, if it travels along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// The lane that it travels in; not on the wire, because the queue determines it.
    #[serde(skip)]
    pub lane: Lane,
}

fn is_zero(hops: &u16) -> bool {
    *hops == 0
}

impl Task {
    /// Reads a task from the body of a queue message.
    ///
    /// # Errors
    /// When the body is not a task; the record can never be processed.
    pub fn from_body(body: &str) -> Result<Self, serde_json::Error> {
        match Work::from_body(body)? {
            Work::Attempt(task) => Ok(*task),
            Work::Job(_) => Err(serde_json::Error::custom("a job, not an attempt")),
        }
    }

    /// The body of a queue message.
    pub fn to_body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Sent::Attempt(self))
    }

    /// The task of a later attempt. Its payload is read from the table, because a payload must not
    /// stay in queues for hours after it was expunged.
    pub fn retry(self, attempt: u32) -> Self {
        Self {
            attempt,
            manual: None,
            hops: 0,
            slot: None,
            payload: None,
            ..self
        }
    }

    /// The same task, to be put back for a while. It drops its payload, as a retry does.
    pub fn put_back(self, slot: Option<Timestamp>) -> Self {
        Self {
            hops: self.hops.saturating_add(1),
            slot,
            payload: None,
            ..self
        }
    }

    /// The application of the message.
    pub fn app_key(&self) -> AppKey<'_> {
        AppKey::new(&self.organization, &self.application)
    }

    /// The endpoint to deliver to.
    pub fn endpoint_key(&self) -> EndpointKey<'_> {
        self.app_key().endpoint(&self.endpoint)
    }

    /// The message to deliver.
    pub fn message_key(&self) -> MessageKey<'_> {
        let log = LogKey {
            application: &self.application,
            shards: self.shards,
        };
        log.message(&self.message)
    }

    /// The address of the delivery.
    pub fn delivery(&self) -> DeliveryKey<'_> {
        self.message_key().to(&self.endpoint)
    }

    /// Which attempt the task asks for.
    pub fn ask(&self) -> Ask<'_> {
        match &self.manual {
            Some(job) => Ask::Manual(job),
            None => Ask::Scheduled(self.attempt),
        }
    }
}

/// "Continue this job": the other kind of work on the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobTask {
    /// The organization of the job.
    pub organization: OrganizationId,
    /// The endpoint that it sends to.
    pub endpoint: EndpointId,
    /// The job.
    pub job: JobId,
}

impl JobTask {
    /// The body of a queue message.
    pub fn to_body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Sent::Job(self))
    }
}

/// What a queue message asks for: an object with one field, whose name is the kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// One attempt.
    Attempt(Box<Task>),
    /// A step of a job.
    Job(JobTask),
}

impl Work {
    /// Reads the body of a queue message.
    ///
    /// # Errors
    /// When the body is neither kind; the record can never be processed.
    pub fn from_body(body: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(body)
    }
}

/// [`Work`], borrowed for serializing.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Sent<'a> {
    Attempt(&'a Task),
    Job(&'a JobTask),
}

/// The payload if a task may carry it: it must not be large, nor contain one of the two characters
/// of JSON text that SQS refuses (U+FFFE and U+FFFF; Amazon SQS: SendMessage).
pub(crate) fn inline(payload: &Payload) -> Option<Payload> {
    let text = payload.as_str();
    let fits = text.len() <= INLINE_PAYLOAD_BYTES;
    let allowed = !text.contains(['\u{fffe}', '\u{ffff}']);
    (fits && allowed).then(|| payload.clone())
}

impl Task {
    /// Adds the payload if a task may carry it.
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

    const FIRST: &str = r#"{"attempt":{"organization":"org_2KWPBgLlAfxdpx2AI54pPJ85f4W","application":"app_2KWPBgLlAfxdpx2AI54pPJ85f4W","endpoint":"ep_2KWPBgLlAfxdpx2AI54pPJ85f4W","revision":3,"message":"msg_2KWPBgLlAfxdpx2AI54pPJ85f4W","event_type":"invoice.paid","shards":4,"attempt":0,"expires_at":1795253400000,"payload":{ "z": "\u00e9", "a" : 1.0 }}}"#;

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
            format!("{}}}}}", expected.split(",\"payload\"").next().unwrap())
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
    fn manual_attempts_and_jobs_have_a_shape_of_their_own() {
        let id = "qtask_2KWPBgLlAfxdpx2AI54pPJ85f4W";
        let manual = format!(r#""manual":"{id}","payload""#);
        let manual = FIRST.replace(r#""payload""#, &manual);
        let task = Task::from_body(&manual).unwrap();
        assert!(matches!(task.ask(), Ask::Manual(job) if job.as_str() == id));
        assert_eq!(task.to_body().unwrap(), manual);
        assert_eq!(
            task.retry(2).ask(),
            Ask::Scheduled(2),
            "its retry is on the schedule"
        );
        let job = format!(
            r#"{{"job":{{"organization":"org_2KWPBgLlAfxdpx2AI54pPJ85f4W","endpoint":"ep_2KWPBgLlAfxdpx2AI54pPJ85f4W","job":"{id}"}}}}"#
        );
        let Ok(Work::Job(task)) = Work::from_body(&job) else {
            panic!("a job is not an attempt");
        };
        assert_eq!(task.to_body().unwrap(), job);
        assert!(matches!(Work::from_body(FIRST), Ok(Work::Attempt(_))));
        for untagged in ["{}", &FIRST[11..FIRST.len() - 1], &job[7..job.len() - 1]] {
            assert!(Work::from_body(untagged).is_err(), "{untagged}");
        }
    }

    #[test]
    fn a_slot_keeps_its_name_on_the_wire() {
        let waiting = FIRST.replace(r#""payload""#, r#""place":1795253400000,"payload""#);
        let task = Task::from_body(&waiting).unwrap();
        assert_eq!(task.slot, Some(Timestamp::from_millis(1_795_253_400_000)));
        assert_eq!(task.to_body().unwrap(), waiting);
    }

    #[test]
    fn poison_is_an_error() {
        assert!(Task::from_body("hello").is_err());
        assert!(Task::from_body(r#"{"attempt":{"organization":"app_1"}}"#).is_err());
    }
}
