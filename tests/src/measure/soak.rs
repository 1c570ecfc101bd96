//! Sends many messages through a stack on which everything goes wrong: AWS faults by a seeded plan
//! ([`crate::faults`]), kill -9 of the functions, a restart of the emulators, endpoints that fail,
//! and a purged queue. In the end, every acknowledged message must be finished.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_sdk_sqs::{operation::purge_queue::PurgeQueueError, types::QueueAttributeName as Name};
use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use futures_util::{StreamExt, stream};
use posthorn_domain::{
    delivery::Status,
    id::{EndpointId, MessageId},
    key::DeliveryKey,
    shard::DEFAULT_SHARDS,
};
use posthorn_local::StackOptions;
use posthorn_store::Consistency;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{FaultyAws, Injected, Plan, World};

/// The settings of a soak.
#[derive(Clone, Copy, Debug)]
pub struct SoakOptions {
    /// Messages to post.
    pub messages: usize,
    /// Determines everything that is drawn, except for the order in which things happen.
    pub seed: u64,
    /// The number of concurrent requests of producers.
    pub producers: usize,
    /// How overdue an attempt must be for its task to count as lost, in seconds.
    pub lost_after: u32,
    /// How long all deliveries may take to finish once everything is posted.
    pub patience: Duration,
}

/// The result of a soak.
#[derive(Clone, Debug, Default)]
pub struct SoakReport {
    /// Messages that were acknowledged with 202: all of them, because producers retry.
    pub accepted: usize,
    /// Requests that producers needed for that.
    pub requests: u64,
    /// Finished deliveries by their status.
    pub ended: BTreeMap<&'static str, usize>,
    /// Deliveries that are not finished.
    pub unfinished: usize,
    /// Deliveries that are, or were, recorded as accepted although no endpoint accepted them.
    pub lost: usize,
    /// Deliveries whose end does not match their endpoint's responses: skipped, failed with
    /// attempts left, or not accepted by the endpoint that accepts everything.
    pub wrong: usize,
    /// How often an endpoint accepted a message that it had accepted before.
    pub duplicates: usize,
    /// Requests that endpoints received but no record shows.
    pub unrecorded: usize,
    /// Processes that were killed, by function.
    pub killed: BTreeMap<String, u64>,
    /// Tasks in the queue that were purged.
    pub purged: usize,
    /// Tasks that the auditor queued again.
    pub repaired: u64,
    /// Tasks that were moved back from the dead-letter queue.
    pub redriven: usize,
    /// Tasks that failed and were received again.
    pub failed_tasks: usize,
    /// Tasks that were under way when the whole stack was restarted.
    pub interrupted: usize,
    /// The injected AWS faults.
    pub injected: Option<Injected>,
    /// How long posting took, and the whole soak.
    pub took: (Duration, Duration),
}

impl SoakReport {
    /// The most duplicates that the at-least-once window allows: a killed dispatcher had at most
    /// one batch in progress, a failed task may have made its attempt, and a task that was queued
    /// again (because SQS's response was lost, or by the auditor although none was purged) may run
    /// together with the first.
    pub fn window(&self) -> usize {
        let killed = |function| self.killed.get(function).copied().unwrap_or(0);
        let sent_again = self
            .injected
            .as_ref()
            .map_or(0, |injected| injected.sent_again);
        usize::try_from(killed("DispatcherFunction")).unwrap() * BATCH
            + usize::try_from(killed("SlowDispatcherFunction")).unwrap() * BATCH
            + usize::try_from(sent_again).unwrap()
            + self.failed_tasks
            + self.interrupted
            + self.redriven
            + usize::try_from(self.repaired)
                .unwrap()
                .saturating_sub(self.purged)
    }
}

/// Attempts before a delivery fails.
const ATTEMPTS: usize = 7;

/// The most tasks of one invocation, in both lanes here.
const BATCH: usize = 10;

/// How many of 1,000 requests each endpoint answers with 500; the last one answers with 429, and
/// has a rate.
const FAILING_PER_MILLE: [u16; 4] = [0, 50, 300, 5];
const THROTTLING: usize = 3;
const RATE: u16 = 200;

/// How many of 1,000 requests to that endpoint take so long that it counts as slow.
const SLOW_PER_MILLE: u16 = 2;
const SLOW: Duration = Duration::from_millis(2300);

/// A running soak.
struct Soak {
    options: SoakOptions,
    faults: FaultyAws,
    receiver: Receivers,
    accepted: Mutex<Vec<MessageId>>,
    report: Mutex<SoakReport>,
}

/// Runs a soak.
pub async fn soak(options: SoakOptions) -> SoakReport {
    let started = Instant::now();
    let plan = Plan {
        per_mille: 20,
        storm_every: 1500,
        storm: 120,
    };
    let soak = &Soak {
        options,
        faults: FaultyAws::start(options.seed, plan).await,
        receiver: Receivers::listen(options.seed).await,
        accepted: Mutex::default(),
        report: Mutex::default(),
    };
    let folder = std::env::temp_dir().join(format!(
        "posthorn-soak-{}-{}",
        std::process::id(),
        options.seed
    ));
    let first = soak.world(&folder).await;
    let (application, endpoints) = soak.prepare(&first).await;
    let half = options.messages / 2;
    soak.post(&first, &first.token, &application, 0..half).await;
    soak.interrupt(first).await;
    let second = soak.world(&folder).await;
    let token = second
        .mint(json!({ "application": application.0, "organization": application.1 }))
        .await;
    soak.post(&second, &token, &application, half..options.messages)
        .await;
    let posted = started.elapsed();
    soak.purge(&second).await;
    soak.faults.stop();
    soak.drain(&second, &endpoints).await;
    let report = soak.finish(second, &endpoints).await;
    std::fs::remove_dir_all(folder).unwrap();
    SoakReport {
        took: (posted, started.elapsed()),
        ..report
    }
}

impl Soak {
    /// A stack whose functions reach AWS through the faulty proxies.
    async fn world(&self, folder: &std::path::Path) -> World {
        let parameters = [
            ("RetrySchedule", "1,1,2,3,5,5"),
            ("RequestTimeoutSeconds", "5"),
            ("DispatcherTimeoutSeconds", "30"),
            ("VisibilityTimeoutSeconds", "35"),
            ("SlowBatchSize", "10"),
            ("LostAfterSeconds", &self.options.lost_after.to_string()),
            ("AuditEverySeconds", "5"),
            ("LogLevel", "warn"),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let options = StackOptions {
            data: Some(folder.to_owned()),
            parameters: parameters.map(owned).into(),
            ..StackOptions::default()
        };
        World::with_options_through(options, &self.faults).await
    }

    /// An application with an endpoint of each kind; its id and its organization's.
    async fn prepare(&self, world: &World) -> ((String, String), Vec<EndpointId>) {
        let application = self
            .create_despite_faults(world, "/api/v1/app", &json!({ "name": "Soak" }))
            .await;
        let path = format!("/api/v1/app/{application}/endpoint");
        let mut endpoints = Vec::new();
        for kind in 0..FAILING_PER_MILLE.len() {
            let rate = (kind == THROTTLING).then_some(RATE);
            let body = json!({ "url": self.receiver.url(kind), "rateLimit": rate });
            endpoints.push(
                self.create_despite_faults(world, &path, &body)
                    .await
                    .parse()
                    .unwrap(),
            );
        }
        ((application, world.organization.clone()), endpoints)
    }

    /// Creates something in spite of AWS faults; returns its id.
    async fn create_despite_faults(
        &self,
        world: &World,
        path: &str,
        body: &serde_json::Value,
    ) -> String {
        for n in 0..100 {
            // A repeated request has the same key, so it cannot create a second one.
            let key = format!("soak-{path}-{}", body);
            let headers = [("idempotency-key", key.as_str())];
            let answer = world
                .request(
                    "POST",
                    path,
                    Some(&body.to_string()),
                    &headers,
                    Some(&world.token),
                )
                .await;
            if let Some(id) = answer.body["id"].as_str() {
                return id.to_owned();
            }
            assert!(
                answer.status >= 500 || answer.status == 409,
                "try {n}: {answer:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{path} was refused 100 times");
    }

    /// Posts messages, each until it is acknowledged, while processes are being killed.
    async fn post(
        &self,
        world: &World,
        token: &str,
        application: &(String, String),
        range: std::ops::Range<usize>,
    ) {
        let posts = stream::iter(range).map(|n| self.post_one(world, token, &application.0, n));
        let all = posts
            .buffer_unordered(self.options.producers)
            .collect::<Vec<()>>();
        tokio::select! {
            _ = all => {}
            () = self.kill(world) => {}
        }
    }

    async fn post_one(&self, world: &World, token: &str, application: &str, n: usize) {
        let path = format!("/api/v1/app/{application}/msg");
        let body = json!({ "eventType": "soak.sent", "payload": { "n": n } }).to_string();
        let key = format!("soak-{n}");
        let headers = [("idempotency-key", key.as_str())];
        let end = Instant::now() + self.options.patience;
        while Instant::now() < end {
            self.report.lock().unwrap().requests += 1;
            let answer = world
                .request("POST", &path, Some(&body), &headers, Some(token))
                .await;
            if answer.status == 202 {
                let id = answer.body["id"].as_str().unwrap().parse().unwrap();
                return self.accepted.lock().unwrap().push(id);
            }
            assert!(answer.status >= 500, "{answer:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("message {n} was never acknowledged");
    }

    /// Kills a process of one function after the other, for ever.
    async fn kill(&self, world: &World) {
        for round in 0_u64.. {
            let wait = 700 + u64::from(pseudo_random(&[self.options.seed, round])) % 2000;
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let functions = [
                "DispatcherFunction",
                "IngestFunction",
                "DispatcherFunction",
                "ApiFunction",
                "SlowDispatcherFunction",
                "SchedulerFunction",
            ];
            let function = functions[usize::try_from(round).unwrap() % functions.len()];
            let processes = world.stack.process_ids(function);
            if let Some(process) = processes.first() {
                let mut kill = std::process::Command::new("kill");
                if kill
                    .args(["-9", &process.to_string()])
                    .status()
                    .unwrap()
                    .success()
                {
                    *self
                        .report
                        .lock()
                        .unwrap()
                        .killed
                        .entry(function.to_owned())
                        .or_default() += 1;
                }
            }
            if round % 40 == 3 {
                self.purge(world).await;
            }
            if function == "DispatcherFunction" && round % 4 == 0 {
                // Scheduled invocations come once a minute only.
                self.audit(world).await;
            }
        }
    }

    /// Ends a stack in the middle of its work.
    async fn interrupt(&self, world: World) {
        let sqs = world.aws().await.sqs;
        for url in QUEUES.map(|name| world.stack.queues().url(name)) {
            let count = waiting(&sqs, &url, &[Name::ApproximateNumberOfMessagesNotVisible]).await;
            self.report.lock().unwrap().interrupted += count;
        }
        self.leave(world);
    }

    /// Purges the queue: acknowledged messages' tasks and retries are lost.
    async fn purge(&self, world: &World) {
        let sqs = world.aws().await.sqs;
        for url in QUEUES.map(|name| world.stack.queues().url(name)) {
            let count = waiting(&sqs, &url, &QUEUED).await;
            match sqs.purge_queue().queue_url(url).send().await {
                Ok(_) => self.report.lock().unwrap().purged += count,
                // SQS allows one purge per 60 seconds.
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(PurgeQueueError::is_purge_queue_in_progress) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    async fn audit(&self, world: &World) {
        // A run that is killed fails; the next one continues.
        let _report = world.stack.invoke("SchedulerFunction", &json!({})).await;
    }

    /// Waits until every delivery is finished, while the auditor runs and the dead-letter queue is
    /// moved back.
    async fn drain(&self, world: &World, endpoints: &[EndpointId]) {
        let end = Instant::now() + self.options.patience;
        while Instant::now() < end {
            self.audit(world).await;
            self.redrive(world).await;
            let statuses = self.statuses(world, endpoints).await;
            let open = statuses.values().filter(|status| !is_end(**status));
            match open.count() {
                0 => return,
                open => println!("{open} of {} deliveries to come", statuses.len()),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn redrive(&self, world: &World) {
        let sqs = world.aws().await.sqs;
        let url = world.stack.queues().url("DeliveriesDeadLetterQueue");
        let count = waiting(&sqs, &url, &QUEUED).await;
        if count > 0 {
            self.report.lock().unwrap().redriven += count;
            let arn = "arn:aws:sqs:us-east-1:000000000000:DeliveriesDeadLetterQueue";
            sqs.start_message_move_task()
                .source_arn(arn)
                .send()
                .await
                .unwrap();
        }
    }

    /// The status of every delivery; `None` for one without a record.
    async fn statuses(
        &self,
        world: &World,
        endpoints: &[EndpointId],
    ) -> HashMap<(EndpointId, MessageId), Option<Status>> {
        let deliveries = self.deliveries(world, endpoints).await;
        deliveries
            .into_iter()
            .map(|(key, found)| (key, found.map(|it| it.0)))
            .collect()
    }

    /// Every delivery's status and number of recorded attempts.
    async fn deliveries(
        &self,
        world: &World,
        endpoints: &[EndpointId],
    ) -> HashMap<(EndpointId, MessageId), Option<(Status, usize)>> {
        let table = world.aws().await.deliveries;
        let accepted = self.accepted.lock().unwrap().clone();
        let pairs: Vec<_> = accepted
            .iter()
            .flat_map(|message| {
                endpoints.iter().map(move |endpoint| DeliveryKey {
                    endpoint,
                    message,
                    shards: DEFAULT_SHARDS,
                })
            })
            .collect();
        let mut all = HashMap::new();
        for pairs in pairs.chunks(1000) {
            let found = table
                .get_many(pairs.iter().copied(), Consistency::Strong)
                .await
                .unwrap();
            for key in pairs {
                let delivery = found.get(key).map(|it| (it.status, it.attempts.len()));
                all.insert((key.endpoint.clone(), key.message.clone()), delivery);
            }
        }
        all
    }

    /// Counts what failed and what was repaired, and ends the stack; its state stays in the folder.
    fn leave(&self, world: World) {
        let lines = world.stack.logs();
        let failed = lines.iter().filter(|line| line.contains("a task failed"));
        let metrics = lines.iter().filter_map(|line| {
            let (_, json) = line.split_once("] ")?;
            let line: serde_json::Value = serde_json::from_str(json).ok()?;
            line["TasksRepaired"].as_u64()
        });
        let mut report = self.report.lock().unwrap();
        report.failed_tasks += failed.count();
        report.repaired += metrics.sum::<u64>();
    }

    async fn finish(&self, world: World, endpoints: &[EndpointId]) -> SoakReport {
        let deliveries = self.deliveries(&world, endpoints).await;
        self.leave(world);
        let mut report = self.report.lock().unwrap().clone();
        report.accepted = self.accepted.lock().unwrap().len();
        report.injected = Some(self.faults.injected());
        let received = self.receiver.received.lock().unwrap().clone();
        for ((endpoint, message), delivery) in deliveries {
            let kind = endpoints.iter().position(|it| *it == endpoint).unwrap();
            let got = received
                .get(&(kind, message.to_string()))
                .copied()
                .unwrap_or_default();
            let (name, attempts) = match delivery {
                Some((status, attempts)) => (name(status), attempts),
                None => ("pending", 0),
            };
            *report.ended.entry(name).or_default() += 1;
            report.unfinished += usize::from(!is_end(delivery.map(|it| it.0)));
            let is_accepted = matches!(delivery, Some((Status::Success, _)));
            let is_right = match delivery {
                Some((Status::Success, _)) => true,
                Some((Status::Fail, attempts)) => kind != 0 && attempts >= ATTEMPTS,
                _ => false,
            };
            report.wrong += usize::from(!is_right);
            report.lost += usize::from(is_accepted && got.accepted == 0);
            report.duplicates += got.accepted.saturating_sub(1);
            report.unrecorded += (got.accepted + got.refused).saturating_sub(attempts);
        }
        report
    }
}

const QUEUES: [&str; 2] = ["DeliveriesQueue", "SlowDeliveriesQueue"];

const QUEUED: [Name; 2] = [
    Name::ApproximateNumberOfMessages,
    Name::ApproximateNumberOfMessagesDelayed,
];

/// How many messages a queue has, in these states.
async fn waiting(sqs: &aws_sdk_sqs::Client, url: &str, states: &[Name]) -> usize {
    let attributes = sqs.get_queue_attributes().queue_url(url);
    let attributes = attributes.set_attribute_names(Some(states.to_vec()));
    let found = attributes.send().await.unwrap().attributes;
    let found = found.unwrap_or_default();
    let counts = states
        .iter()
        .filter_map(|name| found.get(name)?.parse::<usize>().ok());
    counts.sum()
}

fn is_end(status: Option<Status>) -> bool {
    matches!(
        status,
        Some(Status::Success | Status::Fail | Status::Skipped)
    )
}

fn name(status: Status) -> &'static str {
    match status {
        Status::Sending => "sending",
        Status::Success => "success",
        Status::Fail => "fail",
        Status::Skipped => "skipped",
    }
}

/// A pseudo-random number, determined by the given numbers.
fn pseudo_random(from: &[u64]) -> u16 {
    let hash = Sha256::digest(format!("{from:?}"));
    u16::from_be_bytes([hash[0], hash[1]])
}

/// What an endpoint received of a message.
#[derive(Clone, Copy, Debug, Default)]
struct Receipts {
    accepted: usize,
    refused: usize,
}

type Received = Arc<Mutex<HashMap<(usize, String), Receipts>>>;

/// Endpoints that fail now and then.
struct Receivers {
    base: String,
    received: Received,
    task: JoinHandle<()>,
}

impl Receivers {
    async fn listen(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let received = Received::default();
        let router = Router::new()
            .route("/{kind}", any(receive))
            .with_state((seed, Arc::clone(&received)));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            base,
            received,
            task,
        }
    }

    fn url(&self, kind: usize) -> String {
        format!("{}/{kind}", self.base)
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(
    State((seed, received)): State<(u64, Received)>,
    Path(kind): Path<usize>,
    headers: HeaderMap,
) -> Response {
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    let (is_refused, is_slow) = {
        let mut received = received.lock().unwrap();
        let number = received.len() as u64;
        let got = received.entry((kind, id.clone())).or_default();
        let tries = (got.accepted + got.refused) as u64;
        let dice = |die| pseudo_random(&[seed, number, tries, kind as u64, die]) % 1000;
        let is_refused = dice(0) < FAILING_PER_MILLE[kind];
        if is_refused {
            got.refused += 1;
        } else {
            got.accepted += 1;
        }
        (is_refused, kind == THROTTLING && dice(1) < SLOW_PER_MILLE)
    };
    if is_slow {
        tokio::time::sleep(SLOW).await;
    }
    match (is_refused, kind) {
        (true, THROTTLING) => {
            let asks = [("retry-after", "1")];
            (StatusCode::TOO_MANY_REQUESTS, asks).into_response()
        }
        (true, _) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        (false, _) => StatusCode::NO_CONTENT.into_response(),
    }
}

impl fmt::Display for SoakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| {
            writeln!(f, "{name:<44} {value:>8}")
        };
        row(f, "messages acknowledged (202)", &self.accepted)?;
        row(f, "requests of producers", &self.requests)?;
        for (status, count) in &self.ended {
            row(f, &format!("deliveries: {status}"), count)?;
        }
        row(f, "deliveries without an end", &self.unfinished)?;
        row(f, "deliveries that ended wrongly", &self.wrong)?;
        row(f, "lost", &self.lost)?;
        row(f, "duplicates (accepted again)", &self.duplicates)?;
        row(f, "  allowed by the at-least-once window", &self.window())?;
        row(f, "requests without a record", &self.unrecorded)?;
        for (function, count) in &self.killed {
            row(f, &format!("kill -9 of {function}"), count)?;
        }
        row(f, "restarts of the whole stack", &1)?;
        row(
            f,
            "tasks that failed and were received again",
            &self.failed_tasks,
        )?;
        row(f, "tasks purged from the queues", &self.purged)?;
        row(f, "tasks repaired by the auditor", &self.repaired)?;
        row(
            f,
            "tasks moved back from the dead-letter queue",
            &self.redriven,
        )?;
        if let Some(injected) = &self.injected {
            row(f, "AWS calls of the functions", &injected.calls)?;
            for ((service, kind), count) in &injected.faults {
                row(f, &format!("  {service}: {kind:?}"), count)?;
            }
        }
        row(f, "seconds to post", &self.took.0.as_secs())?;
        row(f, "seconds in all", &self.took.1.as_secs())
    }
}
