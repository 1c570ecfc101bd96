//! SQS: the crates `rustack-sqs-*`, with additions.
//!
//! Added here: MessageGroupId on standard queues ([`groups`]), the limit of DelaySeconds
//! ([`limits`]), and state across restarts ([`super::journal`]). Known differences from AWS: a
//! message may have 256 KiB, not 1 MiB; the total size of a batch is not limited; groups are
//! carried but do not change the order; the journal keeps no message attributes, which tasks do not
//! have.

mod groups;
mod limits;
mod operations;
mod redrive;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use posthorn_runtime::now;
use rustack_sqs_core::{config::SqsConfig, handler::RustackSqsHandler, provider::RustackSqs};
use rustack_sqs_model::operations::SqsOperation;
use serde_json::{Value, json};

use super::{
    AwsError, Meter,
    journal::{Journal, Sent},
};
use crate::{ACCOUNT, REGION, template::Template};

/// The pause before a failed receive returns.
const FAILED_CALL_PAUSE: Duration = Duration::from_millis(500);

/// The template's queues.
#[derive(Clone, Debug)]
pub struct Queues {
    handler: Arc<RustackSqsHandler>,
    journal: Option<Arc<Journal>>,
    meter: Option<Meter>,
    base: String,
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its id, the same each time it is received.
    pub message_id: String,
    /// The handle that deletes it.
    pub receipt_handle: String,
    /// Its body.
    pub body: String,
    /// The MD5 of its body.
    pub md5_of_body: String,
    /// `ApproximateReceiveCount`, `SentTimestamp`, `MessageGroupId` and others.
    pub attributes: BTreeMap<String, String>,
}

impl Queues {
    /// Creates the queues and sends the messages of the previous run again.
    pub(super) async fn open(
        template: &Template,
        port: u16,
        data: Option<&Path>,
        meter: Option<Meter>,
    ) -> Result<Self, AwsError> {
        let config = SqsConfig {
            skip_signature_validation: true,
            default_region: REGION.to_owned(),
            account_id: ACCOUNT.to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
        };
        let handler = Arc::new(RustackSqsHandler::new(Arc::new(RustackSqs::new(config))));
        let base = format!("http://127.0.0.1:{port}/{ACCOUNT}");
        let mut queues = Self {
            handler,
            journal: None,
            meter,
            base,
        };
        queues.create_all(template).await?;
        if let Some(folder) = data {
            queues.restore(folder).await?;
        }
        Ok(queues)
    }

    /// Creates the queues, dead-letter queues before the queues that use them.
    async fn create_all(&self, template: &Template) -> Result<(), AwsError> {
        let mut queues: Vec<_> = template.queues.iter().collect();
        queues.sort_by_key(|queue| queue.attributes.contains_key("RedrivePolicy"));
        for queue in queues {
            let request = json!({ "QueueName": queue.name, "Attributes": queue.attributes });
            let (status, answer) = self.call(SqsOperation::CreateQueue, &request).await;
            if status != 200 {
                return Err(AwsError::Sqs(answer.to_string()));
            }
        }
        Ok(())
    }

    async fn restore(&mut self, folder: &Path) -> Result<(), AwsError> {
        let (journal, pending) = Journal::open(folder)?;
        let journal = Arc::new(journal);
        self.journal = Some(journal.clone());
        for (id, message) in pending {
            let request = self.send_again(&message);
            let (status, answer) = self.handle(SqsOperation::SendMessage, request).await;
            if status != 200 {
                // Its queue may come back, for example with the template of another branch.
                let queue = &message.queue;
                eprintln!("a message stays in the journal, because {queue} refuses it: {answer}");
                journal.sent(&id, message)?;
            }
        }
        Ok(Journal::commit(folder)?)
    }

    fn send_again(&self, message: &Sent) -> Value {
        let left = (message.due - now().as_millis()).max(0);
        json!({
            "QueueUrl": self.url(&message.queue), "MessageBody": message.body,
            "MessageGroupId": message.group,
            // No delay was ever longer, unless the clock was changed.
            "DelaySeconds": ((left + 999) / 1000).min(limits::MAX_DELAY_SECONDS),
        })
    }

    /// A queue's URL; its name is the logical id.
    pub fn url(&self, queue: &str) -> String {
        format!("{}/{queue}", self.base)
    }

    /// Receives up to `max` messages, waiting for the first.
    pub async fn receive(&self, queue: &str, max: u16, wait: Duration) -> Vec<Received> {
        self.count("ReceiveMessage");
        let request = json!({
            "QueueUrl": self.url(queue), "MaxNumberOfMessages": max, "WaitTimeSeconds": wait.as_secs(),
            "MessageSystemAttributeNames": ["All"],
        });
        let (status, answer) = self.handle(SqsOperation::ReceiveMessage, request).await;
        if status != 200 {
            // A failed call returns at once; without a pause its caller would spin.
            tokio::time::sleep(FAILED_CALL_PAUSE).await;
        }
        let messages = answer["Messages"].as_array().into_iter().flatten();
        let messages: Vec<_> = messages.map(received).collect();
        if let Some(meter) = self.meter.as_ref().filter(|_| !messages.is_empty()) {
            let bytes = messages.iter().map(|message| message.body.len()).sum();
            meter.add_event_source_units(bytes, 0);
        }
        messages
    }

    /// Deletes messages that were received.
    pub async fn delete(&self, queue: &str, messages: &[Received]) {
        if messages.is_empty() {
            return;
        }
        self.count("DeleteMessageBatch");
        let entry = |(id, message): (usize, &Received)| json!({ "Id": id.to_string(), "ReceiptHandle": message.receipt_handle });
        let entries: Vec<_> = messages.iter().enumerate().map(entry).collect();
        let request = json!({ "QueueUrl": self.url(queue), "Entries": entries });
        self.handle(SqsOperation::DeleteMessageBatch, request).await;
        if let Some(meter) = &self.meter {
            meter.add_event_source_units(0, messages.len());
        }
    }

    fn count(&self, operation: &str) {
        if let Some(meter) = &self.meter {
            meter.count_event_source(operation);
        }
    }
}

fn received(message: &Value) -> Received {
    let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
    let attributes = message["Attributes"].as_object().into_iter().flatten();
    Received {
        message_id: text("MessageId"),
        receipt_handle: text("ReceiptHandle"),
        body: text("Body"),
        md5_of_body: text("MD5OfBody"),
        attributes: attributes
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
    }
}
