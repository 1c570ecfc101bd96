//! Whatever an endpoint does is recorded with its class, in time, and retried.

use std::time::{Duration, Instant};

use posthorn_domain::{failure::Failure, key::AppKey};
use posthorn_tests::{Broken, Fault, Receiver, World, until};
use serde_json::json;

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{}}"#;

/// The deadline of an attempt: the shortest that the template allows.
const DEADLINE_SECONDS: u64 = 5;

/// The result of one attempt at a URL: the status code, the response as it is shown, and the
/// duration.
async fn attempt(world: &World, url: String) -> (i16, String, Duration) {
    let application = world.application().await;
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    world
        .expect("POST", &path, Some(json!({ "url": url })))
        .await;
    let started = Instant::now();
    let id = world.send(&application.id, MESSAGE).await;
    let attempt = world.attempts(&application, &id, 1).await.remove(0);
    (
        attempt.response_status_code,
        attempt.response,
        started.elapsed(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_has_its_class_within_the_deadline() {
    let seconds = DEADLINE_SECONDS.to_string();
    let parameters = [
        ("RequestTimeoutSeconds", seconds.as_str()),
        ("RetrySchedule", "3600"),
    ];
    let world = &World::with_parameters(parameters).await;
    let broken = async |fault, scheme: &str, expected: Failure| {
        let server = Broken::listen(fault).await;
        let (status, response, took) =
            attempt(world, format!("{scheme}://127.0.0.1:{}/", server.port())).await;
        assert_eq!((status, response), (0, expected.to_string()), "{fault:?}");
        let limit = Duration::from_secs(DEADLINE_SECONDS + 5);
        assert!(took < limit, "{fault:?} took {took:?}");
        println!("{fault:?} over {scheme}: {expected:?} after {took:?}");
    };
    let name = async || {
        let (status, response, _) = attempt(world, "http://nothing.invalid/".to_owned()).await;
        assert_eq!((status, response), (0, Failure::NoAddress.to_string()));
    };
    // The status decides; a body that does not end is cut off.
    let answered = async |fault, body: &str| {
        let server = Broken::listen(fault).await;
        let (status, response, _) =
            attempt(world, format!("http://127.0.0.1:{}/", server.port())).await;
        assert_eq!(status, 200, "{fault:?}");
        assert!(response.starts_with(body), "{fault:?}: {response}");
    };
    let endless = "x".repeat(4096);
    tokio::join!(
        broken(Fault::Close, "http", Failure::Closed),
        broken(Fault::Garbage, "http", Failure::NotHttp),
        broken(Fault::Garbage, "https", Failure::NotTls),
        answered(Fault::Headers, ""),
        answered(Fault::CutBody, "xx"),
        answered(Fault::Drip, "x"),
        answered(Fault::Endless, &endless),
        name(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_cut_body_is_a_success_and_sent_once() {
    let world = World::with_parameters([("RetrySchedule", "1,1,1,1,1,1")]).await;
    let server = Broken::listen(Fault::CutBody).await;
    let application = world.application().await;
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    // The URL as typed, which differs from what is sent.
    let url = format!("HTTP://127.0.0.1:{}/a/../b", server.port());
    let created = world
        .expect("POST", &path, Some(json!({ "url": url })))
        .await;
    let parsed = format!("http://127.0.0.1:{}/b", server.port());
    assert_eq!(created["url"], parsed);
    let id = world.send(&application.id, MESSAGE).await;
    let path = format!("/api/v1/app/{}/msg/{id}/endpoint", application.id);
    until("the delivery's success", || async {
        let list = world.expect("GET", &path, None).await;
        (list["data"][0]["status"] == 0).then_some(())
    })
    .await;
    let path = format!("/api/v1/app/{}/attempt/msg/{id}", application.id);
    let attempts = world.expect("GET", &path, None).await;
    let attempt = &attempts["data"][0];
    assert_eq!(
        (
            &attempt["status"],
            &attempt["responseStatusCode"],
            &attempt["response"]
        ),
        (&json!(0), &json!(200), &json!("xx")),
    );
    let note = json!("the connection ended before the body did");
    assert_eq!(
        (&attempt["responseNote"], &attempt["url"]),
        (&note, &json!(parsed))
    );
    assert_eq!(attempts["data"].as_array().unwrap().len(), 1);
    assert_eq!(server.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_may_ask_to_be_left_alone_for_longer() {
    let world = World::with_parameters([("RetrySchedule", "1")]).await;
    for (value, expected) in [("7200", 7200), ("1000000", 86_400), ("soon", 1), ("0", 1)] {
        let receiver = Receiver::answering_with([503], "retry-after", value).await;
        let application = world.application().await;
        world.endpoint(&application, &receiver).await;
        let id = world.send(&application.id, MESSAGE).await;
        let sent_at = posthorn_runtime::now();
        if expected == 1 {
            receiver.wait_for(2).await;
            continue;
        }
        let next = until("the next attempt's time", || async {
            let path = format!("/api/v1/app/{}/msg/{id}/endpoint", application.id);
            let list = world.expect("GET", &path, None).await;
            list["data"][0]["nextAttempt"].as_str().map(str::to_owned)
        })
        .await;
        let next = posthorn_domain::timestamp::Timestamp::parse_rfc3339(&next).unwrap();
        let wait = next.since(sent_at).as_secs();
        assert!(
            (expected - 5..=expected + 60).contains(&wait),
            "{value}: {wait} s"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_only_fails_is_disabled_and_a_success_in_between_resets() {
    let parameters = [
        ("DisableAfterSeconds", "6"),
        ("RetrySchedule", "1,1,1,1,1,1,1,1"),
    ];
    let world = World::with_parameters(parameters).await;
    let operator = Receiver::accepting().await;
    let subscribe = json!({ "url": operator.url(), "eventTypes": ["endpoint.disabled"] });
    world
        .expect(
            "POST",
            "/api/v1/app/posthorn.operational/endpoint",
            Some(subscribe),
        )
        .await;
    // One of the two endpoints recovers in time.
    let failing = Receiver::answering([500; 20]).await;
    let flapping = Receiver::answering([500, 200]).await;
    let application = world.application().await;
    let bad = world.endpoint(&application, &failing).await;
    let good = world.endpoint(&application, &flapping).await;
    world.send(&application.id, MESSAGE).await;
    let path = |id: &str| format!("/api/v1/app/{}/endpoint/{id}", application.id);
    let notice = &operator.wait_for(1).await[0];
    let event: serde_json::Value = serde_json::from_slice(&notice.body).unwrap();
    assert_eq!(event["data"]["endpointId"], bad.id);
    let shown = world.expect("GET", &path(&bad.id), None).await;
    assert_eq!(
        [&shown["disabled"], &shown["disabledReason"]],
        [&json!(true), &json!("failing")]
    );
    until("the delivery that is skipped", || async {
        let list = format!("{}/msg?status=2", path(&bad.id));
        let list = world.expect("GET", &list, None).await;
        (list["data"][0]["skipped"] == true).then_some(())
    })
    .await;
    assert_eq!(
        world.expect("GET", &path(&good.id), None).await["disabled"],
        false
    );
    let config = world.aws().await.config;
    let [organization, app] = [&world.organization, &application.id];
    let (organization, app) = (organization.parse().unwrap(), app.parse().unwrap());
    let strong = posthorn_store::Consistency::Strong;
    let id = good.id.parse().unwrap();
    let key = AppKey::new(&organization, &app).endpoint(&id);
    let stored = config.endpoints().get(key, strong).await.unwrap();
    let since = stored.unwrap().health.failing_since;
    assert_eq!(since, None, "the success reset it");
    let secret = world.secret(&application, &good).await;
    flapping.wait_for(2).await[1].verify(&secret).unwrap();
}
