//! Operators subscribe to the built-in application and are notified of what happens to endpoints
//! and messages.

use posthorn_domain::application::OPERATIONAL_UID;
use posthorn_tests::{Receiver, Request, World, until};
use serde_json::{Value, json};

const MESSAGE: &str = r#"{"eventType":"a.b","eventId":"evt-1","payload":{}}"#;

/// Subscribes a receiver; returns its endpoint's secret.
async fn subscribe(world: &World, receiver: &Receiver, event_types: Option<Value>) -> String {
    let path = format!("/api/v1/app/{OPERATIONAL_UID}/endpoint");
    let body = json!({ "url": receiver.url(), "eventTypes": event_types });
    let endpoint = world.expect("POST", &path, Some(body)).await;
    let path = format!("{path}/{}/secret", endpoint["id"].as_str().unwrap());
    world.expect("GET", &path, None).await["key"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn event(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// The events that arrived, each once.
fn events(receiver: &Receiver) -> Vec<Value> {
    let mut seen = Vec::new();
    let received = receiver.received();
    let first = received.iter().filter(|request| {
        let id = request.header("webhook-id").to_owned();
        let is_new = !seen.contains(&id);
        seen.push(id);
        is_new
    });
    first.map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_endpoints_are_told() {
    let world = World::start().await;
    let operator = Receiver::accepting().await;
    let secret = subscribe(&world, &operator, None).await;
    world
        .expect(
            "POST",
            "/api/v1/app",
            Some(json!({ "name": "Acme", "uid": "acme" })),
        )
        .await;
    let body = json!({ "url": "https://example.com/", "uid": "main" });
    let endpoint = world
        .expect("POST", "/api/v1/app/acme/endpoint", Some(body))
        .await;
    let path = "/api/v1/app/acme/endpoint/main";
    world
        .expect("PATCH", path, Some(json!({ "description": "x" })))
        .await;
    world.expect("DELETE", path, None).await;
    let requests = operator.wait_for(3).await;
    let mut types: Vec<_> = requests.iter().map(|r| event(r)["type"].clone()).collect();
    types.sort_by_key(ToString::to_string);
    assert_eq!(
        types,
        ["endpoint.created", "endpoint.deleted", "endpoint.updated"]
    );
    for request in &requests {
        request.verify(&secret).unwrap();
        let data = &event(request)["data"];
        assert_eq!(data["endpointId"], endpoint["id"]);
        assert_eq!([&data["appUid"], &data["endpointUid"]], ["acme", "main"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_fail_and_recover_are_told_once() {
    let world = World::with_parameters([("RetrySchedule", "0,0,0,0")]).await;
    let operator = Receiver::accepting().await;
    let types = ["failing", "exhausted", "recovered"].map(|name| format!("message.attempt.{name}"));
    subscribe(&world, &operator, Some(json!(types))).await;
    let receiver = Receiver::answering([500; 5]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    let attempts = world.attempts(&application, &id, 5).await;
    let wait_for_events = |count| {
        let operator = &operator;
        async move {
            until("the events", || async {
                Some(events(operator)).filter(|all| all.len() >= count)
            })
            .await
        }
    };
    wait_for_events(2).await;
    let resend = format!(
        "/api/v1/app/{}/msg/{id}/endpoint/{}/resend",
        application.id, endpoint.id
    );
    world.expect("POST", &resend, None).await;
    // Messages of the same moment may arrive in any order.
    let events = wait_for_events(3).await;
    assert_eq!(events.len(), 3);
    let of_type = |name: &String| events.iter().find(|event| event["type"] == **name).unwrap();
    let events = [&types[0], &types[1], &types[2]].map(of_type);
    for event in events {
        let data = &event["data"];
        assert_eq!(
            [&data["msgId"], &data["msgEventId"]],
            [&json!(id), &json!("evt-1")]
        );
        assert_eq!(data["endpointId"], endpoint.id);
    }
    let last = &events[1]["data"]["lastAttempt"];
    assert_eq!(
        [&last["id"], &last["responseStatusCode"]],
        [&json!(attempts[0].id), &json!(500)]
    );
    assert_eq!(events[2]["data"]["lastAttempt"]["responseStatusCode"], 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_disabled_at_once_and_told() {
    let world = World::with_parameters([("RetrySchedule", "1")]).await;
    let operator = Receiver::accepting().await;
    subscribe(&world, &operator, Some(json!(["endpoint.disabled"]))).await;
    let receiver = Receiver::answering([410]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let path = format!("/api/v1/app/{}/endpoint/{}", application.id, endpoint.id);
    let id = world.send(&application.id, MESSAGE).await;
    let notice = &operator.wait_for(1).await[0];
    assert_eq!(event(notice)["data"]["endpointId"], endpoint.id);
    assert!(event(notice)["data"]["failSince"].is_string());
    let shown = world.expect("GET", &path, None).await;
    assert_eq!(
        [&shown["disabled"], &shown["disabledReason"]],
        [&json!(true), &json!("gone")]
    );
    until("the retry that is skipped", || async {
        let path = format!("/api/v1/app/{}/msg/{id}/endpoint", application.id);
        let list = world.expect("GET", &path, None).await;
        (list["data"][0]["skipped"] == true).then_some(())
    })
    .await;
    assert_eq!(receiver.received().len(), 1);
    let enabled = world
        .expect("PATCH", &path, Some(json!({ "disabled": false })))
        .await;
    assert_eq!(enabled["disabledReason"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_failing_endpoint_tells_nobody() {
    let world = World::with_parameters([("RetrySchedule", "")]).await;
    let operator = Receiver::answering([500; 100]).await;
    subscribe(&world, &operator, None).await;
    let application = world.application().await;
    let body = json!({ "url": "https://example.com/" });
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    world.expect("POST", &path, Some(body)).await;
    operator.wait_for(1).await;
    let list = format!("/api/v1/app/{OPERATIONAL_UID}/msg");
    let messages = world.pages(&list, 50).await.0;
    assert_eq!(
        messages.len(),
        1,
        "its exhausted delivery is no event: {messages:?}"
    );
    assert_eq!(messages[0]["eventType"], "endpoint.created");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_application_is_there_and_cannot_be_changed() {
    let world = World::start().await;
    let path = format!("/api/v1/app/{OPERATIONAL_UID}");
    let application = world.expect("GET", &path, None).await;
    let by_id = format!("/api/v1/app/{}", application["id"].as_str().unwrap());
    assert_eq!(world.expect("GET", &by_id, None).await, application);
    let listed = world.expect("GET", "/api/v1/app", None).await;
    assert_eq!(listed["data"], json!([]), "it is nobody's customer");
    assert_eq!(world.call("DELETE", &path, None).await.status, 409);
    assert_eq!(
        world
            .call("PATCH", &path, Some(json!({ "name": "x" })))
            .await
            .status,
        409
    );
    let taken = world.call(
        "POST",
        "/api/v1/app",
        Some(json!({ "name": "x", "uid": OPERATIONAL_UID })),
    );
    assert_eq!(taken.await.status, 422);
    let filter = json!({ "url": "https://example.com/", "eventTypes": ["invoice.paid"] });
    let refused = world
        .call("POST", &format!("{path}/endpoint"), Some(filter))
        .await;
    assert_eq!(refused.status, 422, "it sends operational events only");
}
