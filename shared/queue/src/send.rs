//! Sends tasks.

use std::collections::BTreeSet;

use aws_sdk_sqs::{
    Client,
    error::{DisplayErrorContext, SdkError},
    types::SendMessageBatchRequestEntry,
};
use futures_util::{StreamExt, stream};
use posthorn_domain::{health::Lane, id::EndpointId};

use crate::{JobTask, Task};

/// The most entries of one SendMessageBatch (Amazon SQS: SendMessageBatch).
const MAX_ENTRIES: usize = 10;

/// The most bytes of one SendMessageBatch. SQS accepts 1 MiB since 2025; the older limit works
/// everywhere.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// The most batches that are sent concurrently.
const MAX_CONCURRENT: usize = 8;

/// How often entries are sent again that SQS refused because of its own failure.
const MAX_RESENDS: u32 = 3;

/// The queue of delivery tasks, and the queue of the slow lane.
#[derive(Clone, Debug)]
pub struct DeliveriesQueue {
    client: Client,
    url: String,
    slow_url: Option<String>,
}

/// Why tasks, or some of them, were not queued.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// SQS refused, throttled or could not be reached, after the SDK's retries.
    #[error("SQS {operation} failed: {reason}")]
    Aws {
        /// The operation, for example `SendMessageBatch`.
        operation: &'static str,
        /// The whole chain of causes, for logs.
        reason: String,
    },
    /// SQS accepted the batch except for some entries.
    #[error("SQS refused {count} of the tasks: {reason}")]
    Entries {
        /// How many.
        count: usize,
        /// What SQS said about the first.
        reason: String,
    },
    /// A task could not be serialized.
    #[error("a task could not be serialized: {0}")]
    Task(#[from] serde_json::Error),
}

/// Which of many tasks were not queued, and why.
#[derive(Debug)]
pub struct Unsent {
    /// The tasks, by their index in the input.
    pub tasks: BTreeSet<usize>,
    /// Why the first of them was not queued.
    pub error: QueueError,
}

struct Entry {
    /// Its index in the input.
    index: usize,
    lane: Lane,
    group: String,
    body: String,
    delay_seconds: u16,
}

impl DeliveriesQueue {
    /// The queue with this URL.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self {
            client,
            url: url.into(),
            slow_url: None,
        }
    }

    /// Adds the queue of the slow lane; without it, all tasks go to the fast lane.
    pub fn with_slow_lane(self, url: impl Into<String>) -> Self {
        Self {
            slow_url: Some(url.into()),
            ..self
        }
    }

    /// The lane whose queue has this name: the last part of its URL and of its ARN.
    pub fn lane_of(&self, queue: &str) -> Lane {
        let slow = self
            .slow_url
            .as_deref()
            .and_then(|url| url.rsplit('/').next());
        if slow == Some(queue) {
            Lane::Slow
        } else {
            Lane::Fast
        }
    }

    fn url(&self, lane: Lane) -> &str {
        match (&self.slow_url, lane) {
            (Some(url), Lane::Slow) => url,
            _ => &self.url,
        }
    }

    /// Queues tasks without delay, each in its lane, in batches. The endpoint is the message group:
    /// SQS fair queues keep one endpoint's backlog from delaying the others.
    ///
    /// # Errors
    /// Some of the tasks may have been queued all the same.
    pub async fn send_all(&self, tasks: impl IntoIterator<Item = &Task>) -> Result<(), QueueError> {
        let sent = self.send_each(tasks).await;
        sent.map_err(|unsent| unsent.error)
    }

    /// The same, but tells which tasks were not queued.
    ///
    /// # Errors
    /// The tasks that [`Unsent`] does not name are queued.
    pub async fn send_each(&self, tasks: impl IntoIterator<Item = &Task>) -> Result<(), Unsent> {
        let (mut entries, mut unsent) = (Vec::new(), None);
        for (index, task) in tasks.into_iter().enumerate() {
            match task.to_body() {
                Ok(body) => entries.push(Entry {
                    index,
                    lane: task.lane,
                    group: task.endpoint.to_string(),
                    body,
                    delay_seconds: 0,
                }),
                Err(error) => add(&mut unsent, [index], error.into()),
            }
        }
        let sent = self.send_entries(entries).await;
        if let Err(Unsent { tasks, error }) = sent {
            add(&mut unsent, tasks, error);
        }
        unsent.map_or(Ok(()), Err)
    }

    /// Queues one task with a delay of 0 to 900 seconds.
    pub async fn send_after(&self, task: &Task, delay_seconds: u16) -> Result<(), QueueError> {
        self.send(task.lane, &task.endpoint, task.to_body()?, delay_seconds)
            .await
    }

    /// Queues a step of a job without delay.
    pub async fn send_job(&self, task: &JobTask) -> Result<(), QueueError> {
        let body = task.to_body()?;
        self.send(Lane::Fast, &task.endpoint, body, 0).await
    }

    /// Checks that the queue of a lane responds.
    pub async fn check(&self, lane: Lane) -> Result<(), QueueError> {
        let url = self.url(lane);
        let attributes = self.client.get_queue_attributes().queue_url(url);
        let answer = attributes.send().await;
        answer.map(|_| ()).map_err(aws_error("GetQueueAttributes"))
    }

    async fn send(
        &self,
        lane: Lane,
        endpoint: &EndpointId,
        body: String,
        delay_seconds: u16,
    ) -> Result<(), QueueError> {
        self.client
            .send_message()
            .queue_url(self.url(lane))
            .message_group_id(endpoint.as_str())
            .message_body(body)
            .delay_seconds(i32::from(delay_seconds))
            .send()
            .await
            .map_err(aws_error("SendMessage"))?;
        Ok(())
    }

    /// Queues the bodies of tasks unchanged in the fast lane, each with its own delay of 0 to 900
    /// seconds.
    ///
    /// # Errors
    /// Some of the tasks may have been queued all the same.
    pub async fn send_bodies(
        &self,
        bodies: impl IntoIterator<Item = (EndpointId, String, u16)>,
    ) -> Result<(), QueueError> {
        let entry = |(index, (endpoint, body, delay_seconds)): (usize, (EndpointId, _, _))| Entry {
            index,
            lane: Lane::Fast,
            group: endpoint.to_string(),
            body,
            delay_seconds,
        };
        let entries = bodies.into_iter().enumerate().map(entry);
        let sent = self.send_entries(entries.collect()).await;
        sent.map_err(|unsent| unsent.error)
    }

    async fn send_entries(&self, entries: Vec<Entry>) -> Result<(), Unsent> {
        let sent = batches(entries).into_iter().map(async |mut batch| {
            let sent = self.send_batch(&mut batch).await;
            sent.map_err(|error| (batch, error))
        });
        let mut sent = stream::iter(sent).buffer_unordered(MAX_CONCURRENT);
        let mut unsent = None;
        while let Some(sent) = sent.next().await {
            if let Err((left, error)) = sent {
                add(&mut unsent, left.iter().map(|entry| entry.index), error);
            }
        }
        unsent.map_or(Ok(()), Err)
    }

    /// After an error, `batch` holds the entries that were not queued.
    async fn send_batch(&self, batch: &mut Vec<Entry>) -> Result<(), QueueError> {
        let url = self.url(batch.first().map_or(Lane::Fast, |entry| entry.lane));
        for resend in 0..=MAX_RESENDS {
            let requests = batch.iter().enumerate().map(|(i, entry)| request(i, entry));
            let output = self
                .client
                .send_message_batch()
                .queue_url(url)
                .set_entries(Some(requests.collect::<Result<_, _>>()?))
                .send()
                .await
                .map_err(aws_error("SendMessageBatch"))?;
            let Some(first) = output.failed.first() else {
                return Ok(());
            };
            let failed: Option<_> = output.failed.iter().map(|f| f.id.parse().ok()).collect();
            if let Some(failed) = failed {
                keep(batch, &failed);
            }
            if resend == MAX_RESENDS || output.failed.iter().any(|failed| failed.sender_fault) {
                let reason = first.message.clone().unwrap_or_else(|| first.code.clone());
                return Err(QueueError::Entries {
                    count: output.failed.len(),
                    reason,
                });
            }
        }
        Ok(())
    }
}

fn add(unsent: &mut Option<Unsent>, tasks: impl IntoIterator<Item = usize>, error: QueueError) {
    let unsent = unsent.get_or_insert(Unsent {
        tasks: BTreeSet::new(),
        error,
    });
    unsent.tasks.extend(tasks);
}

/// Keeps the entries at these indexes of a batch.
fn keep(batch: &mut Vec<Entry>, wanted: &BTreeSet<usize>) {
    let mut index = 0..;
    batch.retain(|_| index.next().is_some_and(|index| wanted.contains(&index)));
}

fn request(id: usize, entry: &Entry) -> Result<SendMessageBatchRequestEntry, QueueError> {
    SendMessageBatchRequestEntry::builder()
        .id(id.to_string())
        .message_group_id(&entry.group)
        .message_body(&entry.body)
        .delay_seconds(i32::from(entry.delay_seconds))
        .build()
        .map_err(|error| QueueError::Aws {
            operation: "SendMessageBatch",
            reason: error.to_string(),
        })
}

/// Splits entries into batches of one lane that respect SQS's limits.
fn batches(mut entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    entries.sort_by_key(|entry| entry.lane == Lane::Slow);
    let mut batches: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.body.len();
        match batches.last_mut() {
            Some(batch)
                if batch.len() < MAX_ENTRIES
                    && bytes <= MAX_BATCH_BYTES
                    && batch[0].lane == entry.lane =>
            {
                batch.push(entry)
            }
            _ => {
                bytes = entry.body.len();
                batches.push(vec![entry]);
            }
        }
    }
    batches
}

fn aws_error<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> QueueError
where
    E: std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    move |error| QueueError::Aws {
        operation,
        reason: DisplayErrorContext(&error).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(bodies: &[usize]) -> Vec<usize> {
        let entry = |n: &usize| Entry {
            index: 0,
            lane: Lane::Fast,
            group: "g".into(),
            body: "x".repeat(*n),
            delay_seconds: 0,
        };
        batches(bodies.iter().map(entry).collect())
            .iter()
            .map(Vec::len)
            .collect()
    }

    #[test]
    fn batches_keep_to_ten_entries_and_256_kib() {
        assert_eq!(sizes(&[1; 23]), [10, 10, 3]);
        assert_eq!(sizes(&[100 * 1024; 5]), [2, 2, 1]);
        assert!(sizes(&[]).is_empty());
    }

    #[test]
    fn a_batch_has_one_lane() {
        let entry = |n: usize| Entry {
            index: n,
            lane: if n.is_multiple_of(3) {
                Lane::Slow
            } else {
                Lane::Fast
            },
            group: "g".into(),
            body: n.to_string(),
            delay_seconds: 0,
        };
        let batches = batches((0..6).map(entry).collect());
        let bodies =
            |batch: &Vec<Entry>| batch.iter().map(|it| it.body.clone()).collect::<String>();
        assert_eq!(
            batches.iter().map(bodies).collect::<Vec<_>>(),
            ["1245", "03"]
        );
    }
}
