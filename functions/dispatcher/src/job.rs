//! One step of a job over many messages (see [`posthorn_domain::job`]).
//!
//! A step reads a page of the application's messages and their deliveries, queues what the job
//! selects, moves the job's cursor on condition that no other copy of the task did, and queues the
//! next step. Whatever is lost in between is repeated from the cursor when SQS delivers the task
//! again.

use std::time::Duration;

use posthorn_domain::{
    id::MessageId,
    job::{Job, JobStatus, Selected},
    key::AppKey,
};
use posthorn_publish::task as task_of;
use posthorn_queue::{JobTask, Task};
use posthorn_runtime::now;
use posthorn_store::{Consistency, Page, Range, Written};

use crate::{Dispatcher, deliver::Fault};

/// Messages that a step looks at: one Query per shard and at most three BatchGetItem.
const PAGE: usize = 250;

impl Dispatcher {
    /// Makes a step of a job.
    pub(crate) async fn work_on(&self, task: JobTask) -> Result<(), Fault> {
        let JobTask {
            organization, job, ..
        } = &task;
        let Some(job) = self.jobs.get(organization, job).await? else {
            return Ok(());
        };
        if job.status == JobStatus::Finished {
            return Ok(());
        }
        let after = self.step(&task, job).await?;
        tracing::info!(job = %after.id, seen = after.seen, queued = after.queued, "made a step");
        if self.jobs.step(organization, &after).await? == Written::Conflict {
            // Another copy of this task made the step, and goes on.
            return Ok(());
        }
        if after.status == JobStatus::Running {
            self.queue().send_job(&task).await?;
        }
        Ok(())
    }

    /// Queues what a page of messages calls for; gives the job as it stands afterwards.
    async fn step(&self, task: &JobTask, job: Job) -> Result<Job, Fault> {
        let app = AppKey::new(&task.organization, &job.application);
        let application = self.applications().get(app).await?;
        let endpoint = self
            .endpoints
            .get(app.endpoint(&job.endpoint), Consistency::Strong)
            .await?;
        let (Some(application), Some(endpoint)) = (application, endpoint) else {
            return Ok(job.step(None, 0, 0, true, now()));
        };
        let page = Page {
            limit: PAGE,
            ascending: true,
            after: job.cursor.as_ref().map(ToString::to_string),
        };
        let log = application.log();
        let slice = self.messages().list(log, range(&job), &page).await?;
        let messages: Vec<_> = slice.items.iter().map(|(_, message)| message).collect();
        let keys = messages
            .iter()
            .map(|message| log.message(&message.id).to(&endpoint.id));
        let deliveries = self.deliveries.get_many(keys, Consistency::Strong).await?;
        let mut tasks = Vec::new();
        for message in &messages {
            let delivery = deliveries.get(&log.message(&message.id).to(&endpoint.id));
            let Some(selected) = job.selects(&endpoint, message, delivery, now()) else {
                continue;
            };
            let first = task_of(app.organization, &application, &endpoint, message);
            tasks.push(match selected {
                // Payloads do not wait in the queue: they may be expunged meanwhile.
                Selected::First => Task {
                    payload: None,
                    ..first
                },
                Selected::Overdue(attempt) => first.retry(attempt),
                Selected::Manual => Task {
                    manual: Some(job.id.clone()),
                    payload: None,
                    ..first
                },
            });
        }
        self.queue().send_all(&tasks).await?;
        let cursor = slice.next.as_deref().and_then(|key| key.parse().ok());
        Ok(job.step(
            cursor,
            messages.len(),
            tasks.len(),
            slice.next.is_none(),
            now(),
        ))
    }
}

/// The ids of the messages that a job looks at.
fn range(job: &Job) -> Range {
    Range {
        low: MessageId::lower_bound(job.since).to_string(),
        // Ids are in steps of 4 ms; the job itself is exact.
        high: MessageId::lower_bound(job.until.plus(Duration::from_millis(4))).to_string(),
    }
}
