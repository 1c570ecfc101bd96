//! What a message costs: AWS calls and units, counted below the SDK, and their price.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::{StreamExt, stream};
use posthorn_local::{StackOptions, aws::MeterReport};
use serde_json::{Value, json};

use super::bill::{
    Counted, DISPATCH_SECONDS, INGEST_SECONDS, KEY_WRITE_UNITS, MEMORY_GB, invocation, prices,
    storage,
};
use crate::{Receiver, World, until};

/// The outcome of a message's deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted at once.
    FirstTry,
    /// Refused once, then accepted.
    OneRetry,
    /// Refused until a schedule of one retry is exhausted.
    Exhausted,
}

impl Outcome {
    fn answers(self) -> &'static [u16] {
        match self {
            Self::FirstTry => &[204],
            Self::OneRetry => &[500, 204],
            Self::Exhausted => &[500, 500],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::FirstTry => "first try",
            Self::OneRetry => "one retry",
            Self::Exhausted => "exhausted",
        }
    }
}

/// A message to measure.
#[derive(Clone, Copy, Debug)]
pub struct CostCase {
    /// Endpoints of its application.
    pub endpoints: usize,
    /// Bytes of its payload.
    pub payload: usize,
    /// The outcome of its deliveries.
    pub outcome: Outcome,
}

/// What a message cost.
#[derive(Clone, Debug)]
pub struct Cost {
    /// What was measured.
    pub case: CostCase,
    /// Calls and units.
    pub report: MeterReport,
    /// Invocations of ingest.
    pub ingests: u64,
    /// Invocations of both dispatchers.
    pub dispatches: u64,
    /// GB-seconds of all these invocations on this machine, where AWS answers in a millisecond.
    pub gb_seconds: f64,
}

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendMode {
    /// Each in its own POST.
    Post,
    /// In POSTs of this many.
    Batch(usize),
    /// Through the messages queue, this many at once.
    Queue(usize),
}

/// What a message to one endpoint cost, by how it was sent.
#[derive(Clone, Debug)]
pub struct SendCost {
    /// How they were sent.
    pub mode: SendMode,
    /// Dollars for all items of the bill; POSTs have a key.
    pub price: f64,
    /// Write units of a message.
    pub write_units: f64,
    /// Read units of a message.
    pub read_units: f64,
    /// SQS requests of a message: its producer's, the functions' and Lambda's.
    pub sqs: f64,
    /// Invocations of ingest and of dispatchers for a message.
    pub invocations: [f64; 2],
}

/// A payload of at most this many bytes that resembles an invoice of a payment provider: lines with
/// random ids and repeating names. Of 200 KiB, 28 KB are stored.
pub fn payload(bytes: usize) -> String {
    const HEAD: &str = r#"{"object":"invoice","customer":"cus_9s6XKzkNRiz8i3","lines":["#;
    let mut text = HEAD.to_owned();
    // A linear congruential generator (Knuth's MMIX), so that equal sizes produce equal payloads.
    let mut state = 1_u64;
    loop {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (id, amount) = (state, state >> 50);
        let line = format!(
            r#"{{"id":"il_{id:016x}","amount":{amount},"currency":"eur","description":"Seat, November 2026","quantity":1}}"#
        );
        if text.len() + line.len() + 3 > bytes {
            break;
        }
        if text.len() > HEAD.len() {
            text.push(',');
        }
        text.push_str(&line);
    }
    text + "]}"
}

/// Messages that warm up: processes start and read their keys.
const WARM_UP: usize = 4;

/// Posts one message to a warm stack as official clients do, with a key, and counts until its last
/// task is deleted.
pub async fn cost(case: CostCase) -> Cost {
    let world = World::with_options(StackOptions {
        meter: true,
        parameters: [("RetrySchedule".to_owned(), "1".to_owned())].into(),
        ..StackOptions::default()
    })
    .await;
    let application = world.application().await;
    let mut receivers = Vec::new();
    for _ in 0..case.endpoints {
        let warm_up = [204; WARM_UP].into_iter();
        let answers = warm_up.chain(case.outcome.answers().iter().copied());
        let receiver = Receiver::answering(answers).await;
        world.endpoint(&application, &receiver).await;
        receivers.push(receiver);
    }
    let body = format!(
        r#"{{"eventType":"invoice.paid","payload":{}}}"#,
        payload(case.payload)
    );
    let path = format!("/api/v1/app/{}/msg", application.id);
    let meter = world.stack.meter().unwrap();
    let keys = AtomicUsize::new(0);
    let deliver = async |attempts: usize| {
        meter.reset();
        let (before, busy) = (invocations(&world), gb_seconds(&world));
        let key = format!("auto_{}", keys.fetch_add(1, Ordering::Relaxed));
        let answer = world.post(&path, &body, &[("idempotency-key", &key)]).await;
        assert_eq!(answer.status, 202);
        let tasks = (case.endpoints * attempts) as u64;
        let report = until("the last deleted task", || async {
            let report = meter.report();
            (report.deleted >= tasks).then_some(report)
        })
        .await;
        let after = invocations(&world);
        Cost {
            case,
            report,
            ingests: after[0] - before[0],
            dispatches: after[1] - before[1],
            gb_seconds: gb_seconds(&world) - busy,
        }
    };
    for _ in 0..WARM_UP {
        deliver(1).await;
    }
    deliver(case.outcome.answers().len()).await
}

/// A stack with one endpoint that accepts messages in any way.
struct Intake {
    world: World,
    mode: SendMode,
    application: String,
    organization: String,
    keys: AtomicUsize,
    sqs: aws_sdk_sqs::Client,
    _receiver: Receiver,
}

impl Intake {
    async fn start(mode: SendMode) -> Self {
        let world = World::with_options(StackOptions {
            meter: true,
            parameters: [("MessagesFromQueue".to_owned(), "true".to_owned())].into(),
            ..StackOptions::default()
        })
        .await;
        let application = world.application().await;
        let receiver = Receiver::accepting().await;
        world.endpoint(&application, &receiver).await;
        Self {
            sqs: world.aws().await.sqs,
            organization: world.organization.clone(),
            application: application.id,
            keys: AtomicUsize::new(0),
            mode,
            world,
            _receiver: receiver,
        }
    }

    /// The messages of one send, and the messages that Lambda deletes from queues for each.
    fn size(&self) -> (usize, usize) {
        match self.mode {
            SendMode::Post => (1, 1),
            SendMode::Batch(size) => (size, 1),
            SendMode::Queue(size) => (size, 2),
        }
    }

    async fn send(&self) {
        let (size, _) = self.size();
        let text = payload(2048);
        let text = format!(r#"{{"eventType":"invoice.paid","payload":{text}}}"#);
        let path = format!("/api/v1/app/{}/msg", self.application);
        let key = format!("auto_{}", self.keys.fetch_add(1, Ordering::Relaxed));
        let key = [("idempotency-key", key.as_str())];
        let answer = match self.mode {
            SendMode::Post => self.world.post(&path, &text, &key).await,
            SendMode::Batch(_) => {
                let texts = vec![text.as_str(); size].join(",");
                let body = format!(r#"{{"messages":[{texts}]}}"#);
                self.world.post(&format!("{path}/batch"), &body, &key).await
            }
            SendMode::Queue(_) => return self.send_to_queue(&text).await,
        };
        assert_eq!(answer.status, 202, "{answer:?}");
    }

    async fn send_to_queue(&self, text: &str) {
        let (organization, application) = (&self.organization, &self.application);
        let body = format!(
            r#"{{"organization":"{organization}","appId":"{application}","message":{text}}}"#
        );
        let send = self.sqs.send_message_batch();
        let mut send = send.queue_url(self.world.stack.queues().url("MessagesQueue"));
        for n in 0..self.size().0 {
            let entry = SendMessageBatchRequestEntry::builder().id(n.to_string());
            send = send.entries(entry.message_body(&body).build().unwrap());
        }
        assert!(send.send().await.unwrap().failed.is_empty());
    }

    /// Sends messages, and waits until all of their tasks are deleted.
    async fn deliver(&self, sendings: usize, at_once: usize) {
        let meter = self.world.stack.meter().unwrap();
        let (size, deletions) = self.size();
        let wanted = meter.report().deleted + (sendings * size * deletions) as u64;
        let sends = stream::iter(0..sendings).map(|_| self.send());
        sends.buffer_unordered(at_once).collect::<Vec<()>>().await;
        until("the last deleted task", || async {
            (meter.report().deleted >= wanted).then_some(())
        })
        .await;
    }
}

/// Concurrent sends while producers are busy.
const BUSY: usize = 32;

/// Sends messages of 2 KB to one endpoint, delivered at the first try, after as many that warm up
/// the stack: one send after another, each when the previous one is delivered, or many at the same
/// time.
pub async fn send_cost(mode: SendMode, is_busy: bool, messages: usize) -> SendCost {
    let intake = Intake::start(mode).await;
    let (size, _) = intake.size();
    let sendings = messages.div_ceil(size);
    let meter = intake.world.stack.meter().unwrap();
    let mut before = [0, 0];
    for _ in 0..2 {
        meter.reset();
        before = invocations(&intake.world);
        if is_busy {
            intake.deliver(sendings, BUSY).await;
        } else {
            for _ in 0..sendings {
                intake.deliver(1, 1).await;
            }
        }
    }
    let (report, after) = (meter.report(), invocations(&intake.world));
    let each = |sum: f64| sum / (sendings * size) as f64;
    let [ingests, dispatches] = [0, 1].map(|n| each((after[n] - before[n]) as f64));
    // Including the producer's own.
    let sqs = each((report.sqs_units + report.event_source_units) as f64);
    let (posts, keys) = match mode {
        SendMode::Queue(_) => (0.0, 0.0),
        SendMode::Post | SendMode::Batch(_) => (1.0 / size as f64, 1.0),
    };
    let counted = Counted {
        posts,
        keys,
        payload: 2048.0,
        deliveries: 1.0,
        attempts: 1.0,
        ingests,
        dispatches,
        write_units: each(report.write_units),
        message_units: 1.0,
        read_units: each(report.read_units),
        sqs_requests: sqs,
    };
    SendCost {
        mode,
        price: counted.price(),
        write_units: counted.write_units,
        read_units: counted.read_units,
        sqs,
        invocations: [ingests, dispatches],
    }
}

/// What all invocations so far are billed for, in GB-seconds.
fn gb_seconds(world: &World) -> f64 {
    let busy = world.stack.busy();
    let all = [
        "IngestFunction",
        "DispatcherFunction",
        "SlowDispatcherFunction",
    ];
    let all: Duration = all.iter().map(|it| busy[*it]).sum();
    all.as_secs_f64() * MEMORY_GB
}

/// Invocations of ingest, and of both dispatchers.
fn invocations(world: &World) -> [u64; 2] {
    let counts = world.stack.invocations();
    let dispatchers = counts["DispatcherFunction"] + counts["SlowDispatcherFunction"];
    [counts["IngestFunction"], dispatchers]
}

impl Cost {
    /// The billed quantities.
    pub fn counted(&self) -> Counted {
        let CostCase {
            endpoints,
            payload,
            outcome,
        } = self.case;
        // Includes the row of its key, which expires after a day.
        let put = self.report.by_operation.get("PutItem MessagesTable");
        Counted {
            posts: 1.0,
            keys: 1.0,
            payload: payload as f64,
            deliveries: endpoints as f64,
            attempts: (endpoints * outcome.answers().len()) as f64,
            ingests: self.ingests as f64,
            dispatches: self.dispatches as f64,
            write_units: self.report.write_units,
            message_units: put.copied().unwrap_or_default() - KEY_WRITE_UNITS,
            read_units: self.report.read_units,
            sqs_requests: (self.report.sqs_units + self.report.event_source_units) as f64,
        }
    }

    /// Dollars for a message, all items included.
    pub fn price(&self) -> f64 {
        self.counted().price()
    }

    /// The same for a simple design: a row for each message, delivery and attempt, each with an
    /// index, a strongly consistent read of the endpoint, and a queue request and an invocation per
    /// task. Logs, traffic and keys are the same.
    pub fn naive_price(&self) -> f64 {
        let CostCase {
            endpoints,
            payload,
            outcome,
        } = self.case;
        let attempts = (endpoints * outcome.answers().len()) as f64;
        let message_units = (payload / 1024 + 1) as f64;
        // Sending and receiving are billed by size; one more request deletes.
        let sqs = 2.0 * payload.div_ceil(65_536).max(1) as f64 + 1.0;
        let task = sqs * prices::SQS_REQUEST
            + invocation(DISPATCH_SECONDS)
            + 4.0 * prices::WRITE_UNIT
            + 2.0 * prices::READ_UNIT;
        prices::HTTP_REQUEST
            + invocation(INGEST_SECONDS)
            + 2.0 * message_units * prices::WRITE_UNIT
            + attempts * task
            + storage(2.0 * 1024.0 * (message_units + endpoints as f64 + attempts))
            + self.counted().unavoidable()
    }

    /// EventBridge with API destinations: no record, no signature, no resend. Retries are free.
    pub fn event_bridge_price(&self) -> f64 {
        let chunks = self.case.payload.div_ceil(65_536).max(1) as f64;
        let endpoints = self.case.endpoints as f64;
        chunks * (prices::EVENT + endpoints * prices::API_DESTINATION)
    }

    /// SNS with HTTP subscriptions: no record, no per-customer signature, no resend.
    pub fn sns_price(&self) -> f64 {
        let chunks = self.case.payload.div_ceil(65_536).max(1) as f64;
        let endpoints = self.case.endpoints as f64;
        chunks * (prices::PUBLISH + endpoints * prices::NOTIFICATION)
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let million = 1_000_000.0;
        let calls: &BTreeMap<String, u64> = &self.report.calls;
        json!({
            "endpoints": self.case.endpoints,
            "payload_bytes": self.case.payload,
            "course": self.case.outcome.name(),
            "calls": calls,
            "write_units": self.report.write_units,
            "read_units": self.report.read_units,
            "sqs_requests": self.report.sqs_units,
            "sqs_requests_event_source": self.report.event_source_units,
            "invocations": self.ingests + self.dispatches,
            "gb_seconds_here": self.gb_seconds,
            "bill": self.counted().bill().iter().map(|it| json!({ "name": it.name, "quantity": it.quantity, "unit": it.unit, "dollars_per_million": it.dollars * million })).collect::<Vec<_>>(),
            "dollars_per_million": self.price() * million,
            "naive": self.naive_price() * million,
            "eventbridge": self.event_bridge_price() * million,
            "sns": self.sns_price() * million,
            "prices_of": prices::DATE,
        })
    }
}

/// The header of a table whose rows are [`Cost`]s.
pub const COST_HEAD: &str = "endpoints  payload  course      WRU    RRU   SQS  invoked  mGB-s   $/million messages   naive  EventBridge    SNS";

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let million = 1_000_000.0;
        let sqs = self.report.sqs_units + self.report.event_source_units;
        write!(
            f,
            "{:>9} {:>8}  {:<9} {:>5} {:>6} {:>5} {:>8} {:>6.2} {:>20.2} {:>7.2} {:>12.2} {:>6.2}",
            self.case.endpoints,
            self.case.payload,
            self.case.outcome.name(),
            self.report.write_units,
            self.report.read_units,
            sqs,
            self.ingests + self.dispatches,
            self.gb_seconds * 1000.0,
            self.price() * million,
            self.naive_price() * million,
            self.event_bridge_price() * million,
            self.sns_price() * million,
        )
    }
}
