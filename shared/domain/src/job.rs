//! Jobs over many messages of an endpoint: sending again what failed, or what was never sent.
//!
//! A job walks through the application's messages between two points in time. It consists of a
//! record and a task on the queue that says "continue". Each step reads a page of messages, queues
//! what [`Job::selects`], and moves the record's cursor. When a step is repeated, after a crash or
//! by a second copy of its task, it queues the same attempts under the same job id, and a delivery
//! makes one attempt per job ([`crate::delivery::Ask::Manual`]): nothing is lost or sent twice.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    delivery::{Delivery, Status, lost},
    endpoint::Endpoint,
    filter::matches,
    id::{ApplicationId, EndpointId, JobId, MessageId},
    message::Message,
    timestamp::Timestamp,
};

/// How far back a job may start.
pub const MAX_LOOK_BACK: Duration = Duration::from_secs(14 * 86_400);

/// How long a job's record is kept.
pub const JOB_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// The task of an attempt that is overdue by more than this is lost ([`lost`]).
const LOST_AFTER: Duration = Duration::from_secs(3600);

/// What a job sends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum JobKind {
    /// Messages whose delivery failed, or was skipped.
    #[serde(rename = "endpoint.recover")]
    Recover,
    /// Messages that match the endpoint and were never sent to it.
    #[serde(rename = "endpoint.replay")]
    ReplayMissing,
}

/// Whether a job is still running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Work is left.
    Running,
    /// It reached the end of its range, or its endpoint was deleted.
    Finished,
}

/// A job, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it sends.
    pub kind: JobKind,
    /// The application of the messages.
    pub application: ApplicationId,
    /// The endpoint to send them to.
    pub endpoint: EndpointId,
    /// The start of the range, inclusive.
    pub since: Timestamp,
    /// The end of the range, exclusive.
    pub until: Timestamp,
    /// Whether it is still running.
    pub status: JobStatus,
    /// The last message that it has checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<MessageId>,
    /// The number of steps so far: the version that a step is conditional on.
    pub steps: u64,
    /// How many messages it has checked.
    pub seen: u64,
    /// How many messages it has queued.
    pub queued: u64,
    /// When it last moved.
    pub updated_at: Timestamp,
}

/// How a job sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// As its first attempt: a second task for the same attempt does nothing.
    First,
    /// As an extra attempt for this job.
    Manual,
    /// As the attempt with this number, which is overdue because its task was lost.
    Overdue(u32),
}

impl Job {
    /// Whether and how a message is sent again.
    pub fn selects(
        &self,
        endpoint: &Endpoint,
        message: &Message,
        delivery: Option<&Delivery>,
        now: Timestamp,
    ) -> Option<Selected> {
        if message.created_at < self.since
            || message.created_at >= self.until
            || message.is_expired(now)
        {
            return None;
        }
        let destination = message.destination(&endpoint.id);
        message.payload.as_ref()?;
        match (self.kind, delivery) {
            (JobKind::Recover, Some(delivery)) => match delivery.status {
                Status::Fail | Status::Skipped => Some(Selected::Manual),
                Status::Success => None,
                Status::Sending => {
                    lost(Some(delivery), message.created_at, now, LOST_AFTER).map(Selected::Overdue)
                }
            },
            // The endpoint was disabled when the message arrived, so nothing was queued.
            (JobKind::Recover, None) => destination?.skipped.map(|_| Selected::First),
            (JobKind::ReplayMissing, Some(_)) => None,
            (JobKind::ReplayMissing, None) => {
                let channels = message.channels.as_ref();
                let wanted =
                    destination.is_some() || matches(endpoint, &message.event_type, channels);
                wanted.then_some(Selected::First)
            }
        }
    }

    /// The job after a step that checked `seen` messages up to `cursor` and queued `queued` of
    /// them.
    pub fn step(
        self,
        cursor: Option<MessageId>,
        seen: usize,
        queued: usize,
        is_end: bool,
        now: Timestamp,
    ) -> Self {
        Self {
            status: if is_end {
                JobStatus::Finished
            } else {
                JobStatus::Running
            },
            cursor: cursor.or(self.cursor),
            steps: self.steps + 1,
            seen: self.seen + seen as u64,
            queued: self.queued + queued as u64,
            updated_at: now,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attempt::{Attempt, Outcome, ResponseBody},
        delivery::{Ask, record, skip},
        endpoint::tests::{NOW, endpoint},
        filter::destinations,
        id::AttemptId,
        payload::Payload,
    };

    fn job(kind: JobKind) -> Job {
        Job {
            id: JobId::new(NOW, [1; 15]),
            kind,
            application: ApplicationId::new(NOW, [1; 15]),
            endpoint: endpoint().id,
            since: NOW,
            until: NOW.plus(Duration::from_secs(1)),
            status: JobStatus::Running,
            cursor: None,
            steps: 0,
            seen: 0,
            queued: 0,
            updated_at: NOW,
        }
    }

    fn message(endpoints: &[Endpoint]) -> Message {
        let event_type = "a".to_owned().try_into().unwrap();
        Message {
            id: MessageId::new(NOW, [1; 15]),
            destinations: destinations(endpoints, &event_type, None),
            event_type,
            event_id: None,
            channels: None,
            tags: None,
            payload: Payload::from_text("{}".to_owned()).ok(),
            created_at: NOW,
            expires_at: NOW.plus(MAX_LOOK_BACK),
        }
    }

    fn delivery(status: u16) -> Delivery {
        let body = ResponseBody::default();
        let retry_after = None;
        let outcome = Outcome::Response {
            status,
            body,
            retry_after,
        };
        let id = AttemptId::new(NOW, [1; 15]);
        let attempt = Attempt::record(id, String::new(), NOW, NOW, &outcome);
        let event_type = "a".to_owned().try_into().unwrap();
        let schedule = "".parse().unwrap();
        record(
            None,
            &event_type,
            Ask::Scheduled(0),
            attempt,
            &schedule,
            NOW,
            0.5,
        )
        .0
    }

    #[test]
    fn recover_takes_what_failed_or_was_skipped() {
        let (job, endpoint) = (job(JobKind::Recover), endpoint());
        let sent = message(std::slice::from_ref(&endpoint));
        let selects =
            |delivery: Option<Delivery>| job.selects(&endpoint, &sent, delivery.as_ref(), NOW);
        assert_eq!(selects(Some(delivery(500))), Some(Selected::Manual));
        assert_eq!(selects(Some(delivery(200))), None);
        assert_eq!(selects(None), None, "pending");
        let skipped = skip(None, &sent.event_type);
        assert_eq!(selects(Some(skipped)), Some(Selected::Manual));
        let disabled = Endpoint {
            disabled: true,
            ..endpoint.clone()
        };
        let left_out = message(&[disabled]);
        assert_eq!(
            job.selects(&endpoint, &left_out, None, NOW),
            Some(Selected::First)
        );
        let expunged = Message {
            payload: None,
            ..sent.clone()
        };
        assert_eq!(
            job.selects(&endpoint, &expunged, Some(&delivery(500)), NOW),
            None
        );
    }

    #[test]
    fn recover_takes_attempts_whose_task_was_lost_and_keeps_to_its_range() {
        let (job, endpoint) = (job(JobKind::Recover), endpoint());
        let sent = message(std::slice::from_ref(&endpoint));
        let waiting = Delivery {
            status: Status::Sending,
            next_attempt_at: Some(NOW),
            ..delivery(500)
        };
        let selects = |now| job.selects(&endpoint, &sent, Some(&waiting), now);
        assert_eq!(selects(NOW), None, "it is about to be tried");
        let late = NOW.plus(LOST_AFTER + Duration::from_secs(1));
        assert_eq!(selects(late), Some(Selected::Overdue(1)));
        let failed = delivery(500);
        for created_at in [job.until, Timestamp::from_millis(NOW.as_millis() - 1)] {
            let outside = Message {
                created_at,
                ..sent.clone()
            };
            assert_eq!(job.selects(&endpoint, &outside, Some(&failed), NOW), None);
        }
        assert_eq!(
            job.selects(&endpoint, &sent, Some(&failed), sent.expires_at),
            None
        );
    }

    #[test]
    fn replay_takes_what_was_never_sent() {
        let (job, endpoint) = (job(JobKind::ReplayMissing), endpoint());
        let before = message(&[]);
        assert_eq!(
            job.selects(&endpoint, &before, None, NOW),
            Some(Selected::First)
        );
        assert_eq!(
            job.selects(&endpoint, &before, Some(&delivery(500)), NOW),
            None
        );
        let types = serde_json::from_str(r#"["b"]"#).unwrap();
        let other = Endpoint {
            event_types: Some(types),
            ..endpoint
        };
        assert_eq!(
            job.selects(&other, &before, None, NOW),
            None,
            "it does not want this type"
        );
    }
}
