//! SQS ↔ domain: each record is read by itself, and deliveries are handled all at the same time.

use std::{collections::HashMap, time::Duration};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use posthorn_domain::{health::Lane, timestamp::Timestamp};
use posthorn_queue::{Task, Work};
use posthorn_runtime::{
    caught,
    metrics::{Metric, count},
    now,
};
use posthorn_store::Prefetched;
use tokio::time::timeout;

use crate::{Dispatcher, deliver::Fault};

/// Time to leave for the response: a function that times out returns none, and SQS delivers its whole
/// batch again.
const MARGIN: Duration = Duration::from_millis(1500);

/// Time to leave after an attempt, to record it and to take its next step.
const AFTER_ATTEMPT: Duration = Duration::from_secs(5);

/// How long an invocation counts as just started.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The time of an invocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    begun: Timestamp,
    deadline: Timestamp,
}

impl Time {
    /// Whether an attempt that takes `longest` still ends in time. In an invocation that has just started, one
    /// is made whatever the function's time-out is: else tasks would go round for nothing.
    pub(crate) fn is_enough(self, longest: Duration) -> bool {
        let now = now();
        now < self.begun.plus(AT_ONCE) || now.plus(longest + AFTER_ATTEMPT) <= self.deadline
    }

    /// How long an attempt may take so that it can be recorded, at most `longest`.
    pub(crate) fn longest(self, longest: Duration) -> Duration {
        let left = self.deadline.since(now()).saturating_sub(AFTER_ATTEMPT);
        longest.min(left.max(AT_ONCE))
    }
}

/// A record's work; an error is poison.
type Parsed = Result<Work, serde_json::Error>;

impl Dispatcher {
    /// Handles a batch and names the records that SQS must deliver again. A poison record is among
    /// them, whether it is no task or what it asks for panics: it fails alone and reaches the dead-letter queue
    /// after its last receive. Records of one
    /// delivery are handled one after another, so that the second sees what the first recorded.
    /// Before `deadline` (the function's time-out) all are answered for: one that is not done by
    /// then fails alone.
    pub async fn handle_batch(&self, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
        let mut groups: HashMap<_, Vec<(&SqsMessage, _)>> = HashMap::new();
        for (index, record) in event.records.iter().enumerate() {
            let work = Work::from_body(record.body.as_deref().unwrap_or_default());
            let delivery = match &work {
                Ok(Work::Attempt(task)) => Ok((task.message.clone(), task.endpoint.clone())),
                _ => Err(index),
            };
            groups.entry(delivery).or_default().push((record, work));
        }
        let time = Time {
            begun: now(),
            deadline,
        };
        let tasks = groups.values().filter_map(|group| match group.first() {
            Some((_, Ok(Work::Attempt(task)))) => Some(&**task),
            _ => None,
        });
        let known = self.prefetch(tasks).await;
        let groups = groups
            .into_values()
            .map(|group| self.handle_group(group, time, &known));
        let failed = join_all(groups).await.into_iter().flatten();
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failed.map(failure).collect();
        response
    }

    async fn handle_group(
        &self,
        group: Vec<(&SqsMessage, Parsed)>,
        time: Time,
        known: &Prefetched,
    ) -> Vec<String> {
        let (mut known, unknown) = (known, Prefetched::default());
        let mut failed = Vec::new();
        for (record, work) in group {
            failed.extend(self.handle_record(record, work, time, known).await);
            // The first one wrote.
            known = &unknown;
        }
        failed
    }

    /// The record's id when it failed.
    async fn handle_record(
        &self,
        record: &SqsMessage,
        work: Parsed,
        time: Time,
        known: &Prefetched,
    ) -> Option<String> {
        let record_id = record.message_id.clone().unwrap_or_default();
        let work = match work {
            Ok(work) => work,
            Err(error) => {
                count(Metric::TaskFaults, 1);
                tracing::error!(record = record_id, %error, "a record is not a task");
                return Some(record_id);
            }
        };
        let lane = self.queue().lane_of(record_queue(record));
        let left = time.deadline.since(now()).saturating_sub(MARGIN);
        let done = match timeout(left, caught(self.work(work, lane, time, known))).await {
            Ok(Ok(Ok(()))) => return None,
            Ok(Ok(Err(fault))) => fault,
            Ok(Err(panic)) => panic.into(),
            Err(_) => Fault::OutOfTime,
        };
        count(Metric::TaskFaults, 1);
        tracing::error!(record = record_id, group = record_group(record), error = %done, "a task failed and is received again");
        Some(record_id)
    }

    async fn work(
        &self,
        work: Work,
        lane: Lane,
        time: Time,
        known: &Prefetched,
    ) -> Result<(), Fault> {
        match work {
            Work::Attempt(task) => self.deliver(Task { lane, ..*task }, time, known).await,
            Work::Job(task) => self.work_on(task).await,
        }
    }
}

/// The queue's name: the end of its ARN.
fn record_queue(record: &SqsMessage) -> &str {
    let arn = record.event_source_arn.as_deref().unwrap_or_default();
    arn.rsplit(':').next().unwrap_or_default()
}

/// The endpoint: the message group that the task was sent with.
fn record_group(record: &SqsMessage) -> &str {
    record
        .attributes
        .get("MessageGroupId")
        .map_or("", String::as_str)
}

fn failure(record_id: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = record_id;
    failure
}
