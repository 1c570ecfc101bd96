//! Prefetching for many tasks, also when DynamoDB does not process all keys.

use std::time::Duration;

use aws_sdk_dynamodb::config::{Credentials, Region};
use axum::{Router, body::Bytes, routing::any};
use posthorn_domain::{
    delivery::skip,
    id::{ApplicationId, EndpointId, MessageId, OrganizationId},
    key::{AppKey, DeliveryKey},
};
use posthorn_runtime::{entropy, now};
use posthorn_store::{ConfigTable, Deliveries, Lookup};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::emulators;

/// A DynamoDB that is too busy to return deliveries.
async fn busy(body: Bytes) -> String {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let left = &request["RequestItems"]["DeliveriesTable"];
    let unprocessed = json!({ "DeliveriesTable": left });
    json!({ "Responses": { "ConfigTable": [] }, "UnprocessedKeys": unprocessed }).to_string()
}

struct Ids(OrganizationId, ApplicationId, EndpointId, MessageId);

impl Ids {
    fn new() -> Self {
        Self(
            OrganizationId::new(now(), entropy()),
            ApplicationId::new(now(), entropy()),
            EndpointId::new(now(), entropy()),
            MessageId::new(now(), entropy()),
        )
    }

    fn lookup(&self) -> Lookup<'_> {
        Lookup {
            endpoint: AppKey::new(&self.0, &self.1).endpoint(&self.2),
            delivery: Some(self.delivery()),
        }
    }

    fn delivery(&self) -> DeliveryKey<'_> {
        DeliveryKey {
            endpoint: &self.2,
            message: &self.3,
            shards: 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dynamodb_does_not_come_to_is_not_taken_for_missing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(any(busy));
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let settings = posthorn_runtime::aws::settings()
        .endpoint_url(url)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"));
    let client = aws_sdk_dynamodb::Client::new(&settings.load().await);
    let endpoints = ConfigTable::new(client.clone(), "ConfigTable").endpoints();
    let deliveries = Deliveries::new(client, "DeliveriesTable");
    let ids = Ids::new();
    let gathered = deliveries
        .prefetch(&endpoints, &[ids.lookup()])
        .await
        .unwrap();
    assert_eq!(gathered.delivery(ids.lookup()), None);
    assert_eq!(gathered.endpoint(ids.lookup()), Some(None));
    server.abort();
}

/// More keys than one BatchGetItem accepts, with duplicates, which it refuses.
#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_tasks_is_read() {
    let (_aws, clients) = emulators(&[], None).await;
    let ids: Vec<_> = (0..130).map(|_| Ids::new()).collect();
    let wanted: Vec<_> = ids.iter().chain(&ids).map(Ids::lookup).collect();
    let skipped = skip(None, &"a.b".to_owned().try_into().unwrap());
    for ids in ids.iter().step_by(10) {
        let until = now().plus(Duration::from_secs(3600));
        let deliveries = &clients.deliveries;
        let put = deliveries.put(ids.delivery(), &skipped, until);
        put.await.unwrap();
    }
    let endpoints = clients.config.endpoints();
    let prefetched = clients.deliveries.prefetch(&endpoints, &wanted).await;
    let prefetched = prefetched.unwrap();
    for (n, wanted) in wanted.into_iter().enumerate() {
        let stored = (n % 10 == 0).then(|| skipped.clone());
        assert_eq!(prefetched.delivery(wanted), Some(stored), "{n}");
        assert_eq!(prefetched.endpoint(wanted), Some(None));
    }
}
