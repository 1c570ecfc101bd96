//! Faults between the functions and AWS: a proxy below the SDK that throttles, fails, drops, delays
//! and duplicates calls to DynamoDB and SQS. A seed and the number of the call decide which call
//! gets which fault.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use futures_util::stream;
use posthorn_local::aws::Aws;
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, task::JoinSet};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AwsFault {
    /// It is throttled.
    Throttle,
    /// It is answered with 500.
    Error,
    /// The connection breaks before AWS sees it.
    DropRequest,
    /// AWS executes it, but the connection breaks before the response.
    DropAnswer,
    /// AWS executes it, but the response comes after the SDK's timeout.
    Late,
    /// AWS gets it twice; the first response is returned.
    Double,
}

const KINDS: [AwsFault; 6] = [
    AwsFault::Throttle,
    AwsFault::Error,
    AwsFault::DropRequest,
    AwsFault::DropAnswer,
    AwsFault::Late,
    AwsFault::Double,
];

/// Longer than the functions wait for a response.
const LATE: Duration = Duration::from_secs(4);

/// How often calls get faults.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many of 1,000 calls get a fault.
    pub per_mille: u16,
    /// The number of calls from the start of one storm to the start of the next.
    pub storm_every: u64,
    /// The number of calls in a storm. Most of them get a fault, so that the SDK's retries do not
    /// help.
    pub storm: u64,
}

/// The proxies. Dropping this value ends them.
#[derive(Debug)]
pub struct FaultyAws {
    inner: Arc<Inner>,
    dynamodb: String,
    sqs: String,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Inner {
    seed: u64,
    plan: Plan,
    client: reqwest::Client,
    upstream: Mutex<Option<[String; 2]>>,
    calls: AtomicU64,
    sent_again: AtomicU64,
    stopped: AtomicBool,
    down: AtomicBool,
    counts: Mutex<BTreeMap<(&'static str, AwsFault), u64>>,
}

/// What was injected, by service and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// How many calls there were.
    pub calls: u64,
    /// How many of them got a fault.
    pub faults: BTreeMap<(&'static str, AwsFault), u64>,
    /// Tasks that AWS may have queued twice because of faults.
    pub sent_again: u64,
}

const SERVICES: [&str; 2] = ["DynamoDB", "SQS"];

impl FaultyAws {
    /// Starts the proxies; they have no target before [`Self::connect`].
    pub async fn start(seed: u64, plan: Plan) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let inner = Arc::new(Inner {
            seed,
            plan,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            upstream: Mutex::default(),
            calls: AtomicU64::new(0),
            sent_again: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            down: AtomicBool::new(false),
            counts: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let mut urls = Vec::new();
        for service in 0..SERVICES.len() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("http://{}", listener.local_addr().unwrap()));
            let router = Router::new()
                .fallback(any(handle))
                .layer(DefaultBodyLimit::max(16 * 1024 * 1024))
                .with_state((Arc::clone(&inner), service));
            tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        }
        let [dynamodb, sqs] = urls.try_into().unwrap();
        Self {
            inner,
            dynamodb,
            sqs,
            _tasks: tasks,
        }
    }

    /// The variables that point a function at the proxies.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let variable =
            |service: &str, url: &str| (format!("AWS_ENDPOINT_URL_{service}"), url.to_owned());
        [
            variable("DYNAMODB", &self.dynamodb),
            variable("SQS", &self.sqs),
        ]
        .into()
    }

    /// Sets where calls go.
    pub fn connect(&self, aws: &Aws) {
        let upstream = [aws.dynamodb_url().to_owned(), aws.sqs_url().to_owned()];
        *self.inner.upstream.lock().unwrap() = Some(upstream);
    }

    /// Stops all faults.
    pub fn stop(&self) {
        self.inner.stopped.store(true, Ordering::Relaxed);
        self.inner.down.store(false, Ordering::Relaxed);
    }

    /// Makes every DynamoDB call fail until [`Self::stop`].
    pub fn fail_dynamodb(&self) {
        self.inner.down.store(true, Ordering::Relaxed);
    }

    /// What has been injected so far.
    pub fn injected(&self) -> Injected {
        Injected {
            calls: self.inner.calls.load(Ordering::Relaxed),
            faults: self.inner.counts.lock().unwrap().clone(),
            sent_again: self.inner.sent_again.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AWS calls {}", self.calls)?;
        for ((service, kind), count) in &self.faults {
            write!(f, "\n  {service} {kind:?} {count}")?;
        }
        Ok(())
    }
}

impl Inner {
    /// The fault of the next call, if any.
    fn next(&self, service: usize) -> Option<AwsFault> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.down.load(Ordering::Relaxed) && service == 0 {
            return Some(AwsFault::Error);
        }
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let hash = Sha256::digest(format!("{}/{number}", self.seed));
        let dice = u16::from_be_bytes([hash[0], hash[1]]) % 1000;
        let is_storm = number % self.plan.storm_every >= self.plan.storm_every - self.plan.storm;
        let limit = if is_storm { 900 } else { self.plan.per_mille };
        (dice < limit).then(|| KINDS[usize::from(hash[2]) % KINDS.len()])
    }

    async fn forward(&self, service: usize, headers: &HeaderMap, body: &Bytes) -> Response {
        let upstream = self.upstream.lock().unwrap().clone();
        let Some(upstream) = upstream else {
            return broken();
        };
        let mut headers = headers.clone();
        headers.remove("host");
        headers.remove("content-length");
        let request = self.client.post(&upstream[service]).headers(headers);
        match request.body(body.clone()).send().await {
            Ok(response) => {
                let status = StatusCode::from_u16(response.status().as_u16()).unwrap();
                let kind = [("content-type", "application/x-amz-json-1.0")];
                match response.bytes().await {
                    Ok(body) => (status, kind, body).into_response(),
                    Err(_) => broken(),
                }
            }
            // The emulators are being restarted.
            Err(_) => broken(),
        }
    }
}

async fn handle(
    State((inner, service)): State<(Arc<Inner>, usize)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(fault) = inner.next(service) else {
        return inner.forward(service, &headers, &body).await;
    };
    *inner
        .counts
        .lock()
        .unwrap()
        .entry((SERVICES[service], fault))
        .or_default() += 1;
    if service == 1
        && matches!(
            fault,
            AwsFault::DropAnswer | AwsFault::Late | AwsFault::Double
        )
    {
        let request: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let tasks = request["Entries"].as_array().map_or(1, Vec::len);
        inner.sent_again.fetch_add(tasks as u64, Ordering::Relaxed);
    }
    match fault {
        AwsFault::Throttle => {
            let codes = ["ProvisionedThroughputExceededException", "RequestThrottled"];
            refusal(400, codes[service])
        }
        AwsFault::Error => refusal(500, "InternalServerError"),
        AwsFault::DropRequest => broken(),
        AwsFault::DropAnswer => {
            inner.forward(service, &headers, &body).await;
            broken()
        }
        AwsFault::Late => {
            let answer = inner.forward(service, &headers, &body).await;
            tokio::time::sleep(LATE).await;
            answer
        }
        AwsFault::Double => {
            let answer = inner.forward(service, &headers, &body).await;
            inner.forward(service, &headers, &body).await;
            answer
        }
    }
}

fn refusal(status: u16, code: &str) -> Response {
    let body = format!(r#"{{"__type":"{code}","message":"injected"}}"#);
    let kind = [("content-type", "application/x-amz-json-1.0")];
    (StatusCode::from_u16(status).unwrap(), kind, body).into_response()
}

/// A response whose connection breaks in the middle.
fn broken() -> Response {
    let error = std::io::Error::other("injected");
    Response::new(Body::from_stream(stream::iter([Err::<Bytes, _>(error)])))
}
