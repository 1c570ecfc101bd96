//! One task, step by step.

use std::time::Duration;

use futures_util::future::join;
use posthorn_domain::{
    attempt::{Attempt, Outcome},
    delivery::{Delivery, NextStep, Notice, Plan, Retry, Status, plan, record, skip},
    endpoint::Endpoint,
    failure::Failure,
    health::{MessageMark, Observation, SLOW_AFTER},
    id::AttemptId,
    operational::OperationalEvent,
    payload::Payload,
    retry::{Wait, wait_until},
    timestamp::Timestamp,
    trace::TraceParent,
};
use posthorn_publish::PublishError;
use posthorn_queue::{QueueError, Task};
use posthorn_runtime::{
    Panicked, caught, entropy, jitter,
    metrics::{Metric, count, measure},
    now,
};
use posthorn_store::{
    Changed, Consistency, Lookup, Prefetched, Scheduled, StoreError, Tries, Written,
};
use posthorn_vault::VaultError;
use tokio::{
    time::{sleep, timeout},
    try_join,
};

use crate::{Dispatcher, Signed, admit::MAX_HOPS, batch::Time};

/// How long tasks wait for what is read for all of them.
const LONGEST_PREFETCH: Duration = Duration::from_secs(2);

/// How often a record is merged with what concurrent dispatchers wrote before the task is given back.
pub(crate) const MAX_MERGES: u32 = 6;

/// The longest pause before the second merge; it doubles with each.
const MERGE_PAUSE: Duration = Duration::from_millis(20);

/// Others record at the same time: whoever waits longer finds them done.
const MERGES: Tries = Tries::new(MAX_MERGES, |tries| {
    (MERGE_PAUSE * (1 << tries)).mul_f64(jitter())
});

/// A fault of ours: the task is received again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the delivery changed {MAX_MERGES} times while its attempt was recorded")]
    Contention,
    #[error("a task could not be written: {0}")]
    Task(String),
    #[error("the function's time was over")]
    OutOfTime,
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl Dispatcher {
    /// Reads what the tasks of a batch begin with. A fault leaves it to each task, which then fails alone.
    pub(crate) async fn prefetch<'a>(&self, tasks: impl Iterator<Item = &'a Task>) -> Prefetched {
        let tasks: Vec<_> = tasks.map(lookup).collect();
        let prefetched = caught(self.deliveries.prefetch(&self.endpoints, &tasks));
        match timeout(LONGEST_PREFETCH, prefetched).await {
            Ok(Ok(Ok(prefetched))) => prefetched,
            failed => {
                tracing::warn!(?failed, "a batch could not be read at once");
                Prefetched::default()
            }
        }
    }

    /// Does what a task calls for; `known` is what was read at the begin of its batch.
    pub(crate) async fn deliver(
        &self,
        task: Task,
        time: Time,
        known: &Prefetched,
    ) -> Result<(), Fault> {
        let (endpoint, delivery) =
            try_join!(self.endpoint(&task, known), self.delivery(&task, known))?;
        let Some(endpoint) = endpoint else {
            tracing::info!(msg_id = %task.message, endpoint_id = %task.endpoint, "dropped: the endpoint was deleted");
            return Ok(());
        };
        match (plan(delivery.as_ref(), task.ask()), delivery) {
            (Plan::Resume(step), Some(delivery)) => {
                let lane = endpoint.health.lane();
                let task = Task { lane, ..task };
                self.follow(task, &delivery, step.repeated()).await
            }
            (_, delivery) if task.expires_at <= now() => {
                self.skip(&task, delivery, "the message expired").await
            }
            (_, delivery) if endpoint.disabled => {
                self.skip(&task, delivery, "the endpoint is disabled").await
            }
            (_, delivery) => match self.admit(task, endpoint, time).await? {
                Some((task, endpoint)) => self.attempt(task, endpoint, delivery, time).await,
                None => Ok(()),
            },
        }
    }

    async fn attempt(
        &self,
        task: Task,
        endpoint: Endpoint,
        delivery: Option<Delivery>,
        time: Time,
    ) -> Result<(), Fault> {
        let opened = self.vault.open(task.endpoint_key(), &endpoint.sealed);
        let (payload, opened) = join(self.payload(&task), opened).await;
        let Some(payload) = payload? else {
            return self.skip(&task, delivery, "the payload is gone").await;
        };
        let confidential = match opened {
            Err(error) if error.is_lasting() => {
                tracing::error!(%error, endpoint_id = %task.endpoint, "its secrets cannot be opened");
                let reason = "the endpoint's secrets cannot be opened";
                return self.skip(&task, delivery, reason).await;
            }
            opened => opened?,
        };
        let Some(task) = self.wait_for_turn(task, &endpoint, time).await? else {
            return Ok(());
        };
        let started_at = now();
        let longest = time.longest(self.sender.longest());
        let trace = task.trace.map(|parent| parent.child(entropy()));
        let request = Signed {
            confidential: &confidential,
            id: &task.message,
            at: started_at,
            payload: &payload,
            trace,
        };
        let (outcome, endpoint) = self.send(&task, endpoint, request, longest).await;
        let ended_at = now();
        let id = AttemptId::new(started_at, entropy());
        let attempt = Attempt::record(id, endpoint.url.clone(), started_at, ended_at, &outcome);
        log(&task, &attempt, &outcome, trace);
        count_attempt(&task, &outcome, started_at);
        let observation = Observation {
            outcome: &outcome,
            message: MessageMark::of(&task.message),
            started_at,
            ended_at,
        };
        // Before the attempt is recorded: a task that ends in between is received again.
        let health = self.watch(&task, &endpoint, observation).await;
        let (delivery, step) = self.record(&task, delivery, attempt).await?;
        let lane = health.lane();
        self.follow(Task { lane, ..task }, &delivery, step).await
    }

    /// Waits for the task's slot, if it has one; `None` when the task is back in the queue.
    async fn wait_for_turn(
        &self,
        task: Task,
        endpoint: &Endpoint,
        time: Time,
    ) -> Result<Option<Task>, Fault> {
        // The same slot again, unless reading took so long that it is past. The attempt that finds out
        // whether a paused endpoint works again is made all the same: the others wait for it.
        let kept = match endpoint.health.probing {
            true => Some(task),
            false => self.keep_pace(task, endpoint).await?,
        };
        let Some(task) = kept else {
            return Ok(None);
        };
        if let Some(slot) = task.slot {
            sleep(slot.since(now())).await;
        }
        // Waiting and reading may have taken long: a request cut short would be the endpoint's failure.
        if !time.is_enough(self.sender.longest()) && task.hops < MAX_HOPS {
            let (lane, slot) = (task.lane, task.slot);
            self.put_back(task, lane, now(), slot).await?;
            return Ok(None);
        }
        Ok(Some(task))
    }

    /// Makes the request. While an endpoint takes long, others are told to keep its tasks apart;
    /// gives the endpoint as it then is.
    async fn send(
        &self,
        task: &Task,
        endpoint: Endpoint,
        request: Signed<'_>,
        longest: Duration,
    ) -> (Outcome, Endpoint) {
        let (outcome, slowed) = {
            let request = self.sender.send(&endpoint.url, request, longest);
            tokio::pin!(request);
            match timeout(SLOW_AFTER, &mut request).await {
                Ok(outcome) => (outcome, None),
                Err(_) => join(request, self.slow_down(task, &endpoint)).await,
            }
        };
        (outcome, slowed.unwrap_or(endpoint))
    }

    /// Writes the attempt into the delivery's record; gives the record and what follows.
    async fn record(
        &self,
        task: &Task,
        before: Option<Delivery>,
        attempt: Attempt,
    ) -> Result<(Delivery, NextStep), Fault> {
        let (mut was, mut step) = (None, NextStep::default());
        let decide = |before: Option<&Delivery>| {
            was = before.map(|before| before.status);
            let after;
            (after, step) = self.merge(task, before, &attempt);
            after
        };
        let known = (before, task.expires_at);
        let changed = self
            .deliveries
            .change(MERGES, task.delivery(), known, decide);
        match changed.await? {
            Changed::Stored(after) => {
                count_end(was, after.status);
                Ok((after, step))
            }
            Changed::Left(Some(found)) => Ok((found, step)),
            Changed::Left(None) | Changed::Taken | Changed::Contended => Err(Fault::Contention),
        }
    }

    /// The record with the attempt, or `None` when it is there already; and what follows.
    fn merge(
        &self,
        task: &Task,
        before: Option<&Delivery>,
        attempt: &Attempt,
    ) -> (Option<Delivery>, NextStep) {
        if let Some(delivery) = before.filter(|before| before.holds(&attempt.id)) {
            // The write before went through although its answer was lost.
            let step = match plan(Some(delivery), task.ask()) {
                Plan::Resume(step) => step,
                Plan::Attempt => NextStep::default(),
            };
            return (None, step);
        }
        let (after, step) = record(
            before.cloned(),
            &task.event_type,
            task.ask(),
            attempt.clone(),
            &self.retries,
            now(),
            jitter(),
        );
        (Some(after), step)
    }

    /// Takes the next step; repeating it is harmless. The next attempt comes first: a fault in telling
    /// operators must not hold it up.
    async fn follow(&self, task: Task, delivery: &Delivery, step: NextStep) -> Result<(), Fault> {
        if let Some(Retry { attempt, due }) = step.retry {
            self.send_at(task.clone().retry(attempt), due).await?;
        }
        match step.notice {
            Some(notice) => self.notify_operators(&task, delivery, notice).await,
            None => Ok(()),
        }
    }

    /// Queues a task for a moment to come.
    pub(crate) async fn send_at(&self, task: Task, due: Timestamp) -> Result<(), Fault> {
        match wait_until(due, now()) {
            Wait::Queue { seconds } => self.queue().send_after(&task, seconds).await?,
            Wait::Schedule { due } => {
                let body = task
                    .to_body()
                    .map_err(|error| Fault::Task(error.to_string()))?;
                let Task {
                    endpoint, message, ..
                } = task;
                let scheduled = Scheduled {
                    due,
                    endpoint,
                    message,
                    body,
                };
                self.due.put(&scheduled).await?;
            }
        }
        Ok(())
    }

    /// Tells operators what became of a message. Failures are rare, so the reads are as well.
    async fn notify_operators(
        &self,
        task: &Task,
        delivery: &Delivery,
        notice: Notice,
    ) -> Result<(), Fault> {
        let app = task.app_key();
        if app.is_operational() {
            return Ok(());
        }
        let (application, message) = try_join!(
            self.applications().get(app),
            self.messages().get(task.message_key(), Consistency::Strong),
        )?;
        let (Some(application), Some(message), Some(last)) =
            (application, message, delivery.decider())
        else {
            return Ok(());
        };
        let endpoint = &task.endpoint;
        let event = OperationalEvent::of_delivery(notice, &application, endpoint, &message, last);
        let cause = last.id.as_str();
        self.publisher
            .notify_operators(app.organization, &event, last.started_at, cause)
            .await?;
        Ok(())
    }

    /// Ends a delivery of which nothing can be sent now; one that ended already stays as it is.
    async fn skip(
        &self,
        task: &Task,
        delivery: Option<Delivery>,
        reason: &str,
    ) -> Result<(), Fault> {
        tracing::info!(msg_id = %task.message, endpoint_id = %task.endpoint, reason, "skipped");
        if delivery
            .as_ref()
            .is_some_and(|delivery| delivery.status != Status::Sending)
        {
            return Ok(());
        }
        match self.put(task, &skip(delivery, &task.event_type)).await? {
            Written::Yes => {
                count(Metric::DeliveriesSkipped, 1);
                Ok(())
            }
            Written::Conflict | Written::Taken => Err(Fault::Contention),
        }
    }

    /// The endpoint, at least as new as the task: an update holds for the very next message.
    async fn endpoint(&self, task: &Task, known: &Prefetched) -> Result<Option<Endpoint>, Fault> {
        let found = match known.endpoint(lookup(task)) {
            Some(found) => found,
            None => self.read_endpoint(task, Consistency::Eventual).await?,
        };
        let is_current = found
            .as_ref()
            .is_some_and(|endpoint| endpoint.revision >= task.revision);
        if is_current {
            return Ok(found);
        }
        self.read_endpoint(task, Consistency::Strong).await
    }

    pub(crate) async fn read_endpoint(
        &self,
        task: &Task,
        consistency: Consistency,
    ) -> Result<Option<Endpoint>, Fault> {
        let read = self.endpoints.get(task.endpoint_key(), consistency);
        Ok(read.await?)
    }

    /// The delivery's record. Before a first attempt there is none, so a read that misses the last
    /// moments will do; whatever follows depends on what was recorded, and a task that was put back
    /// may have copies.
    async fn delivery(&self, task: &Task, known: &Prefetched) -> Result<Option<Delivery>, Fault> {
        match known.delivery(lookup(task)) {
            Some(found) => Ok(found),
            None if is_first(task) => self.read_delivery(task, Consistency::Eventual).await,
            None => self.read_delivery(task, Consistency::Strong).await,
        }
    }

    async fn read_delivery(
        &self,
        task: &Task,
        consistency: Consistency,
    ) -> Result<Option<Delivery>, Fault> {
        Ok(self.deliveries.get(task.delivery(), consistency).await?)
    }

    async fn put(&self, task: &Task, delivery: &Delivery) -> Result<Written, Fault> {
        let put = self
            .deliveries
            .put(task.delivery(), delivery, task.expires_at);
        Ok(put.await?)
    }

    /// What is posted: from the task, or from the table; `None` when it is gone.
    async fn payload(&self, task: &Task) -> Result<Option<Payload>, Fault> {
        if let Some(payload) = &task.payload {
            return Ok(Some(payload.clone()));
        }
        let found = self
            .messages()
            .get(task.message_key(), Consistency::Strong)
            .await?;
        Ok(found.and_then(|message| message.payload))
    }
}

fn is_first(task: &Task) -> bool {
    task.attempt == 0 && task.manual.is_none() && task.hops == 0
}

/// What of a task's endpoint and delivery may be read before, with those of others.
fn lookup(task: &Task) -> Lookup<'_> {
    Lookup {
        endpoint: task.endpoint_key(),
        delivery: is_first(task).then_some(task.delivery()),
    }
}

/// One line per attempt; it says nothing of payloads, secrets or response bodies.
fn log(task: &Task, attempt: &Attempt, outcome: &Outcome, span: Option<TraceParent>) {
    tracing::info!(
        msg_id = %task.message,
        endpoint_id = %task.endpoint,
        attempt = task.attempt,
        lane = ?task.lane,
        status = Some(attempt.status_code).filter(|_| attempt.failure.is_none()),
        failure = attempt.failure.map(|failure| failure.class().name()),
        reason = attempt.failure.map(Failure::reason),
        note = attempt.response_note(),
        duration_ms = attempt.duration_ms,
        success = outcome.is_success(),
        trace_id = span.map(TraceParent::trace_id),
        span_id = span.map(TraceParent::span_id),
        parent_span_id = span.and(task.trace).map(TraceParent::span_id),
        "attempted"
    );
}

fn count_attempt(task: &Task, outcome: &Outcome, started_at: Timestamp) {
    count(Metric::Attempts, 1);
    let failed = match outcome {
        Outcome::Failure(_) => Some(Metric::AttemptsUnanswered),
        Outcome::Response { status, .. } => match status / 100 {
            2 => None,
            4 => Some(Metric::Attempts4xx),
            5.. => Some(Metric::Attempts5xx),
            _ => Some(Metric::Attempts3xx),
        },
    };
    if let Some(class) = failed {
        count(class, 1);
    }
    if matches!(outcome, Outcome::Response { status: 429, .. }) {
        count(Metric::AttemptsThrottled, 1);
    }
    // So that the ratio is known also when nothing succeeds.
    count(Metric::Attempts2xx, u64::from(outcome.is_success()));
    // A task that carries its payload comes straight from who published it.
    let is_straight = task.attempt == 0 && task.manual.is_none() && task.payload.is_some();
    if is_straight && !task.app_key().is_operational() {
        let latency = started_at.since(task.message.created_at()).as_millis();
        measure(
            Metric::FirstAttemptLatency,
            u64::try_from(latency).unwrap_or(u64::MAX),
        );
    }
}

/// Counts a delivery that came to its end, or to another one.
fn count_end(was: Option<Status>, is: Status) {
    match is {
        _ if was == Some(is) => {}
        Status::Success => count(Metric::DeliveriesSucceeded, 1),
        Status::Fail => count(Metric::DeliveriesExhausted, 1),
        Status::Sending | Status::Skipped => {}
    }
}
