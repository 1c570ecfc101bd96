//! A struggling endpoint is left alone, slow ones are kept apart, and rates are respected. No
//! attempt is spent on a task that has to wait.

use std::time::Duration;

use posthorn_domain::{
    endpoint::Endpoint,
    health::{Health, Lane, MessageMark},
    key::AppKey,
};
use posthorn_runtime::now;
use posthorn_store::{Consistency, Written};
use posthorn_tests::client::{ApplicationOut, EndpointOut};
use posthorn_tests::{Receiver, World, until};
use serde_json::json;

use crate::delivery::{
    audit::{message, put},
    tasks::task_of,
};

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{}}"#;

pub(crate) async fn stored(
    world: &World,
    application: &ApplicationOut,
    endpoint: &EndpointOut,
) -> Endpoint {
    let organization = world.organization.parse().unwrap();
    let (application, id) = (
        application.id.parse().unwrap(),
        endpoint.id.parse().unwrap(),
    );
    let config = world.aws().await.config;
    let key = AppKey::new(&organization, &application).endpoint(&id);
    let found = config.endpoints().get(key, Consistency::Strong).await;
    found.unwrap().unwrap()
}

/// Changes an endpoint's health, as its attempts would over hours.
pub(crate) async fn set_health(
    world: &World,
    application: &ApplicationOut,
    endpoint: &EndpointOut,
    health: Health,
) {
    let (organization, id) = (
        world.organization.parse().unwrap(),
        application.id.parse().unwrap(),
    );
    let config = world.aws().await.config;
    until("the endpoint's new health", || async {
        let before = stored(world, application, endpoint).await;
        let after = Endpoint {
            health,
            revision: before.revision + 1,
            ..before
        };
        let app = AppKey::new(&organization, &id);
        let written = config.endpoints().put(app, &after).await;
        (written.unwrap() == Written::Yes).then_some(())
    })
    .await;
}

fn seconds_ago(seconds: u64) -> posthorn_domain::timestamp::Timestamp {
    now().minus(Duration::from_secs(seconds))
}

/// The status codes of messages that get one attempt each.
async fn codes(world: &World, application: &ApplicationOut, ids: &[String]) -> Vec<i16> {
    let mut codes = Vec::new();
    for id in ids {
        let attempts = world.attempts(application, id, 1).await;
        assert_eq!(attempts.len(), 1, "no attempt was spent on waiting");
        codes.push(attempts[0].response_status_code);
    }
    codes
}

async fn send(world: &World, application: &ApplicationOut, count: usize) -> Vec<String> {
    let sends = (0..count).map(|_| world.send(&application.id, MESSAGE));
    futures_util::future::join_all(sends).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_has_too_much_to_do_is_left_alone() {
    // Messages get a single attempt: wasting it would fail the message.
    let world = &World::with_parameters([("RetrySchedule", "")]).await;
    let pause = async |status: u16, after: &'static str, expected: i64| {
        let receiver = Receiver::answering_with([status], "retry-after", after).await;
        let application = world.application().await;
        world.endpoint(&application, &receiver).await;
        let refused = send(world, &application, 1).await;
        assert_eq!(codes(world, &application, &refused).await, [status as i16]);
        let others = send(world, &application, 5).await;
        assert_eq!(
            codes(world, &application, &others).await,
            [204; 5],
            "after {status}"
        );
        let requests = receiver.received();
        assert_eq!(requests.len(), 6);
        let at = |n: usize| {
            requests[n]
                .header("webhook-timestamp")
                .parse::<i64>()
                .unwrap()
        };
        assert!(
            at(1) - at(0) >= expected - 1,
            "after {status}: {}",
            at(1) - at(0)
        );
    };
    tokio::join!(
        pause(429, "8", 8),
        pause(429, "garbage", 5),
        pause(502, "garbage", 5),
        pause(503, "6", 6),
        pause(504, "garbage", 5),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_attempt_finds_out_whether_an_endpoint_works_again() {
    let world = World::with_parameters([("RetrySchedule", "")]).await;
    let receiver = Receiver::answering([500]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let another = posthorn_domain::id::MessageId::new(now(), posthorn_runtime::entropy());
    let down = Health {
        failing_since: Some(seconds_ago(40)),
        failed_first: Some(MessageMark::of(&another)),
        paused_until: Some(seconds_ago(1)),
        ..Health::default()
    };
    set_health(&world, &application, &endpoint, down).await;
    let ids = send(&world, &application, 10).await;
    let codes = codes(&world, &application, &ids).await;
    let failed = codes.iter().filter(|code| **code == 500).count();
    assert_eq!(failed, 1, "{codes:?}");
    let health = stored(&world, &application, &endpoint).await.health;
    assert_eq!((health.failing_since, health.paused_until), (None, None));
    let requests = receiver.received();
    let wait = requests[1].at - requests[0].at;
    assert!(
        wait >= Duration::from_secs(8),
        "a quarter of 40 s: {wait:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_url_or_an_endpoint_that_is_enabled_again_begins_anew() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let path = format!("/api/v1/app/{}/endpoint/{}", application.id, endpoint.id);
    let patch = async |body| world.expect("PATCH", &path, Some(body)).await;
    let paused = Health {
        failing_since: Some(seconds_ago(4000)),
        paused_until: Some(now().plus(Duration::from_secs(900))),
        ..Health::default()
    };
    set_health(&world, &application, &endpoint, paused).await;
    patch(json!({ "description": "as before" })).await;
    assert_eq!(stored(&world, &application, &endpoint).await.health, paused);
    patch(json!({ "url": format!("{}/new", receiver.url()) })).await;
    assert!(
        stored(&world, &application, &endpoint)
            .await
            .health
            .is_well()
    );
    set_health(&world, &application, &endpoint, paused).await;
    patch(json!({ "disabled": true })).await;
    patch(json!({ "disabled": false })).await;
    world.send(&application.id, MESSAGE).await;
    receiver.wait_for(1).await;
}

/// The lane in which a message was attempted.
async fn lane(world: &World, message: &str) -> Lane {
    until(&format!("the log of {message}'s attempt"), || async {
        let lines = world.stack.logs();
        let mut lines = lines
            .iter()
            .filter(|line| line.contains("\"attempted\"") && line.contains(message));
        let line = lines.next()?;
        Some(if line.contains("\"lane\":\"Slow\"") {
            Lane::Slow
        } else {
            Lane::Fast
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_keeps_dispatchers_waiting_gets_a_lane_of_its_own() {
    let world =
        World::with_parameters([("RequestTimeoutSeconds", "10"), ("RetrySchedule", "3600")]).await;
    let hanging = Receiver::answering([0, 0]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &hanging).await;
    let first = world.send(&application.id, MESSAGE).await;
    hanging.wait_for(1).await;
    until("the slow lane, in the middle of the attempt", || async {
        let slow = stored(&world, &application, &endpoint).await.health.lane() == Lane::Slow;
        slow.then_some(())
    })
    .await;
    let path = format!("/api/v1/app/{}/attempt/msg/{first}", application.id);
    let attempts = world.expect("GET", &path, None).await;
    assert_eq!(
        attempts["data"],
        json!([]),
        "the attempt is still under way"
    );
    let second = world.send(&application.id, MESSAGE).await;
    assert_eq!(lane(&world, &second).await, Lane::Slow);
    assert_eq!(lane(&world, &first).await, Lane::Fast);

    // A minute later, the endpoint answers.
    world.attempts(&application, &second, 1).await;
    let slow = Health {
        slow_until: Some(seconds_ago(1)),
        ..Health::default()
    };
    set_health(&world, &application, &endpoint, slow).await;
    let third = world.send(&application.id, MESSAGE).await;
    assert_eq!(lane(&world, &third).await, Lane::Slow);
    until("the end of the slow time", || async {
        stored(&world, &application, &endpoint)
            .await
            .health
            .is_well()
            .then_some(())
    })
    .await;
    let fourth = world.send(&application.id, MESSAGE).await;
    assert_eq!(lane(&world, &fourth).await, Lane::Fast);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_in_the_fast_lane_changes_over_when_its_endpoint_is_slow() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    let task = task_of(&world, &application.id, &id).await;
    let slow = Health {
        slow_until: Some(now().plus(Duration::from_secs(60))),
        ..Health::default()
    };
    world.attempts(&application, &id, 1).await;
    set_health(&world, &application, &endpoint, slow).await;
    let next = message(&world, &application.id, 600).await;
    put(&world, &application.id, &next, None).await;
    let late = posthorn_queue::Task {
        message: next.id.clone(),
        ..task.with_payload(next.payload.as_ref().unwrap())
    };
    world.aws().await.queue.send_all([&late]).await.unwrap();
    assert_eq!(lane(&world, next.id.as_str()).await, Lane::Slow);
}

const RATE: usize = 20;
const MESSAGES: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept_to_by_all_dispatchers_together() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    let endpoint = json!({ "url": receiver.url(), "rateLimit": RATE });
    world.expect("POST", &path, Some(endpoint)).await;
    let ids = send(&world, &application, MESSAGES).await;
    assert_eq!(codes(&world, &application, &ids).await, [204; MESSAGES]);
    let requests = receiver.received();
    assert_eq!(requests.len(), MESSAGES, "each once");
    // While the tasks move to the slow lane, which happens once, few are sent.
    let first = 3 * RATE;
    let took = requests[MESSAGES - 1].at - requests[first].at;
    let rate = (MESSAGES - 1 - first) as f64 / took.as_secs_f64();
    println!("{MESSAGES} messages at a rate of {RATE}: {rate:.1} a second");
    assert!(
        (0.9..=1.1).contains(&(rate / RATE as f64)),
        "{rate} a second"
    );
    let window = Duration::from_secs(3);
    let in_window = |from: &posthorn_tests::Request| {
        let later = requests.iter().filter(|it| it.at >= from.at);
        later.filter(|it| it.at - from.at < window).count()
    };
    let most = requests.iter().map(in_window).max().unwrap();
    println!("at most {most} within {window:?}");
    // Attempts may be half a second late for their slots, and the machine may be busy.
    assert!(most <= RATE * 5, "{most}");
    let dispatchers = ["DispatcherFunction", "SlowDispatcherFunction"]
        .map(|function| world.stack.process_ids(function).len());
    assert!(dispatchers.iter().sum::<usize>() > 1, "{dispatchers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_not_put_back_for_ever() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    receiver.wait_for(1).await;
    let task = task_of(&world, &application.id, &id).await;
    let paused = Health {
        failing_since: Some(seconds_ago(4000)),
        paused_until: Some(now().plus(Duration::from_secs(3600))),
        ..Health::default()
    };
    world.attempts(&application, &id, 1).await;
    set_health(&world, &application, &endpoint, paused).await;
    let payload = posthorn_domain::payload::Payload::from_text("{}".to_owned()).unwrap();
    let message = posthorn_domain::id::MessageId::new(now(), posthorn_runtime::entropy());
    let tired = posthorn_queue::Task {
        hops: 16,
        message: message.clone(),
        ..task.with_payload(&payload)
    };
    world.aws().await.queue.send_all([&tired]).await.unwrap();
    assert_eq!(
        receiver.wait_for(2).await[1].header("webhook-id"),
        message.as_str()
    );
}
