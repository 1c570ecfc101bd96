//! SQS: the crates `rustack-sqs-*`, with what they lack.
//!
//! Added here: MessageGroupId on standard queues (AWS accepts it and uses it for fair queues;
//! rustack refuses it), which travels as a message attribute, and state across restarts
//! ([`super::journal`]). Limits differ from AWS's in one place: a message may have 256 KiB, not 1 MiB.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use posthorn_runtime::now;
use rustack_sqs_core::{config::SqsConfig, handler::RustackSqsHandler, provider::RustackSqs};
use rustack_sqs_http::{dispatch::SqsHandler, response::error_to_response};
use rustack_sqs_model::operations::SqsOperation;
use serde_json::{Value, json};

use super::{
    AwsError, Meter,
    journal::{Journal, Sent},
};
use crate::{ACCOUNT, REGION, template::Template};

/// The message attribute that carries a group id through rustack.
const GROUP: &str = "posthorn.MessageGroupId";

/// How long a receive that failed holds its caller.
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
    /// Its id, the same at each receive.
    pub message_id: String,
    /// What deletes it.
    pub receipt_handle: String,
    /// Its body.
    pub body: String,
    /// The MD5 of its body.
    pub md5_of_body: String,
    /// `ApproximateReceiveCount`, `SentTimestamp`, `MessageGroupId` and others.
    pub attributes: BTreeMap<String, String>,
}

/// An answer of SQS: status and JSON body.
pub(super) type Answer = (u16, Bytes);

impl Queues {
    /// Creates the queues and sends what was queued before again.
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

    /// Creates queues; one with a dead-letter queue comes after it.
    async fn create_all(&self, template: &Template) -> Result<(), AwsError> {
        let mut queues: Vec<_> = template.queues.iter().collect();
        queues.sort_by_key(|queue| queue.attributes.contains_key("RedrivePolicy"));
        for queue in queues {
            let request = json!({ "QueueName": queue.name, "Attributes": queue.attributes });
            let (status, body) = self.call(SqsOperation::CreateQueue, &request).await;
            if status != 200 {
                return Err(AwsError::Sqs(String::from_utf8_lossy(&body).into_owned()));
            }
        }
        Ok(())
    }

    async fn restore(&mut self, folder: &Path) -> Result<(), AwsError> {
        let (journal, pending) = Journal::open(folder)?;
        self.journal = Some(Arc::new(journal));
        for Sent {
            queue,
            body,
            group,
            due,
        } in pending
        {
            let left = (due - now().as_millis()).max(0);
            let request = json!({
                "QueueUrl": self.url(&queue), "MessageBody": body, "MessageGroupId": group,
                "DelaySeconds": (left + 999) / 1000,
            });
            self.handle(SqsOperation::SendMessage, request).await;
        }
        Ok(Journal::commit(folder)?)
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
        let (status, body) = self.handle(SqsOperation::ReceiveMessage, request).await;
        if status != 200 {
            // A failed call returns at once: without a pause its caller would spin.
            tokio::time::sleep(FAILED_CALL_PAUSE).await;
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        answer["Messages"]
            .as_array()
            .into_iter()
            .flatten()
            .map(received)
            .collect()
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
        for message in messages {
            self.journal_deleted(&message.message_id);
        }
    }

    fn count(&self, operation: &str) {
        if let Some(meter) = &self.meter {
            meter.count_event_source(operation);
        }
    }

    fn journal_deleted(&self, id: &str) {
        if let Some(Err(error)) = self.journal.as_ref().map(|journal| journal.deleted(id)) {
            eprintln!("the queues' journal could not be written: {error}");
        }
    }

    /// A call that came over HTTP.
    pub(super) async fn serve(&self, operation: SqsOperation, request: Value) -> Answer {
        if let Some(meter) = &self.meter {
            meter.count_call("SQS", operation.as_str());
        }
        self.handle(operation, request).await
    }

    async fn handle(&self, operation: SqsOperation, mut request: Value) -> Answer {
        match operation {
            SqsOperation::SendMessage => {
                let (status, body) = self.call(operation, hide_group(&mut request)).await;
                self.journal_sent(
                    &request["QueueUrl"],
                    &request,
                    &answer_id(&body, "MessageId"),
                    status,
                    body,
                )
            }
            SqsOperation::SendMessageBatch => {
                for entry in request["Entries"].as_array_mut().into_iter().flatten() {
                    hide_group(entry);
                }
                let (status, body) = self.call(operation, &request).await;
                self.journal_batch(&request, status, body)
            }
            SqsOperation::ReceiveMessage => {
                request["MessageAttributeNames"] = json!(["All"]);
                let (status, body) = self.call(operation, &request).await;
                (status, show_groups(body))
            }
            _ => self.call(operation, &request).await,
        }
    }

    fn journal_sent(
        &self,
        url: &Value,
        entry: &Value,
        id: &str,
        status: u16,
        body: Bytes,
    ) -> Answer {
        let Some(journal) = self
            .journal
            .as_ref()
            .filter(|_| status == 200 && !id.is_empty())
        else {
            return (status, body);
        };
        let delay = entry["DelaySeconds"].as_i64().unwrap_or(0);
        let sent = Sent {
            queue: url
                .as_str()
                .and_then(|url| url.rsplit('/').next())
                .unwrap_or_default()
                .to_owned(),
            body: entry["MessageBody"].as_str().unwrap_or_default().to_owned(),
            group: entry["MessageAttributes"][GROUP]["StringValue"]
                .as_str()
                .map(str::to_owned),
            due: now().as_millis() + delay * 1000,
        };
        match journal.sent(id, sent) {
            Ok(()) => (status, body),
            Err(error) => (
                500,
                Bytes::from(
                    json!({ "__type": "InternalFailure", "message": error.to_string() })
                        .to_string(),
                ),
            ),
        }
    }

    fn journal_batch(&self, request: &Value, status: u16, body: Bytes) -> Answer {
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let entries = request["Entries"].as_array().into_iter().flatten();
        let mut result = (status, body);
        for entry in entries {
            let successful = answer["Successful"].as_array().into_iter().flatten();
            let id = successful
                .filter(|done| done["Id"] == entry["Id"])
                .find_map(|done| done["MessageId"].as_str());
            result = self.journal_sent(
                &request["QueueUrl"],
                entry,
                id.unwrap_or_default(),
                result.0,
                result.1,
            );
        }
        result
    }

    async fn call(&self, operation: SqsOperation, request: &Value) -> Answer {
        let body = Bytes::from(request.to_string());
        let response = match self.handler.handle_operation(operation, body).await {
            Ok(response) => response,
            Err(error) => error_to_response(&error, "local"),
        };
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .map(|body| body.to_bytes());
        (status, body.unwrap_or_default())
    }
}

fn answer_id(body: &Bytes, field: &str) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    answer[field].as_str().unwrap_or_default().to_owned()
}

/// Moves `MessageGroupId` into a message attribute.
fn hide_group(entry: &mut Value) -> &Value {
    if let Some(group) = entry
        .as_object_mut()
        .and_then(|entry| entry.remove("MessageGroupId"))
        && group.is_string()
    {
        entry["MessageAttributes"][GROUP] = json!({ "DataType": "String", "StringValue": group });
    }
    entry
}

/// Moves the attribute back, as `MessageGroupId` among the system attributes.
fn show_groups(body: Bytes) -> Bytes {
    let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    for message in answer["Messages"].as_array_mut().into_iter().flatten() {
        let attributes = message["MessageAttributes"].as_object_mut();
        let group = attributes.and_then(|attributes| attributes.remove(GROUP));
        if let Some(group) = group {
            message["Attributes"]["MessageGroupId"] = group["StringValue"].clone();
        }
        if let Some(message) = message.as_object_mut() {
            // The sum covered the attribute that was moved.
            message.remove("MD5OfMessageAttributes");
        }
    }
    Bytes::from(answer.to_string())
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
