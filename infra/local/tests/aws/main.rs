//! The emulated AWS services as a client sees them: over HTTP, in their JSON protocols.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod credentials;
mod dynamodb;
mod journal;
mod meter;
mod queue;
mod secrets;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use posthorn_local::{
    aws::{Aws, AwsOptions},
    template::Template,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const QUEUE: &str = "DeliveriesQueue";
const DEAD_LETTERS: &str = "DeliveriesDeadLetterQueue";

/// How a test's services are configured.
#[derive(Default)]
struct Options {
    parameters: &'static [(&'static str, &'static str)],
    data: Option<PathBuf>,
    meter: bool,
}

/// The services and a client of them.
struct Services {
    aws: Aws,
    client: reqwest::Client,
}

impl Services {
    async fn start(options: Options) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (dynamodb, sqs) = (listen().await.unwrap(), listen().await.unwrap());
        let parameters = options.parameters.iter();
        let parameters: BTreeMap<_, _> = parameters
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let base = format!("http://{}/000000000000", sqs.local_addr().unwrap());
        let template = Template::load(&parameters, &base).unwrap();
        let (data, meter) = (options.data, options.meter);
        let options = AwsOptions {
            reset: false,
            dynamodb,
            sqs,
            data,
            meter,
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            aws: Aws::start(&template, options).await.unwrap(),
            client: reqwest::Client::new(),
        }
    }

    async fn in_folder(folder: &Folder) -> Self {
        let data = Some(folder.0.clone());
        Self::start(Options {
            data,
            ..Options::default()
        })
        .await
    }

    /// One call: the status and the JSON answer.
    async fn call(&self, url: &str, target: &str, body: String) -> (u16, Value) {
        let key = self.aws.roles().access_key(None);
        self.call_as(key, url, target, body).await
    }

    /// The same, as another caller.
    async fn call_as(&self, key: &str, url: &str, target: &str, body: String) -> (u16, Value) {
        let signature =
            format!("AWS4-HMAC-SHA256 Credential={key}/20261121/us-east-1/x/aws4_request");
        let headers = [
            ("x-amz-target", target),
            ("content-type", "application/x-amz-json-1.0"),
            ("authorization", &signature),
            ("x-amz-date", "20261121T000000Z"),
        ];
        let request = headers
            .iter()
            .fold(self.client.post(url), |request, (name, value)| {
                request.header(*name, *value)
            });
        let response = request.body(body).send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// A call of SQS for the deliveries queue.
    async fn sqs(&self, operation: &str, request: Value) -> (u16, Value) {
        self.sqs_of(QUEUE, operation, request).await
    }

    async fn sqs_of(&self, queue: &str, operation: &str, mut request: Value) -> (u16, Value) {
        request["QueueUrl"] = self.aws.queues().url(queue).into();
        let target = format!("AmazonSQS.{operation}");
        self.call(self.aws.sqs_url(), &target, request.to_string())
            .await
    }

    async fn send(&self, request: Value) -> Value {
        let (status, answer) = self.sqs("SendMessage", request).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Receives with all system attributes, waiting up to `seconds`.
    async fn receive(&self, seconds: u64) -> Vec<Value> {
        let request = json!({
            "MaxNumberOfMessages": 10, "WaitTimeSeconds": seconds, "MessageSystemAttributeNames": ["All"],
        });
        let (status, answer) = self.sqs("ReceiveMessage", request).await;
        assert_eq!(status, 200, "{answer}");
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    async fn dynamodb(&self, operation: &str, request: Value) -> (u16, Value) {
        let target = format!("DynamoDB_20120810.{operation}");
        self.call(self.aws.dynamodb_url(), &target, request.to_string())
            .await
    }
}

fn bodies(messages: &[Value]) -> Vec<&str> {
    messages.iter().filter_map(|m| m["Body"].as_str()).collect()
}

/// Repeats until there is a value, for 10 seconds.
async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < end, "no {what} within 10 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A data folder that is removed after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("posthorn-aws-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
