//! A task that makes the dispatcher panic fails alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking, and describes itself"
)]

use std::{process::Command, sync::Arc, time::Duration};

use aws_config::SdkConfig;
use aws_lambda_events::event::sqs::SqsEvent;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::{
    http::{
        HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
    },
    orchestrator::{HttpRequest, HttpResponse},
};
use posthorn_dispatcher::{Dispatcher, Memory, Sender, Settings, Slots, SystemLookup};
use posthorn_domain::{
    address::Policy,
    id::{EndpointId, MessageId},
    timestamp::Timestamp,
};
use posthorn_publish::Publisher;
use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::now;
use posthorn_store::{ConfigTable, Deliveries, MessagesTable, ScheduleTable};
use posthorn_vault::Vault;
use serde_json::json;

/// An AWS that has nothing; what asks it about one endpoint panics.
#[derive(Debug)]
struct Nothing {
    poison: String,
}

impl HttpConnector for Nothing {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default());
        assert!(!body.contains(&self.poison), "asked about the endpoint");
        let status = 200.try_into().unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, "{}".into())))
    }
}

fn client(poison: &EndpointId) -> SharedHttpClient {
    let nothing = SharedHttpConnector::new(Nothing {
        poison: poison.to_string(),
    });
    http_client_fn(move |_, _| nothing.clone())
}

fn dispatcher(poison: &EndpointId) -> Dispatcher {
    let keys = Credentials::new("a", "b", None, None, "test");
    let dynamodb = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(keys.clone())
        .http_client(client(poison));
    let dynamodb = aws_sdk_dynamodb::Client::from_conf(dynamodb.build());
    let sqs = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(keys)
        .http_client(client(poison));
    let sqs = aws_sdk_sqs::Client::from_conf(sqs.build());
    let settings = Settings {
        request_timeout: Duration::from_secs(15),
        svix_headers: false,
        addresses: Policy {
            allow_http: false,
            allow_subnets: vec![],
        },
        lookup: Arc::new(SystemLookup),
    };
    let config = ConfigTable::new(dynamodb.clone(), "config");
    let schedule = ScheduleTable::new(dynamodb.clone(), "schedule");
    Dispatcher {
        publisher: Publisher {
            applications: config.applications(),
            messages: MessagesTable::new(dynamodb.clone(), "messages").messages(),
            queue: DeliveriesQueue::new(sqs, "https://sqs/1/deliveries"),
        },
        endpoints: config.endpoints(),
        jobs: config.jobs(),
        deliveries: Deliveries::new(dynamodb, "deliveries"),
        due: schedule.due_rows(),
        slot_rows: schedule.slots(),
        retries: "5,300".parse().unwrap(),
        disable_after: Duration::from_secs(432_000),
        slots: Slots::default(),
        memory: Memory::default(),
        vault: Vault::from_env(&SdkConfig::builder().build(), config.data_keys()).unwrap(),
        sender: Sender::new(settings).unwrap(),
    }
}

/// A batch of a task for each endpoint.
fn batch(endpoints: &[&EndpointId]) -> SqsEvent {
    let message = MessageId::new(Timestamp::from_millis(1_700_000_000_000), [1; 15]);
    let id = message.as_str().trim_start_matches("msg_");
    let records = endpoints.iter().enumerate().map(|(n, endpoint)| {
        let task = json!({ "attempt": {
            "organization": format!("org_{id}"), "application": format!("app_{id}"), "endpoint": endpoint,
            "revision": 1, "message": message, "event_type": "a.b", "shards": 1, "attempt": 0,
            "expires_at": now().plus(Duration::from_secs(3600)), "payload": {},
        } });
        json!({ "messageId": format!("record-{n}"), "body": task.to_string() })
    });
    serde_json::from_value(json!({ "Records": records.collect::<Vec<_>>() })).unwrap()
}

/// Settings come from the environment, which a process cannot change safely: the test gets one of its own.
#[test]
fn a_task_that_panics_fails_alone() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["batches", "--exact", "--ignored", "--nocapture"])
        .env("SECRETS_KEY", "")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}{errors}"
    );
}

#[tokio::test]
#[ignore = "needs an environment of its own: a_task_that_panics_fails_alone runs it"]
async fn batches() {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let endpoint = |n| EndpointId::new(at, [n; 15]);
    let (poison, fine, other) = (endpoint(1), endpoint(2), endpoint(3));
    let dispatcher = dispatcher(&poison);
    let deadline = now().plus(Duration::from_secs(60));
    for (endpoints, failed) in [
        (vec![&fine, &poison, &other], vec!["record-1"]),
        (vec![&poison], vec!["record-0"]),
        (vec![&fine, &other], vec![]),
        (
            vec![&poison, &fine, &poison, &poison],
            vec!["record-0", "record-2", "record-3"],
        ),
    ] {
        let answer = dispatcher.handle_batch(batch(&endpoints), deadline).await;
        let named = answer.batch_item_failures.into_iter();
        let mut named: Vec<_> = named.map(|it| it.item_identifier).collect();
        named.sort();
        assert_eq!(named, failed, "{endpoints:?}");
    }
}
