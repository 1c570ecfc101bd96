//! Deliveries whose task was lost are found and queued again.

use std::time::Duration;

use posthorn_domain::{
    application::Application,
    delivery::{Ask, Delivery, record},
    filter::destinations,
    health::Health,
    id::{AttemptId, MessageId},
    key::{AppKey, LogKey},
    message::Message,
    payload::Payload,
};
use posthorn_local::StackOptions;
use posthorn_runtime::{entropy, now};
use posthorn_tests::{Receiver, World, until};
use serde_json::{Value, json};

use crate::delivery::isolation::{set_health, stored};

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{}}"#;

/// A message is checked when it is 2, 12 and 48 seconds old.
const PARAMETERS: [(&str, &str); 3] = [
    ("LostAfterSeconds", "1"),
    ("AuditEverySeconds", "1"),
    ("RetrySchedule", "8"),
];

/// How many messages an audit checked, and how many tasks it repaired.
async fn audit(world: &World) -> (u64, u64) {
    let report: Value = world
        .stack
        .invoke("SchedulerFunction", &json!({}))
        .await
        .unwrap();
    let number = |field: &str| report[field].as_u64().unwrap();
    (number("audited"), number("repaired"))
}

/// Audits until this many tasks were repaired.
async fn repair(world: &World, count: u64) {
    let repaired = std::sync::atomic::AtomicU64::new(0);
    until("the repaired tasks", || async {
        let more = audit(world).await.1;
        let all = repaired.fetch_add(more, std::sync::atomic::Ordering::Relaxed) + more;
        assert!(all <= count, "{all} were repaired");
        (all == count).then_some(())
    })
    .await;
}

async fn purge(world: &World) {
    let clients = world.aws().await;
    let purge = clients.sqs.purge_queue().queue_url(&clients.queue_url);
    purge.send().await.unwrap();
}

/// Waits until this many tasks are in the queue.
async fn wait_for_delayed(world: &World, count: usize) {
    use aws_sdk_sqs::types::QueueAttributeName as Name;
    let clients = world.aws().await;
    until("the tasks that wait", || async {
        let attributes = clients.sqs.get_queue_attributes();
        let attributes = attributes.queue_url(&clients.queue_url);
        let attributes = attributes.attribute_names(Name::ApproximateNumberOfMessagesDelayed);
        let found = attributes.send().await.unwrap().attributes.unwrap();
        let delayed = &found[&Name::ApproximateNumberOfMessagesDelayed];
        (*delayed == count.to_string()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_a_purged_queue_is_delivered() {
    let world = World::with_parameters(PARAMETERS).await;
    let (well, failing) = (
        Receiver::accepting().await,
        Receiver::answering([500]).await,
    );
    let paused = Receiver::accepting().await;
    // One is delivered, one waits for its retry, one for its first attempt.
    let (one, two, three) = (
        world.application().await,
        world.application().await,
        world.application().await,
    );
    world.endpoint(&one, &well).await;
    world.endpoint(&two, &failing).await;
    let away = world.endpoint(&three, &paused).await;
    let health = Health {
        paused_until: Some(now().plus(Duration::from_secs(20))),
        ..Health::default()
    };
    set_health(&world, &three, &away, health).await;
    let pending = world.send(&three.id, MESSAGE).await;
    wait_for_delayed(&world, 1).await;
    let delivered = world.send(&one.id, MESSAGE).await;
    let retried = world.send(&two.id, MESSAGE).await;
    world.attempts(&one, &delivered, 1).await;
    world.attempts(&two, &retried, 1).await;
    wait_for_delayed(&world, 2).await;
    purge(&world).await;

    repair(&world, 2).await;
    assert_eq!(
        world.attempts(&two, &retried, 2).await[0].response_status_code,
        204
    );
    assert_eq!(
        world.attempts(&three, &pending, 1).await[0].response_status_code,
        204
    );
    assert_eq!(
        stored(&world, &three, &away).await.health.paused_until,
        None
    );
    assert_eq!(audit(&world).await.1, 0, "there is nothing left to repair");
    let received = [&well, &failing, &paused].map(|receiver| receiver.received().len());
    assert_eq!(received, [1, 2, 1], "and nothing was sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_repairs_what_ingest_stored_and_did_not_queue() {
    let world = World::with_parameters(PARAMETERS).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let (stored, expired) = (
        message(&world, &application.id, 60).await,
        message(&world, &application.id, 0).await,
    );
    put(&world, &application.id, &stored, None).await;
    put(&world, &application.id, &expired, None).await;
    repair(&world, 1).await;
    assert_eq!(
        receiver.wait_for(1).await[0].header("webhook-id"),
        stored.id.as_str()
    );
    let path = format!("/api/v1/app/{}", application.id);
    // Nothing is sent for an application that was deleted.
    let late = message(&world, &application.id, 60).await;
    put(&world, &application.id, &late, None).await;
    world.expect("DELETE", &path, None).await;
    until("an audit behind the message", || async {
        (now().since(late.created_at) > Duration::from_secs(4)).then_some(())
    })
    .await;
    assert_eq!(audit(&world).await.1, 0);
}

/// A message to all endpoints of an application, kept for this many seconds.
pub(crate) async fn message(world: &World, application: &str, seconds: u64) -> Message {
    let (_, endpoints) = directory(world, application).await;
    let event_type = "a.b".to_owned().try_into().unwrap();
    let now = now();
    Message {
        id: MessageId::new(now, entropy()),
        destinations: destinations(&endpoints, &event_type, None),
        event_type,
        event_id: None,
        channels: None,
        tags: None,
        payload: Some(Payload::from_text(json!({ "text": noise() }).to_string()).unwrap()),
        created_at: now,
        expires_at: now.plus(Duration::from_secs(seconds)),
    }
}

/// 1.5 KB that do not compress.
fn noise() -> String {
    let bytes: [u8; 750] = entropy();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn directory(
    world: &World,
    application: &str,
) -> (Application, Vec<posthorn_domain::endpoint::Endpoint>) {
    let (organization, id) = (
        world.organization.parse().unwrap(),
        application.parse().unwrap(),
    );
    let applications = world.aws().await.config.applications();
    let found = applications.with_endpoints(AppKey::new(&organization, &id));
    found.await.unwrap().unwrap()
}

pub(crate) async fn put(
    world: &World,
    application: &str,
    message: &Message,
    delivery: Option<&Delivery>,
) {
    let clients = world.aws().await;
    let application = application.parse().unwrap();
    let log = LogKey {
        application: &application,
        shards: posthorn_domain::shard::DEFAULT_SHARDS,
    };
    clients.messages.put(log, message).await.unwrap();
    if let Some(delivery) = delivery {
        let key = log
            .message(&message.id)
            .to(&message.destinations[0].endpoint);
        let put = clients.deliveries.put(key, delivery, message.expires_at);
        put.await.unwrap();
    }
}

const STORED: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn a_look_costs_little_and_an_idle_application_nearly_nothing() {
    let options = StackOptions {
        meter: true,
        parameters: PARAMETERS
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..StackOptions::default()
    };
    let world = World::with_options(options).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let first = message(&world, &application.id, 600).await;
    let outcome = posthorn_domain::attempt::Outcome::Response {
        status: 204,
        body: posthorn_domain::attempt::ResponseBody::default(),
        retry_after: None,
    };
    let id = AttemptId::new(now(), entropy());
    let attempt = posthorn_domain::attempt::Attempt::record(
        id,
        receiver.url().to_owned(),
        now(),
        now(),
        &outcome,
    );
    let (delivered, _) = record(
        None,
        &first.event_type,
        Ask::Scheduled(0),
        attempt,
        &"5".parse().unwrap(),
        now(),
        0.5,
    );
    for _ in 0..STORED {
        let message = message(&world, &application.id, 600).await;
        put(&world, &application.id, &message, Some(&delivered)).await;
    }
    let meter = world.stack.meter().unwrap();
    let done = std::sync::Mutex::new((0, 0.0));
    let (seen, units) = until("all messages looked at", || async {
        meter.reset();
        let (audited, repaired) = audit(&world).await;
        assert_eq!(repaired, 0);
        let report = meter.report();
        let mut done = done.lock().unwrap();
        if audited > 0 {
            *done = (done.0 + audited, done.1 + report.read_units);
            println!("{audited} messages of 1.5 KB with one delivery each:\n{report}");
        }
        Some(*done).filter(|(seen, _)| *seen >= STORED as u64)
    })
    .await;
    let each = units / seen as f64;
    println!("{each:.2} RRU for each look at a message");
    assert!(each <= 0.8, "{each}");
}
