//! The warm path: the functions' CPU time for many messages, and their memory meanwhile.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::StatusCode, routing::any};
use futures_util::{StreamExt, stream};
use posthorn_local::StackOptions;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

use super::process::{cpu_of, rss_of};
use crate::World;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct WarmOptions {
    /// Messages after the warm-up.
    pub messages: usize,
    /// Messages per POST: 1 posts each by itself.
    pub batch: usize,
    /// Endpoints of the application.
    pub fan_out: usize,
    /// How long the receiver takes to answer.
    pub answer_after: Duration,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Warm {
    /// From the first POST to the last receipt.
    pub took: Duration,
    /// CPU time of ingest per message.
    pub ingest: Duration,
    /// CPU time of the dispatchers per delivery.
    pub dispatcher: Duration,
    /// Deliveries per invocation of a dispatcher.
    pub together: f64,
    /// CPU time of everything else per delivery: emulators, event source, this client and the
    /// receiver.
    pub rest: Duration,
    /// Resident memory during the run.
    pub memory: Vec<Sample>,
}

/// Memory at a moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The time since the start.
    pub at: Duration,
    /// For each function: its name, the KiB of all its processes together, and their number.
    pub functions: Vec<(String, u64, usize)>,
}

/// How many messages warm up the processes, and how many requests are concurrent.
const WARM_UP: usize = 100;
const IN_FLIGHT: usize = 4;

/// How long all deliveries may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The time between two samples of memory.
const BETWEEN_SAMPLES: Duration = Duration::from_secs(5);

pub(crate) const INGEST: [&str; 1] = ["IngestFunction"];
pub(crate) const DISPATCHERS: [&str; 2] = ["DispatcherFunction", "SlowDispatcherFunction"];

/// Sends the messages through a new stack.
pub async fn warm(options: WarmOptions) -> Warm {
    let received = Arc::new(AtomicUsize::new(0));
    let (url, mut tasks) = receiver(Arc::clone(&received), options.answer_after).await;
    let world = World::with_options(StackOptions {
        parameters: [("LogLevel".to_owned(), "warn".to_owned())].into(),
        ..StackOptions::default()
    });
    let world = Arc::new(world.await);
    let application = world.application().await.id;
    let path = format!("/api/v1/app/{application}/endpoint");
    for n in 0..options.fan_out {
        let url = json!({ "url": format!("{url}/{n}") });
        world.expect("POST", &path, Some(url)).await;
    }
    let send = async |messages: usize| {
        let wanted = received.load(Ordering::Relaxed) + messages * options.fan_out;
        let posts = stream::iter(0..messages / options.batch);
        let posts = posts.for_each_concurrent(IN_FLIGHT, |n| {
            let (world, application) = (Arc::clone(&world), application.clone());
            async move { post(&world, &application, n, options.batch).await }
        });
        posts.await;
        let started = Instant::now();
        while received.load(Ordering::Relaxed) < wanted {
            assert!(started.elapsed() < PATIENCE, "deliveries are missing");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    send(WARM_UP * options.batch).await;
    let memory = Arc::default();
    tasks.spawn(sample(Arc::clone(&world), Arc::clone(&memory)));
    let cpu = || {
        [
            cpu(&world, &INGEST),
            cpu(&world, &DISPATCHERS),
            cpu_of(std::process::id()),
        ]
    };
    let invocations = || {
        let all = world.stack.invocations();
        DISPATCHERS.iter().map(|it| all[*it]).sum::<u64>()
    };
    let (before, dispatched, started) = (cpu(), invocations(), Instant::now());
    send(options.messages).await;
    let (took, after) = (started.elapsed(), cpu());
    let messages = u32::try_from(options.messages).unwrap();
    let deliveries = messages * u32::try_from(options.fan_out).unwrap();
    let [ingest, dispatcher, rest] = [0, 1, 2].map(|n| after[n].saturating_sub(before[n]));
    let memory = memory.lock().unwrap().clone();
    Warm {
        took,
        ingest: ingest / messages,
        dispatcher: dispatcher / deliveries,
        together: f64::from(deliveries) / (invocations() - dispatched) as f64,
        rest: rest / deliveries,
        memory,
    }
}

async fn post(world: &World, application: &str, n: usize, batch: usize) {
    let message = json!({ "eventType": "warm.sent", "payload": { "n": n } });
    if batch == 1 {
        world.send(application, &message.to_string()).await;
        return;
    }
    let path = format!("/api/v1/app/{application}/msg/batch");
    let body = json!({ "messages": vec![message; batch] }).to_string();
    let answer = world.post(&path, &body, &[]).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

/// CPU time of all processes of some functions, none of which may end meanwhile.
pub(crate) fn cpu(world: &World, functions: &[&str]) -> Duration {
    let pids = functions.iter().flat_map(|it| world.stack.process_ids(it));
    pids.map(cpu_of).sum()
}

async fn sample(world: Arc<World>, memory: Arc<Mutex<Vec<Sample>>>) {
    let started = Instant::now();
    loop {
        let names = world.stack.invocations().into_keys();
        let of = |name: String| {
            let pids = world.stack.process_ids(&name);
            let rss = pids.iter().map(|pid| rss_of(*pid)).sum();
            (name, rss, pids.len())
        };
        let mut functions: Vec<_> = names.map(of).collect();
        // This program: emulators, event sources, client and receiver.
        let own = rss_of(std::process::id());
        functions.push(("this program".to_owned(), own, 1));
        let at = started.elapsed();
        memory.lock().unwrap().push(Sample { at, functions });
        tokio::time::sleep(BETWEEN_SAMPLES).await;
    }
}

/// Counts what arrives, and answers after a while.
async fn receiver(received: Arc<AtomicUsize>, answer_after: Duration) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let receive = |State((received, wait)): State<(Arc<AtomicUsize>, Duration)>| async move {
        tokio::time::sleep(wait).await;
        received.fetch_add(1, Ordering::Relaxed);
        StatusCode::NO_CONTENT
    };
    let router = Router::new()
        .fallback(any(receive))
        .with_state((received, answer_after));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, tasks)
}
