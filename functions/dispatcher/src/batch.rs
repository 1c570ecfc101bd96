//! SQS ↔ domain: each record is read and handled by itself, all at the same time.

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use posthorn_queue::Task;

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
        let task = match Task::from_body(record.body.as_deref().unwrap_or_default()) {
            Ok(task) => task,
            Err(error) => {
                tracing::error!(record = record_id, %error, "a record is not a task");
                return Some(record_id);
            }
        };
        let (message, endpoint) = (task.message.clone(), task.endpoint.clone());
        match self.deliver(task).await {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(record = record_id, msg_id = %message, endpoint_id = %endpoint, %error, "a task failed and is received again");
                Some(record_id)
            }
        }
    }
}

fn failure(record_id: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = record_id;
    failure
}
