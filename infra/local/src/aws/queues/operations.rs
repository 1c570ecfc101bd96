//! SQS calls: what is added around rustack's own handling.

use std::io;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::BodyExt;
use posthorn_runtime::now;
use rustack_sqs_http::{body::SqsResponseBody, dispatch::SqsHandler, response::error_to_response};
use rustack_sqs_model::{error::SqsError, operations::SqsOperation};
use serde_json::{Value, json};

use super::{Queues, groups, limits};
use crate::aws::journal::Sent;

/// A response of SQS: status and JSON body.
pub(in crate::aws) type Answer = (u16, Value);

/// The bytes of the messages that a request sends.
fn message_bytes(request: &Value) -> usize {
    let entries = request["Entries"].as_array().into_iter().flatten();
    let bodies = entries.chain([request]).map(|entry| &entry["MessageBody"]);
    bodies.filter_map(Value::as_str).map(str::len).sum()
}

impl Queues {
    /// Handles a call over HTTP; the request is a JSON object.
    pub(in crate::aws) async fn serve(&self, operation: SqsOperation, request: Value) -> Answer {
        if let Some(meter) = &self.meter {
            meter.count_call("SQS", operation.as_str());
            meter.add_sqs_units(message_bytes(&request));
        }
        self.handle(operation, request).await
    }

    pub(super) async fn handle(&self, operation: SqsOperation, request: Value) -> Answer {
        match operation {
            SqsOperation::SendMessage => self.send(request).await,
            SqsOperation::SendMessageBatch => self.send_batch(request).await,
            SqsOperation::ReceiveMessage => self.receive_messages(request).await,
            SqsOperation::DeleteMessage
            | SqsOperation::DeleteMessageBatch
            | SqsOperation::PurgeQueue => {
                let (status, answer) = self.call(operation, &request).await;
                if status == 200
                    && let Err(error) = self.journal_deleted(operation, &request)
                {
                    eprintln!("the queues' journal could not be written: {error}");
                }
                (status, answer)
            }
            SqsOperation::StartMessageMoveTask => Box::pin(self.move_messages(&request)).await,
            _ => self.call(operation, &request).await,
        }
    }

    async fn send(&self, mut request: Value) -> Answer {
        if let Err(error) = limits::check(&request) {
            return refusal(&error).await;
        }
        groups::hide_group(&mut request);
        let (status, mut answer) = self.call(SqsOperation::SendMessage, &request).await;
        groups::drop_checksum(&mut answer);
        if status == 200
            && let Err(error) = self.journal_sent(&request, &request, &answer["MessageId"])
        {
            return fault(&error);
        }
        (status, answer)
    }

    async fn send_batch(&self, mut request: Value) -> Answer {
        let refused = limits::take_refused(&mut request);
        let entries = request["Entries"].as_array_mut().into_iter().flatten();
        entries.for_each(groups::hide_group);
        let is_empty = request["Entries"].as_array().is_some_and(Vec::is_empty);
        let (status, mut answer) = if is_empty && !refused.is_empty() {
            (200, json!({ "Successful": [] }))
        } else {
            self.call(SqsOperation::SendMessageBatch, &request).await
        };
        if status != 200 {
            return (status, answer);
        }
        let sent = answer["Successful"].as_array_mut().into_iter().flatten();
        sent.for_each(groups::drop_checksum);
        if let Err(error) = self.journal_batch(&request, &answer) {
            return fault(&error);
        }
        limits::add_refused(&mut answer, refused);
        (status, answer)
    }

    async fn receive_messages(&self, mut request: Value) -> Answer {
        let requested = groups::request_group(&mut request);
        let (status, mut answer) = self.call(SqsOperation::ReceiveMessage, &request).await;
        let messages = answer["Messages"].as_array_mut().into_iter().flatten();
        messages.for_each(|message| requested.show_group(message));
        (status, answer)
    }

    fn journal_batch(&self, request: &Value, answer: &Value) -> io::Result<()> {
        for sent in answer["Successful"].as_array().into_iter().flatten() {
            let mut entries = request["Entries"].as_array().into_iter().flatten();
            if let Some(entry) = entries.find(|entry| entry["Id"] == sent["Id"]) {
                self.journal_sent(request, entry, &sent["MessageId"])?;
            }
        }
        Ok(())
    }

    fn journal_sent(&self, request: &Value, entry: &Value, id: &Value) -> io::Result<()> {
        let (Some(journal), Some(id)) = (&self.journal, id.as_str()) else {
            return Ok(());
        };
        let delay = entry["DelaySeconds"].as_i64().unwrap_or(0);
        let sent = Sent {
            queue: queue_of(request),
            body: entry["MessageBody"].as_str().unwrap_or_default().to_owned(),
            group: groups::group_of(entry),
            due: now().as_millis() + delay * 1000,
        };
        journal.sent(id, sent)
    }

    fn journal_deleted(&self, operation: SqsOperation, request: &Value) -> io::Result<()> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        if operation == SqsOperation::PurgeQueue {
            return journal.purged(&queue_of(request));
        }
        let batch = request["Entries"].as_array().into_iter().flatten();
        let handles = batch.chain([request]).map(|entry| &entry["ReceiptHandle"]);
        for id in handles.filter_map(message_id) {
            journal.deleted(&id)?;
        }
        Ok(())
    }

    pub(super) async fn call(&self, operation: SqsOperation, request: &Value) -> Answer {
        let body = Bytes::from(request.to_string());
        match self.handler.handle_operation(operation, body).await {
            Ok(response) => read(response).await,
            Err(error) => refusal(&error).await,
        }
    }
}

async fn refusal(error: &SqsError) -> Answer {
    read(error_to_response(error, "local")).await
}

async fn read(response: axum::http::Response<SqsResponseBody>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let answer = serde_json::from_slice(&body.unwrap_or_default());
    (head.status.as_u16(), answer.unwrap_or_else(|_| json!({})))
}

fn fault(error: &io::Error) -> Answer {
    let answer = json!({ "__type": "InternalFailure", "message": error.to_string() });
    (500, answer)
}

fn queue_of(request: &Value) -> String {
    let url = request["QueueUrl"].as_str().unwrap_or_default();
    url.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The message that a receipt handle is for: rustack builds handles as `id:time:nonce`.
fn message_id(handle: &Value) -> Option<String> {
    let text = String::from_utf8(BASE64_STANDARD.decode(handle.as_str()?).ok()?).ok()?;
    text.split_once(':').map(|(id, _)| id.to_owned())
}
