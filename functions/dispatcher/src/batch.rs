//! SQS ↔ domain: each record is read by itself, and deliveries are handled all at the same time.

use std::collections::HashMap;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use posthorn_queue::Work;

use crate::Dispatcher;

/// A record's work; an error is poison.
type Parsed = Result<Work, serde_json::Error>;

impl Dispatcher {
    /// Handles a batch and names the records that SQS must deliver again. A poison record is among
    /// them: it fails alone and reaches the dead-letter queue after its last receive. Records of one
    /// delivery are handled one after another, so that the second sees what the first recorded.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let mut groups: HashMap<_, Vec<(&SqsMessage, _)>> = HashMap::new();
        for (index, record) in event.records.iter().enumerate() {
            let work = Work::from_body(record.body.as_deref().unwrap_or_default());
            let delivery = match &work {
                Ok(Work::Attempt(task)) => Ok((task.message.clone(), task.endpoint.clone())),
                _ => Err(index),
            };
            groups.entry(delivery).or_default().push((record, work));
        }
        let groups = groups.into_values().map(|group| self.handle_group(group));
        let failed = join_all(groups).await.into_iter().flatten();
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failed.map(failure).collect();
        response
    }

    async fn handle_group(&self, group: Vec<(&SqsMessage, Parsed)>) -> Vec<String> {
        let mut failed = Vec::new();
        for (record, work) in group {
            failed.extend(self.handle_record(record, work).await);
        }
        failed
    }

    /// The record's id when it failed.
    async fn handle_record(&self, record: &SqsMessage, work: Parsed) -> Option<String> {
        let record_id = record.message_id.clone().unwrap_or_default();
        let done = match work {
            Ok(Work::Attempt(task)) => self.deliver(*task).await,
            Ok(Work::Job(task)) => self.work_on(task).await,
            Err(error) => {
                tracing::error!(record = record_id, %error, "a record is not a task");
                return Some(record_id);
            }
        };
        match done {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(record = record_id, group = record_group(record), %error, "a task failed and is received again");
                Some(record_id)
            }
        }
    }
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
