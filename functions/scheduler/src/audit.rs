//! The auditor: finds deliveries whose task must have been lost, and queues it again.
//!
//! A task is lost when somebody purges the queue, when it has been there for 14 days, or when
//! ingest crashed after writing the table and before queueing, and nobody repeated the request.
//! Nobody would notice: the message is stored, and its delivery stays pending for ever. So the
//! auditor regularly goes through all applications and checks each message at four [`AGES`].
//! Queueing a task again is harmless if it was only late.
//!
//! A check costs one eventually consistent read of the message (read in pages) and one of each of
//! its deliveries. An application without messages costs 2 RRU per age and round.

use std::time::Duration;

use posthorn_domain::{
    delivery::lost,
    endpoint::Endpoint,
    health::Lane,
    id::{EndpointId, MessageId},
    key::LogKey,
    timestamp::Timestamp,
};
use posthorn_queue::{DeliveriesQueue, Task};
use posthorn_runtime::{
    metrics::{Metric, count},
    now,
};
use posthorn_store::{
    ApplicationScan, Applications, Audit, AuditRow, Consistency, Deliveries, Found, MessageHead,
    Messages, Page, Range, SlotRows, Within, Written,
};

use crate::{MARGIN, RunError};

/// How old a message is when it is checked, as multiples of the time after which a task counts as
/// lost (1 h): first when attempts that wait in the queue are overdue for long enough to tell; then
/// in the middle of the retry schedule; when all of its attempts were due (28 hours, 33 with
/// jitter); and after 14 days, when whatever made them wait is over.
const AGES: [u32; 4] = [2, 12, 48, 336];

/// At the first checks, up to this many, an overdue task is assumed to be waiting if its endpoint
/// makes tasks wait.
const PATIENT_CHECKS: u8 = 2;

/// How far back a deployment's first round goes.
const FIRST_LOOK_BACK: Duration = Duration::from_secs(14 * 86_400);

/// How many messages are checked together, and how many deliveries are read together.
const PAGE: usize = 100;
const DELIVERIES: usize = 100;

/// The auditor's tables, queue and settings.
#[derive(Debug)]
pub struct Auditor {
    /// All applications, one after another.
    pub scan: ApplicationScan,
    /// One of them, with its endpoints.
    pub applications: Applications,
    /// Messages.
    pub messages: Messages,
    /// Their deliveries.
    pub deliveries: Deliveries,
    /// The time from the start of one round to the start of the next.
    pub every: Duration,
    /// How overdue an attempt must be for its task to count as lost.
    pub lost_after: Duration,
    /// Where its cursor is kept.
    pub cursor: AuditRow,
    /// When attempts may be made at endpoints with a rate.
    pub slots: SlotRows,
    /// Where lost tasks go.
    pub queue: DeliveriesQueue,
}

/// What one run of the auditor did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// How many messages were checked.
    pub seen: u64,
    /// How many tasks were queued again.
    pub repaired: u64,
}

/// An attempt whose task was lost.
struct Lost<'a> {
    message: &'a MessageHead,
    endpoint: &'a EndpointId,
    attempt: u32,
}

impl Auditor {
    /// Continues the round, or starts the next one when it is time; stops before `deadline`. One
    /// GetItem when there is nothing to do.
    ///
    /// # Errors
    /// After a failed read or write; the next run continues after the last page that was finished.
    pub async fn run(&self, deadline: Timestamp) -> Result<Audited, RunError> {
        let Some(mut round) = self.round(now()).await? else {
            return Ok(Audited::default());
        };
        let before = round.clone();
        let result = self.continue_round(&mut round, deadline).await;
        let audited = Audited {
            seen: round.seen - before.seen,
            repaired: round.repaired - before.repaired,
        };
        let Audited { seen, repaired } = audited;
        tracing::info!(seen, repaired, done = round.done, "audited");
        if seen > 0 {
            // Count what was repaired, even if the run ended early.
            count(Metric::MessagesAudited, seen);
            count(Metric::TasksRepaired, repaired);
        }
        result.map(|()| audited)
    }

    /// The round to continue or start; `None` when the next one is not due yet.
    async fn round(&self, now: Timestamp) -> Result<Option<Audit>, RunError> {
        let until = now.minus(self.lost_after * AGES[0]);
        let last = self.cursor.get().await?;
        let (version, from) = match last {
            Some(round) if !round.done => return Ok(Some(round)),
            Some(round) if now.since(round.started_at) < self.every => return Ok(None),
            Some(round) => (round.version, round.until),
            None => (0, until.minus(FIRST_LOOK_BACK)),
        };
        Ok(Some(Audit {
            version,
            started_at: now,
            from,
            until: until.max(from),
            done: false,
            at: None,
            within: None,
            seen: 0,
            repaired: 0,
        }))
    }

    async fn continue_round(&self, round: &mut Audit, deadline: Timestamp) -> Result<(), RunError> {
        while !round.done {
            let (found, next) = self.scan.page(round.at.as_ref()).await?;
            let resumed = round.within.take();
            let position =
                |within: &Within| found.iter().position(|it| it.at == within.application);
            let first = resumed.as_ref().and_then(position).unwrap_or(0);
            let mut resumed = resumed.filter(|within| position(within).is_some());
            for found in &found[first..] {
                let at = resumed.take().unwrap_or_else(|| Within {
                    application: found.at.clone(),
                    span: 0,
                    shard: 0,
                    after: None,
                });
                match self.audit(round, found, at, deadline).await {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(error) if error.is_aws_failure() => return Err(error),
                    // An unreadable application must not stop the audit of all others.
                    Err(error) => {
                        let id = &found.application.id;
                        tracing::error!(app_id = %id, %error, "an application could not be audited");
                    }
                }
            }
            round.done = next.is_none();
            (round.at, round.within) = (next, None);
            if !self.save(round).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Checks an application's messages; `false` when the work is left to another run.
    async fn audit(
        &self,
        round: &mut Audit,
        found: &Found,
        mut at: Within,
        deadline: Timestamp,
    ) -> Result<bool, RunError> {
        loop {
            if now().plus(MARGIN) > deadline {
                round.within = Some(at);
                self.save(round).await?;
                return Ok(false);
            }
            at.after = self.audit_page(round, found, &at).await?;
            if at.after.is_some() {
                round.within = Some(at.clone());
                if !self.save(round).await? {
                    return Ok(false);
                }
                continue;
            }
            at.shard += 1;
            if at.shard >= found.application.shards {
                (at.shard, at.span) = (0, at.span + 1);
            }
            if usize::from(at.span) >= AGES.len() {
                return Ok(true);
            }
        }
    }

    /// Checks a page of messages; returns the last one when there are more.
    async fn audit_page(
        &self,
        round: &mut Audit,
        found: &Found,
        at: &Within,
    ) -> Result<Option<MessageId>, RunError> {
        let application = &found.application;
        let back = self.lost_after * (AGES[usize::from(at.span)] - AGES[0]);
        let range = Range {
            low: MessageId::lower_bound(round.from.minus(back)).to_string(),
            high: MessageId::lower_bound(round.until.minus(back)).to_string(),
        };
        let page = Page {
            limit: PAGE,
            ascending: true,
            after: at.after.as_ref().map(ToString::to_string),
        };
        let slice = self
            .messages
            .heads(&application.id, at.shard, range, &page)
            .await?;
        let meant: Vec<_> = slice
            .items
            .iter()
            .flat_map(|(_, message)| destinations_of(message))
            .collect();
        let mut lost = Vec::new();
        for meant in meant.chunks(DELIVERIES) {
            lost.extend(self.lost(meant, application.log()).await?);
        }
        round.seen += slice.items.len() as u64;
        let is_patient = at.span < PATIENT_CHECKS;
        round.repaired += self.repair(found, &lost, is_patient).await?;
        Ok(slice.next.and_then(|id| id.parse().ok()))
    }

    /// The deliveries whose task was lost.
    async fn lost<'a>(
        &self,
        meant: &[(&'a MessageHead, &'a EndpointId)],
        log: LogKey<'a>,
    ) -> Result<Vec<Lost<'a>>, RunError> {
        let keys = meant
            .iter()
            .map(|(message, endpoint)| log.message(&message.id).to(endpoint));
        let eventual = Consistency::Eventual;
        let deliveries = self.deliveries.get_many(keys, eventual).await?;
        let lost = meant.iter().filter_map(|(message, endpoint)| {
            let delivery = deliveries.get(&log.message(&message.id).to(endpoint));
            let attempt = lost(delivery, message.created_at, now(), self.lost_after)?;
            Some(Lost {
                message,
                endpoint,
                attempt,
            })
        });
        Ok(lost.collect())
    }

    /// Queues lost tasks again; returns how many.
    async fn repair(
        &self,
        found: &Found,
        lost: &[Lost<'_>],
        is_patient: bool,
    ) -> Result<u64, RunError> {
        if lost.is_empty() {
            return Ok(0);
        }
        let application = self.applications.with_endpoints(found.key());
        let Some((application, endpoints)) = application.await? else {
            return Ok(0);
        };
        let mut tasks = Vec::new();
        for endpoint in &endpoints {
            let mut lost = lost
                .iter()
                .filter(|it| *it.endpoint == endpoint.id)
                .peekable();
            if lost.peek().is_none() || (is_patient && self.may_be_waiting(endpoint).await?) {
                continue;
            }
            tasks.extend(lost.map(|lost| Task {
                organization: found.organization.clone(),
                application: application.id.clone(),
                endpoint: endpoint.id.clone(),
                revision: endpoint.revision,
                message: lost.message.id.clone(),
                event_type: lost.message.event_type.clone(),
                shards: application.shards,
                attempt: lost.attempt,
                expires_at: lost.message.expires_at,
                manual: None,
                hops: 0,
                slot: None,
                trace: None,
                payload: None,
                // The dispatcher moves it when the endpoint is slow.
                lane: Lane::Fast,
            }));
        }
        for task in &tasks {
            tracing::warn!(msg_id = %task.message, endpoint_id = %task.endpoint, attempt = task.attempt, "the task was lost and is queued again");
        }
        self.queue.send_all(&tasks).await?;
        Ok(tasks.len() as u64)
    }

    /// Whether tasks of an endpoint are probably waiting in the queue. A pause that ended long ago
    /// does not count: no task is left that would notice its end.
    async fn may_be_waiting(&self, endpoint: &Endpoint) -> Result<bool, RunError> {
        let pause = endpoint.health.paused_until;
        if pause.is_some_and(|until| until.plus(self.lost_after) > now()) {
            return Ok(true);
        }
        let row = match endpoint.throttle_rate {
            Some(rate) => self.slots.next(&endpoint.id, rate).await?,
            None => None,
        };
        Ok(row > Some(now().plus(self.lost_after)))
    }

    /// `false` when another run is ahead.
    async fn save(&self, round: &mut Audit) -> Result<bool, RunError> {
        round.version += 1;
        Ok(self.cursor.put(round).await? == Written::Yes)
    }
}

/// The endpoints that a message goes to or went to.
fn destinations_of(message: &MessageHead) -> impl Iterator<Item = (&MessageHead, &EndpointId)> {
    let is_over = message.expunged || message.expires_at <= now();
    let wanted = message.destinations.iter();
    let wanted = wanted.filter(move |destination| !is_over && destination.skipped.is_none());
    wanted.map(move |destination| (message, &destination.endpoint))
}
