//! SQS ↔ domain: each record is read and handled by itself, all at the same time.

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use posthorn_queue::Work;

use crate::Dispatcher;

impl Dispatcher {
    /// Handles a batch and names the records that SQS must deliver again. A poison record is among
    /// them: it fails alone and reaches the dead-letter queue after its last receive.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let records = event
            .records
            .iter()
            .map(|record| self.handle_record(record));
        let failed = join_all(records).await.into_iter().flatten();
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failed.map(failure).collect();
        response
    }

    /// The record's id when it failed.
    async fn handle_record(&self, record: &SqsMessage) -> Option<String> {
        let record_id = record.message_id.clone().unwrap_or_default();
        let done = match Work::from_body(record.body.as_deref().unwrap_or_default()) {
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
