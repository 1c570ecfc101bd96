//! A failed attempt is recorded and retried.

use std::time::Duration;

use posthorn_store::minute_of;
use posthorn_tests::client::MessageStatus;
use posthorn_tests::{Receiver, World, until};

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{"n":1}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_500_is_retried_and_then_succeeds() {
    let world = World::with_parameters([("RetrySchedule", "1,1")]).await;
    let receiver = Receiver::answering([500]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;

    let requests = receiver.wait_for(2).await;
    let secret = world.secret(&application, &endpoint).await;
    for request in &requests {
        request.verify(&secret).unwrap();
        assert_eq!(request.header("webhook-id"), id, "constant over retries");
    }
    let timestamps: Vec<i64> = requests
        .iter()
        .map(|r| r.header("webhook-timestamp").parse().unwrap())
        .collect();
    assert!(
        timestamps[1] > timestamps[0],
        "fresh per attempt: {timestamps:?}"
    );
    let attempts = world.attempts(&application, &id, 2).await;
    let codes: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt.response_status_code)
        .collect();
    assert_eq!(codes, [204, 500], "newest first");
    assert!(matches!(attempts[0].status, MessageStatus::Success));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_one_more_than_the_schedule_and_redirects_are_not_followed() {
    let world = World::with_parameters([("RetrySchedule", "1,0")]).await;
    let receiver = Receiver::answering([500, 302, 500, 204]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    let attempts = world.attempts(&application, &id, 3).await;
    assert_eq!(attempts[0].response_status_code, 500);
    assert_eq!(attempts[1].response_status_code, 302);
    let delivery = delivery(&world, &endpoint.id, &id).await.unwrap();
    assert_eq!(delivery.status, posthorn_domain::delivery::Status::Fail);
    assert_eq!(delivery.next_attempt_at, None);
    assert_eq!(
        receiver.received().len(),
        3,
        "no attempt after the last, and no second hop"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_schedule_means_one_attempt() {
    let world = World::with_parameters([("RetrySchedule", "")]).await;
    let receiver = Receiver::answering([500]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    world.attempts(&application, &id, 1).await;
    let delivery = delivery(&world, &endpoint.id, &id).await.unwrap();
    assert_eq!(delivery.status, posthorn_domain::delivery::Status::Fail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_endpoint_does_not_affect_the_others_and_alone_is_retried() {
    let world = World::with_parameters([("RetrySchedule", "1,1")]).await;
    let (healthy, failing) = (
        Receiver::accepting().await,
        Receiver::answering([500, 500]).await,
    );
    let application = world.application().await;
    let healthy_endpoint = world.endpoint(&application, &healthy).await;
    world.endpoint(&application, &failing).await;
    let id = world.send(&application.id, MESSAGE).await;
    assert_eq!(failing.wait_for(3).await.len(), 3);
    world.attempts(&application, &id, 4).await;
    assert_eq!(healthy.received().len(), 1);
    let delivery = delivery(&world, &healthy_endpoint.id, &id).await.unwrap();
    assert_eq!(delivery.status, posthorn_domain::delivery::Status::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_of_more_than_15_minutes_goes_through_the_schedule_table() {
    let world = World::with_parameters([("RetrySchedule", "7200")]).await;
    let receiver = Receiver::answering([500]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    let clients = world.aws().await;
    let due = until("the next attempt's time", || async {
        delivery(&world, &endpoint.id, &id)
            .await
            .and_then(|delivery| delivery.next_attempt_at)
    })
    .await;
    let wait = due.since(posthorn_runtime::now()).as_secs();
    assert!(
        (7200 * 79 / 100..=7200 * 121 / 100).contains(&wait),
        "two hours with jitter: {wait} s"
    );
    let mut row = until("the schedule row", || async {
        let progress = posthorn_store::Progress::default();
        let due = clients
            .schedule
            .due_rows()
            .in_minute(minute_of(due), &progress)
            .await;
        due.unwrap().0.pop()
    })
    .await;

    // Two hours later: the same row, due in a moment.
    row.due = posthorn_runtime::now().plus(Duration::from_millis(500));
    clients.schedule.due_rows().put(&row).await.unwrap();
    let report = world
        .stack
        .invoke("SchedulerFunction", &serde_json::json!({}))
        .await
        .unwrap();
    assert_eq!(report["queued"], 1, "{report}");
    assert_eq!(receiver.wait_for(2).await[1].header("webhook-id"), id);
    assert_eq!(
        world.attempts(&application, &id, 2).await[0].response_status_code,
        204
    );

    let again = world
        .stack
        .invoke("SchedulerFunction", &serde_json::json!({}))
        .await
        .unwrap();
    assert_eq!(
        again["queued"], 0,
        "the cursor has passed that minute: {again}"
    );
}

async fn delivery(
    world: &World,
    endpoint: &str,
    message: &str,
) -> Option<posthorn_domain::delivery::Delivery> {
    let (endpoint, message) = (endpoint.parse().unwrap(), message.parse().unwrap());
    let key = posthorn_domain::key::DeliveryKey {
        endpoint: &endpoint,
        message: &message,
        shards: posthorn_domain::shard::DEFAULT_SHARDS,
    };
    let deliveries = world.aws().await.deliveries;
    deliveries
        .get(key, posthorn_store::Consistency::Strong)
        .await
        .unwrap()
}
