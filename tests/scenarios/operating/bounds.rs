//! What a request reads does not grow with the size of its organization.

use std::{collections::BTreeMap, time::Instant};

use futures_util::{StreamExt, stream};
use posthorn_domain::{application::Application, id::ApplicationId, shard::DEFAULT_SHARDS};
use posthorn_local::{StackOptions, aws::MeterReport};
use posthorn_runtime::{entropy, now};
use posthorn_tests::{World, until};
use serde_json::{Value, json};

const APPLICATIONS: usize = 10_000;
/// When nobody has called AWS for this long, background work is over.
const QUIET: std::time::Duration = std::time::Duration::from_millis(300);

const ENDPOINTS: usize = 50;
/// The queues that a health check asks: deliveries, and the slow lane.
const QUEUES: u64 = 2;

fn application() -> Application {
    let now = now();
    Application {
        id: ApplicationId::new(now, entropy()),
        uid: None,
        name: "Acme".to_owned(),
        throttle_rate: None,
        metadata: BTreeMap::new(),
        shards: DEFAULT_SHARDS,
        created_at: now,
        updated_at: now,
        deleted: false,
    }
}

/// What a request alone costs, without other calls (the auditor's, those for token keys every ten
/// seconds): the lowest of several measurements.
async fn cost(world: &World, method: &str, path: &str, body: Option<Value>) -> MeterReport {
    let meter = world.stack.meter().unwrap();
    until("nobody calls AWS", || async {
        meter.reset();
        tokio::time::sleep(QUIET).await;
        meter
            .report()
            .calls
            .keys()
            .all(|call| !call.starts_with("DynamoDB"))
            .then_some(())
    })
    .await;
    let mut reports = Vec::new();
    for _ in 0..3 {
        meter.reset();
        world.expect(method, path, body.clone()).await;
        reports.push(meter.report());
    }
    let count = |report: &MeterReport| report.calls.values().sum::<u64>();
    reports.into_iter().min_by_key(count).unwrap()
}

fn calls(report: &MeterReport) -> Vec<(&str, u64)> {
    let dynamodb = report
        .calls
        .iter()
        .filter(|(call, _)| call.starts_with("DynamoDB"));
    dynamodb
        .map(|(call, count)| (call.as_str(), *count))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_applications_and_fifty_endpoints_stay_within_the_read_bound() {
    let world = World::with_options(StackOptions {
        meter: true,
        ..StackOptions::default()
    })
    .await;
    let config = &world.aws().await.config;
    let organization = &world.organization.parse().unwrap();
    let creations = stream::iter(0..APPLICATIONS).map(|_| async move {
        let new = application();
        config
            .applications()
            .create(organization, &new)
            .await
            .unwrap();
        new.id
    });
    let ids: Vec<ApplicationId> = creations.buffer_unordered(32).collect().await;
    let path = format!("/api/v1/app/{}", ids[APPLICATIONS / 2]);
    for _ in 0..ENDPOINTS {
        let disabled = json!({ "url": "https://example.com/", "disabled": true });
        world
            .expect("POST", &format!("{path}/endpoint"), Some(disabled))
            .await;
    }

    let get = cost(&world, "GET", &path, None).await;
    assert_eq!(calls(&get), [("DynamoDB GetItem", 1)]);
    assert!(get.read_units <= 1.0, "{get}");

    let list = cost(&world, "GET", "/api/v1/app?limit=250", None).await;
    assert_eq!(
        calls(&list),
        [("DynamoDB Query", 1)],
        "one Query, whatever there is"
    );
    assert!(
        list.read_units <= 32.0,
        "251 applications of about 300 bytes: {list}"
    );

    let endpoints = cost(&world, "GET", &format!("{path}/endpoint?limit=250"), None).await;
    assert_eq!(
        calls(&endpoints),
        [("DynamoDB GetItem", 1), ("DynamoDB Query", 1)]
    );

    let message = json!({ "eventType": "a.b", "payload": {} });
    let send = cost(&world, "POST", &format!("{path}/msg"), Some(message)).await;
    assert_eq!(
        calls(&send),
        [("DynamoDB PutItem", 1), ("DynamoDB Query", 1)]
    );
    assert!(
        send.read_units <= 8.0,
        "50 endpoints of about 500 bytes, 4 KB a unit: {send}"
    );
    println!("get {get}\nlist {list}\nendpoints {endpoints}\nsend {send}");

    let all = world.pages("/api/v1/app", 250).await;
    assert_eq!(
        (all.0.len(), all.1),
        (APPLICATIONS, APPLICATIONS / 250),
        "and all are listed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_a_filter_leaves_empty_costs_no_more_than_four_rounds() {
    let world = World::with_options(StackOptions {
        meter: true,
        ..StackOptions::default()
    })
    .await;
    let application: ApplicationId = world.application().await.id.parse().unwrap();
    // More than four rounds of 250 messages.
    let messages = &world.aws().await.messages;
    let puts = stream::iter(0..1_200)
        .map(|_| crate::api::pages::store(messages, &application, vec![now()]));
    puts.buffer_unordered(32).collect::<Vec<_>>().await;
    let path = format!("/api/v1/app/{application}/msg?limit=5&event_types=x.y");
    let report = cost(&world, "GET", &path, None).await;
    let queries = 4 * u64::from(DEFAULT_SHARDS);
    assert_eq!(
        calls(&report),
        [("DynamoDB GetItem", 1), ("DynamoDB Query", queries)]
    );
    let page = world.expect("GET", &path, None).await;
    assert_eq!(
        (&page["data"], &page["done"]),
        (&json!([]), &json!(false)),
        "more may follow"
    );
    let rest = path.replace("limit=5&", "");
    let (found, pages) = world.pages(&rest, 5).await;
    assert_eq!(
        (found.len(), pages),
        (0, 2),
        "the second page ends the search"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_health_again_and_again_costs_a_process_one_look_in_two_seconds() {
    let world = World::with_options(StackOptions {
        meter: true,
        ..StackOptions::default()
    })
    .await;
    let meter = world.stack.meter().unwrap();
    let started = Instant::now();
    for _ in 0..50 {
        let answer = world
            .exactly_without_token("GET", "/api/v1/health", &[], "")
            .await;
        assert_eq!(answer.status, 204);
    }
    let looks = meter.report().calls["SQS GetQueueAttributes"] / QUEUES;
    let processes = world.stack.process_ids("ApiFunction").len() as u64;
    let most = processes * (1 + started.elapsed().as_secs() / 2);
    assert!(most < 50, "the requests took too long to show anything");
    assert!((1..=most).contains(&looks), "{looks} looks, at most {most}");
}
