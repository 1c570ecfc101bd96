//! Constant load on 20 endpoints, one of which may stop answering. Measures how long the others'
//! messages take from POST to receipt.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    routing::any,
};
use posthorn_local::StackOptions;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{World, until};

/// The number of endpoints, each in its own application.
pub const ENDPOINTS: usize = 20;

/// How long the load runs before it is measured: functions start, and all endpoints answer.
pub(crate) const WARM_UP: Duration = Duration::from_secs(10);

/// The settings of a run.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Messages per second, over all endpoints.
    pub rate: u32,
    /// How long it runs after a warm-up of 10 s.
    pub length: Duration,
    /// Whether one endpoint stops answering when the warm-up is over.
    pub hanging: bool,
}

/// How long the healthy endpoints' messages took, sorted.
#[derive(Clone, Debug)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// The time that at least this part of the messages did not exceed; `part` is from 0 to 1.
    ///
    /// # Panics
    /// When there are none.
    pub fn percentile(&self, part: f64) -> Duration {
        let index = (self.0.len() - 1) as f64 * part;
        self.0[index.round() as usize]
    }

    /// How many messages there were.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The latencies of several runs together.
    pub fn merged(runs: &[Self]) -> Self {
        let mut all: Vec<_> = runs.iter().flat_map(|run| run.0.clone()).collect();
        all.sort();
        Self(all)
    }
}

#[derive(Clone)]
struct Shared {
    posted: Arc<Mutex<Vec<Option<Instant>>>>,
    took: Arc<Mutex<Vec<Duration>>>,
    hanging: Arc<AtomicBool>,
    warm_up: usize,
}

/// Runs the load.
pub async fn load(options: LoadOptions) -> Latencies {
    let messages = |length: Duration| usize::try_from(u64::from(options.rate) * length.as_secs());
    let count = messages(WARM_UP + options.length).unwrap();
    let shared = Shared {
        posted: Arc::new(Mutex::new(vec![None; count])),
        took: Arc::default(),
        hanging: Arc::default(),
        warm_up: messages(WARM_UP).unwrap(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/{endpoint}", any(receive))
        .with_state(shared.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let stack = StackOptions {
        parameters: [("LogLevel".to_owned(), "warn".to_owned())].into(),
        ..StackOptions::default()
    };
    let world = Arc::new(World::with_options(stack).await);
    let applications = prepare(&world, &base).await;
    post(options, &shared, &world, &applications, count).await;
    let counted = (shared.warm_up..count).filter(|n| n % ENDPOINTS != 0);
    let healthy = counted.count();
    until("the messages of the healthy endpoints", || async {
        (shared.took.lock().unwrap().len() >= healthy).then_some(())
    })
    .await;
    let mut took = shared.took.lock().unwrap().clone();
    took.sort();
    Latencies(took)
}

/// Applications with one endpoint each.
async fn prepare(world: &World, base: &str) -> Vec<String> {
    let mut applications = Vec::new();
    for endpoint in 0..ENDPOINTS {
        let application = world.application().await.id;
        let path = format!("/api/v1/app/{application}/endpoint");
        let url = json!({ "url": format!("{base}/{endpoint}") });
        world.expect("POST", &path, Some(url)).await;
        applications.push(application);
    }
    applications
}

/// Posts messages at the rate, and waits until all are acknowledged.
async fn post(
    options: LoadOptions,
    shared: &Shared,
    world: &Arc<World>,
    applications: &[String],
    count: usize,
) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / options.rate);
    let mut posts = JoinSet::new();
    for n in 0..count {
        ticks.tick().await;
        if n == shared.warm_up {
            shared.hanging.store(options.hanging, Ordering::Relaxed);
        }
        let (world, application) = (Arc::clone(world), applications[n % ENDPOINTS].clone());
        shared.posted.lock().unwrap()[n] = Some(Instant::now());
        posts.spawn(async move {
            let body = json!({ "eventType": "load.sent", "payload": { "n": n } });
            world.send(&application, &body.to_string()).await;
        });
    }
    while let Some(done) = posts.join_next().await {
        done.unwrap();
    }
}

/// The first endpoint is never counted: it is the one that may hang.
async fn receive(
    State(shared): State<Shared>,
    Path(endpoint): Path<usize>,
    body: Bytes,
) -> StatusCode {
    let at = Instant::now();
    if endpoint == 0 && shared.hanging.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let n = usize::try_from(body["n"].as_u64().unwrap()).unwrap();
    if endpoint != 0 && n >= shared.warm_up {
        let posted = shared.posted.lock().unwrap()[n].unwrap();
        shared.took.lock().unwrap().push(at - posted);
    }
    StatusCode::NO_CONTENT
}
