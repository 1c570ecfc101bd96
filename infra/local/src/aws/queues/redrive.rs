//! StartMessageMoveTask, which rustack does not have: it moves the messages of a dead-letter queue
//! back to the queues that they came from (Amazon SQS: "Configure a dead-letter queue redrive").

use std::time::Duration;

use rustack_sqs_model::operations::SqsOperation;
use serde_json::{Value, json};

use super::{Queues, Received, operations::Answer};

impl Queues {
    /// Moves all messages before it responds; AWS does so afterwards.
    pub(super) async fn move_messages(&self, request: &Value) -> Answer {
        let Some(source) = request["SourceArn"].as_str().map(name_of) else {
            return refused("SourceArn is missing");
        };
        let target = request["DestinationArn"].as_str();
        loop {
            let batch = self.receive(source, 10, Duration::ZERO).await;
            if batch.is_empty() {
                return (200, json!({ "TaskHandle": format!("moved-from-{source}") }));
            }
            for message in batch {
                let origin = message.attributes.get("DeadLetterQueueSourceArn");
                let Some(target) = target.or(origin.map(String::as_str)).map(name_of) else {
                    return refused(
                        "a message was sent to the queue itself: name a DestinationArn",
                    );
                };
                if let Err(answer) = self.send_on(target, &message).await {
                    return answer;
                }
                self.delete(source, &[message]).await;
            }
        }
    }

    async fn send_on(&self, queue: &str, message: &Received) -> Result<(), Answer> {
        let request = json!({
            "QueueUrl": self.url(queue), "MessageBody": message.body,
            "MessageGroupId": message.attributes.get("MessageGroupId"),
        });
        let (status, answer) = self.handle(SqsOperation::SendMessage, request).await;
        if status == 200 {
            Ok(())
        } else {
            Err((status, answer))
        }
    }
}

fn name_of(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or_default()
}

fn refused(message: &str) -> Answer {
    let answer = json!({ "__type": "com.amazonaws.sqs#InvalidParameterValue", "message": message });
    (400, answer)
}
