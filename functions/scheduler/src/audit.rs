//! The auditor: finds deliveries of which no task can be left, and queues them again.
//!
//! A task is lost when somebody purges the queue, when it lay there for 14 days, or when ingest ended
//! between table and queue and nobody repeated the request. Nobody would notice: the message is
//! stored, and its delivery pending for ever. So the auditor goes round all applications now and
//! then, and looks at each message at four [`AGES`]. What it queues again is harmless when the task
//! was only late.
//!
//! A look costs one eventually consistent read of the message (a page of them at a time) and one of
//! each of its deliveries. An application without messages costs 2 RRU for each age and round.

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

/// How old a message is when it is looked at, as multiples of what counts as lost (1 h): by then the
/// attempts that wait in the queue are overdue for long enough to tell; in the middle of the
/// schedule; when all of its attempts were due (28 hours, with jitter 33); and after 14 days, when
/// whatever made them wait is over.
const AGES: [u32; 4] = [2, 12, 48, 336];

/// At how many of the looks a task of an endpoint that makes its tasks wait is taken for waiting.
const PATIENT_LOOKS: u8 = 2;

/// How far back the first round of a deployment looks.
const FIRST_LOOK_BACK: Duration = Duration::from_secs(14 * 86_400);

/// Messages that are looked at together, and deliveries that are read together.
const PAGE: usize = 100;
const DELIVERIES: usize = 100;

/// What the auditor works with.
#[derive(Debug)]
pub struct Auditor {
    /// All applications, one after another.
    pub scan: ApplicationScan,
    /// One of them, with its endpoints.
    pub applications: Applications,
    /// Messages.
    pub messages: Messages,
    /// What became of them.
    pub deliveries: Deliveries,
    /// How long from the begin of one round to the next.
    pub every: Duration,
    /// How overdue an attempt is when its task counts as lost.
    pub lost_after: Duration,
    /// Where its cursor is kept.
    pub cursor: AuditRow,
    /// When attempts may be made at endpoints with a rate.
    pub slots: SlotRows,
    /// Where lost tasks go.
    pub queue: DeliveriesQueue,
}

/// What a run of the auditor did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Messages that it looked at.
    pub seen: u64,
    /// Tasks that it queued.
    pub repaired: u64,
}

/// An attempt whose task is lost.
struct Lost<'a> {
    message: &'a MessageHead,
    endpoint: &'a EndpointId,
    attempt: u32,
}

impl Auditor {
    /// Goes on with the round, or begins the next one when its time has come; stops before `deadline`.
    /// One GetItem while there is nothing to do.
    ///
    /// # Errors
    /// [`RunError`]; the next run goes on behind the last page that was finished.
    pub async fn run(&self, deadline: Timestamp) -> Result<Audited, RunError> {
        let Some(mut round) = self.round(now()).await? else {
            return Ok(Audited::default());
        };
        let before = round.clone();
        let result = self.go_on(&mut round, deadline).await;
        let audited = Audited {
            seen: round.seen - before.seen,
            repaired: round.repaired - before.repaired,
        };
        let Audited { seen, repaired } = audited;
        tracing::info!(seen, repaired, done = round.done, "audited");
        if seen > 0 {
            // What was repaired counts, even if the run ended early.
            count(Metric::MessagesAudited, seen);
            count(Metric::TasksRepaired, repaired);
        }
        result.map(|()| audited)
    }

    /// The round to go on with.
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

    async fn go_on(&self, round: &mut Audit, deadline: Timestamp) -> Result<(), RunError> {
        while !round.done {
            let (found, next) = self.scan.page(round.at.as_ref()).await?;
            let begun = round.within.take();
            let position =
                |within: &Within| found.iter().position(|it| it.at == within.application);
            let first = begun.as_ref().and_then(position).unwrap_or(0);
            let mut begun = begun.filter(|within| position(within).is_some());
            for found in &found[first..] {
                let at = begun.take().unwrap_or_else(|| Within {
                    application: found.at.clone(),
                    span: 0,
                    shard: 0,
                    after: None,
                });
                match self.audit(round, found, at, deadline).await {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(error) if error.is_of_aws() => return Err(error),
                    // One that cannot be read must not keep the auditor from all others.
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

    /// Looks at an application's messages; `false` when another run has to go on.
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

    /// Looks at a page of messages; gives the last one when there are more.
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
            .flat_map(|(_, message)| meant(message))
            .collect();
        let mut lost = Vec::new();
        for meant in meant.chunks(DELIVERIES) {
            lost.extend(self.lost(meant, application.log()).await?);
        }
        round.seen += slice.items.len() as u64;
        let is_patient = at.span < PATIENT_LOOKS;
        round.repaired += self.repair(found, &lost, is_patient).await?;
        Ok(slice.next.and_then(|id| id.parse().ok()))
    }

    /// Those of some deliveries whose task is lost.
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

    /// Queues lost tasks again; gives how many.
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
            if lost.peek().is_none() || (is_patient && self.makes_wait(endpoint).await?) {
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
            tracing::warn!(msg_id = %task.message, endpoint_id = %task.endpoint, attempt = task.attempt, "its task was lost; queued again");
        }
        self.queue.send_all(&tasks).await?;
        Ok(tasks.len() as u64)
    }

    /// Whether tasks of an endpoint may well be waiting in the queue. A pause that is long over has
    /// nobody left who could find out that it is.
    async fn makes_wait(&self, endpoint: &Endpoint) -> Result<bool, RunError> {
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

/// The endpoints that a message is still to reach, or has reached.
fn meant(message: &MessageHead) -> impl Iterator<Item = (&MessageHead, &EndpointId)> {
    let is_over = message.expunged || message.expires_at <= now();
    let wanted = message.destinations.iter();
    let wanted = wanted.filter(move |destination| !is_over && destination.skipped.is_none());
    wanted.map(move |destination| (message, &destination.endpoint))
}
