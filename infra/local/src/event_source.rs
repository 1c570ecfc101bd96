//! The SQS event source: receives batches, invokes the function, deletes the messages that
//! succeeded (AWS Lambda: "Using Lambda with Amazon SQS").

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    ACCOUNT, REGION,
    aws::{Queues, Received},
    lambda::{InvokeError, Pool},
    template::SourceSpec,
};

/// The longest wait of one receive; SQS allows no more.
const WAIT: Duration = Duration::from_secs(20);

/// The most messages of one receive; SQS allows no more.
const MAX_RECEIVED: u16 = 10;

/// The pause after an empty receive while a batch waits for more messages.
const BETWEEN_RECEIVES: Duration = Duration::from_millis(100);

/// Consumes a queue for ever. Handles as many batches concurrently as the source allows: Lambda,
/// too, starts more functions while the running ones are busy.
pub(crate) async fn poll(queues: Queues, source: SourceSpec, pool: Pool) {
    let mut running = JoinSet::new();
    loop {
        while running.len() >= source.max_concurrency {
            running.join_next().await;
        }
        while running.try_join_next().is_some() {}
        let batch = receive(&queues, &source).await;
        if !batch.is_empty() {
            running.spawn(consume(queues.clone(), source.clone(), pool.clone(), batch));
        }
    }
}

/// A batch: the first messages, and those that arrive within the source's window.
async fn receive(queues: &Queues, source: &SourceSpec) -> Vec<Received> {
    let first = source.batch_size.min(MAX_RECEIVED);
    let mut batch = queues.receive(&source.queue, first, WAIT).await;
    let end = Instant::now() + source.window;
    while !batch.is_empty() && batch.len() < usize::from(source.batch_size) && Instant::now() < end
    {
        let room = usize::from(source.batch_size) - batch.len();
        let more = u16::try_from(room)
            .unwrap_or(MAX_RECEIVED)
            .min(MAX_RECEIVED);
        let more = queues.receive(&source.queue, more, Duration::ZERO).await;
        if more.is_empty() {
            tokio::time::sleep(BETWEEN_RECEIVES).await;
        }
        batch.extend(more);
    }
    batch
}

async fn consume(queues: Queues, source: SourceSpec, pool: Pool, batch: Vec<Received>) {
    let result = pool
        .invoke(Bytes::from(event(&source.queue, &batch).to_string()))
        .await;
    let done = succeeded(result, batch);
    for done in done.chunks(usize::from(MAX_RECEIVED)) {
        queues.delete(&source.queue, done).await;
    }
}

fn event(queue: &str, batch: &[Received]) -> Value {
    let record = |message: &Received| {
        json!({
            "messageId": message.message_id, "receiptHandle": message.receipt_handle,
            "body": message.body, "md5OfBody": message.md5_of_body,
            "attributes": message.attributes, "messageAttributes": {},
            "eventSource": "aws:sqs", "eventSourceARN": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"),
            "awsRegion": REGION,
        })
    };
    json!({ "Records": batch.iter().map(record).collect::<Vec<_>>() })
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failures {
    #[serde(default)]
    batch_item_failures: Option<Vec<Failure>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: String,
}

/// The messages to delete. A failed invocation, an unreadable response and an unknown identifier
/// all keep the whole batch; its messages are received again after their visibility timeout.
fn succeeded(result: Result<Bytes, InvokeError>, batch: Vec<Received>) -> Vec<Received> {
    let failures = match result {
        Ok(body) => {
            serde_json::from_slice::<Option<Failures>>(&body).map(Option::unwrap_or_default)
        }
        Err(error) => {
            eprintln!("a batch of {} failed: {error}", batch.len());
            return Vec::new();
        }
    };
    let Ok(failures) = failures else {
        return Vec::new();
    };
    let failures = failures.batch_item_failures.unwrap_or_default();
    let failed: BTreeSet<_> = failures
        .into_iter()
        .map(|failure| failure.item_identifier)
        .collect();
    let is_known = |id: &String| batch.iter().any(|message| message.message_id == *id);
    if !failed.iter().all(is_known) {
        return Vec::new();
    }
    batch
        .into_iter()
        .filter(|message| !failed.contains(&message.message_id))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_after(result: Result<&str, InvokeError>) -> Vec<String> {
        let message = |id: &str| Received {
            message_id: id.to_owned(),
            receipt_handle: String::new(),
            body: String::new(),
            md5_of_body: String::new(),
            attributes: Default::default(),
        };
        let result = result.map(|body| Bytes::from(body.to_owned()));
        succeeded(result, vec![message("a"), message("b")])
            .into_iter()
            .map(|m| m.message_id)
            .collect()
    }

    #[test]
    fn only_what_succeeded_is_deleted() {
        assert_eq!(left_after(Ok("null")), ["a", "b"]);
        assert_eq!(left_after(Ok("{}")), ["a", "b"]);
        assert_eq!(left_after(Ok(r#"{"batchItemFailures":[]}"#)), ["a", "b"]);
        assert_eq!(
            left_after(Ok(r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#)),
            ["b"]
        );
    }

    #[test]
    fn a_doubtful_answer_keeps_the_batch() {
        assert!(left_after(Ok(r#"{"batchItemFailures":[{"itemIdentifier":"x"}]}"#)).is_empty());
        assert!(left_after(Ok(r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#)).is_empty());
        assert!(left_after(Ok("oops")).is_empty());
        assert!(left_after(Err(InvokeError::TimedOut(1))).is_empty());
    }
}
