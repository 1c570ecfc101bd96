//! One task, step by step.

use posthorn_domain::{
    attempt::{Attempt, Outcome},
    delivery::{Delivery, NextStep, Plan, plan, record, skip},
    endpoint::Endpoint,
    id::AttemptId,
    message::Payload,
    retry::{Wait, wait_until},
    shard::shard_of,
};
use posthorn_queue::{QueueError, Task};
use posthorn_runtime::{entropy, jitter, now};
use posthorn_store::{Consistency, Scheduled, StoreError, Written};
use tokio::try_join;

use crate::Dispatcher;

/// How often a record is merged with what concurrent dispatchers wrote before the task is given back.
const MAX_MERGES: u32 = 5;

/// A fault of ours: the task is received again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("the delivery changed {MAX_MERGES} times while its attempt was recorded")]
    Contention,
    #[error("a task could not be written: {0}")]
    Task(String),
}

impl Dispatcher {
    /// Does what a task calls for.
    pub(crate) async fn deliver(&self, task: Task) -> Result<(), Fault> {
        let (endpoint, delivery) = try_join!(self.endpoint(&task), self.delivery(&task))?;
        let Some(endpoint) = endpoint else {
            tracing::info!(msg_id = %task.message, endpoint_id = %task.endpoint, "dropped: the endpoint was deleted");
            return Ok(());
        };
        match plan(delivery.as_ref(), task.attempt) {
            Plan::Resume(step) => self.follow(task, step).await,
            Plan::Attempt if endpoint.disabled => self.skip(&task, delivery).await,
            Plan::Attempt => self.attempt(task, &endpoint, delivery).await,
        }
    }

    async fn attempt(
        &self,
        task: Task,
        endpoint: &Endpoint,
        delivery: Option<Delivery>,
    ) -> Result<(), Fault> {
        let Some(payload) = self.payload(&task).await? else {
            tracing::warn!(msg_id = %task.message, endpoint_id = %task.endpoint, "dropped: the message is gone");
            return Ok(());
        };
        let started_at = now();
        let outcome = self
            .sender
            .send(endpoint, &task.message, started_at, &payload)
            .await;
        let id = AttemptId::new(started_at, entropy());
        let attempt = Attempt::record(id, endpoint.url.clone(), started_at, now(), &outcome);
        log(&task, &attempt, &outcome);
        let step = self.record(&task, delivery, attempt).await?;
        self.follow(task, step).await
    }

    /// Writes the attempt into the delivery's record and says what follows.
    async fn record(
        &self,
        task: &Task,
        mut before: Option<Delivery>,
        attempt: Attempt,
    ) -> Result<NextStep, Fault> {
        for _ in 0..MAX_MERGES {
            if let Some(delivery) = before
                .as_ref()
                .filter(|delivery| delivery.holds(&attempt.id))
            {
                // The write before went through although its answer was lost.
                return Ok(match plan(Some(delivery), task.attempt) {
                    Plan::Resume(step) => step,
                    Plan::Attempt => NextStep::Nothing,
                });
            }
            let (number, copy) = (task.attempt, attempt.clone());
            let (after, step) = record(
                before,
                &task.event_type,
                number,
                copy,
                &self.retries,
                now(),
                jitter(),
            );
            if self.put(task, &after).await? == Written::Yes {
                return Ok(step);
            }
            before = self.read_delivery(task, Consistency::Strong).await?;
        }
        Err(Fault::Contention)
    }

    /// Takes the next step; repeating it is harmless.
    async fn follow(&self, task: Task, step: NextStep) -> Result<(), Fault> {
        let NextStep::Retry { attempt, due } = step else {
            return Ok(());
        };
        let task = task.retry(attempt);
        match wait_until(due, now()) {
            Wait::Queue { seconds } => self.queue.send_after(&task, seconds).await?,
            Wait::Schedule { due } => {
                let body = task
                    .to_body()
                    .map_err(|error| Fault::Task(error.to_string()))?;
                let Task {
                    endpoint, message, ..
                } = task;
                self.schedule
                    .put(&Scheduled {
                        due,
                        endpoint,
                        message,
                        body,
                    })
                    .await?;
            }
        }
        Ok(())
    }

    async fn skip(&self, task: &Task, delivery: Option<Delivery>) -> Result<(), Fault> {
        tracing::info!(msg_id = %task.message, endpoint_id = %task.endpoint, "skipped: the endpoint is disabled");
        match self.put(task, &skip(delivery, &task.event_type)).await? {
            Written::Yes => Ok(()),
            Written::Conflict => Err(Fault::Contention),
        }
    }

    /// The endpoint, at least as new as the task: an update holds for the very next message.
    async fn endpoint(&self, task: &Task) -> Result<Option<Endpoint>, Fault> {
        let Task {
            organization,
            application,
            endpoint,
            ..
        } = task;
        let read = |consistency| {
            self.config
                .endpoint(organization, application, endpoint, consistency)
        };
        let found = read(Consistency::Eventual).await?;
        let is_current = found
            .as_ref()
            .is_some_and(|endpoint| endpoint.revision >= task.revision);
        Ok(if is_current {
            found
        } else {
            read(Consistency::Strong).await?
        })
    }

    /// The delivery's record. A retry follows a record, so one that lacks it is read again strongly.
    async fn delivery(&self, task: &Task) -> Result<Option<Delivery>, Fault> {
        let found = self.read_delivery(task, Consistency::Eventual).await?;
        let made = found.as_ref().map_or(0, |delivery| delivery.made);
        Ok(if made >= task.attempt {
            found
        } else {
            self.read_delivery(task, Consistency::Strong).await?
        })
    }

    async fn read_delivery(
        &self,
        task: &Task,
        consistency: Consistency,
    ) -> Result<Option<Delivery>, Fault> {
        let shard = shard_of(&task.message, task.shards);
        Ok(self
            .deliveries
            .get(&task.endpoint, &task.message, shard, consistency)
            .await?)
    }

    async fn put(&self, task: &Task, delivery: &Delivery) -> Result<Written, Fault> {
        let shard = shard_of(&task.message, task.shards);
        Ok(self
            .deliveries
            .put(
                &task.endpoint,
                &task.message,
                shard,
                delivery,
                task.expires_at,
            )
            .await?)
    }

    /// What is posted: from the task, or from the table. A message may have been stored moments ago.
    async fn payload(&self, task: &Task) -> Result<Option<Payload>, Fault> {
        if let Some(payload) = &task.payload {
            return Ok(Some(payload.clone()));
        }
        let read = |consistency| {
            self.messages
                .get(&task.application, task.shards, &task.message, consistency)
        };
        let found = match read(Consistency::Eventual).await? {
            None => read(Consistency::Strong).await?,
            found => found,
        };
        Ok(found.map(|message| message.payload))
    }
}

/// One line per attempt; it says nothing of payloads, secrets or response bodies.
fn log(task: &Task, attempt: &Attempt, outcome: &Outcome) {
    tracing::info!(
        msg_id = %task.message,
        endpoint_id = %task.endpoint,
        attempt = task.attempt,
        status = attempt.status_code,
        failure = ?attempt.failure,
        duration_ms = attempt.duration_ms,
        success = outcome.is_success(),
        "attempted"
    );
}
