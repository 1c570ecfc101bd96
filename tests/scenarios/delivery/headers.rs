//! Headers that customers add to the requests to their endpoints.

use posthorn_tests::{Receiver, World};
use serde_json::{Value, json};

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_set_changed_removed_and_sent_and_credentials_are_not_shown() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let path = format!(
        "/api/v1/app/{}/endpoint/{}/headers",
        application.id, endpoint.id
    );
    let set =
        json!({ "headers": { "X-Team": "a", "Authorization": "Bearer s3cret", "X-Gone": "1" } });
    world.expect("PUT", &path, Some(set)).await;
    let shown =
        json!({ "headers": { "X-Team": "a", "X-Gone": "1" }, "sensitive": ["Authorization"] });
    assert_eq!(world.expect("GET", &path, None).await, shown);
    let change = json!({ "headers": { "x-team": "b", "X-GONE": null } });
    world.expect("PATCH", &path, Some(change)).await;
    let shown = json!({ "headers": { "x-team": "b" }, "sensitive": ["Authorization"] });
    assert_eq!(world.expect("GET", &path, None).await, shown);

    world.send(&application.id, MESSAGE).await;
    let request = &receiver.wait_for(1).await[0];
    request
        .verify(&world.secret(&application, &endpoint).await)
        .unwrap();
    assert_eq!(request.header("x-team"), "b");
    assert_eq!(
        request.header("authorization"),
        "Bearer s3cret",
        "the change kept it"
    );
    assert_eq!(request.header("x-gone"), "");

    world
        .expect("PUT", &path, Some(json!({ "headers": {} })))
        .await;
    world.send(&application.id, MESSAGE).await;
    assert_eq!(
        receiver.wait_for(2).await[1].header("authorization"),
        "",
        "all were replaced"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_would_break_a_request_are_refused() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let path = format!(
        "/api/v1/app/{}/endpoint/{}/headers",
        application.id, endpoint.id
    );
    let long = "x".repeat(4097);
    for (name, value) in [
        ("Webhook-Id", "msg_1"),
        ("svix-signature", "v1,x"),
        ("Webhook_Signature", "v1,x"),
        ("svix_id", "msg_1"),
        ("X-Amz-Security-Token", "x"),
        ("x_goog_iam", "x"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X_Real_IP", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
        ("Host", "example.com"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("a b", "x"),
        ("", "x"),
        ("X-A", "a\r\nX-B: c"),
        ("X-A", "grüß"),
        ("X-A", &long),
    ] {
        for method in ["PUT", "PATCH"] {
            let body = json!({ "headers": { name: value } });
            let refused = world.call(method, &path, Some(body)).await;
            assert_eq!(refused.status, 422, "{method} {name}: {refused:?}");
            assert_eq!(refused.body["detail"][0]["loc"], json!(["body", "headers"]));
        }
    }
    let many: serde_json::Map<_, _> = (0..101).map(|n| (format!("X-{n}"), json!(""))).collect();
    for method in ["PUT", "PATCH"] {
        let body = json!({ "headers": many });
        let refused = world.call(method, &path, Some(body)).await;
        assert_eq!(refused.status, 422, "{method}: {refused:?}");
        assert_eq!(refused.body["detail"][0]["loc"][1], "headers");
    }
    let shown = world.expect("GET", &path, None).await;
    assert_eq!(
        shown,
        json!({ "headers": {}, "sensitive": [] }),
        "nothing was stored"
    );
    let create = format!("/api/v1/app/{}/endpoint", application.id);
    for headers in [
        json!({ "X-A": "1", "x-a": "2" }),
        json!({ "webhook_id": "msg_1" }),
        json!(many),
    ] {
        let body = json!({ "url": receiver.url(), "headers": headers });
        assert_eq!(world.call("POST", &create, Some(body)).await.status, 422);
    }
    assert_eq!(
        world.call("PUT", &path, Some(Value::Null)).await.status,
        422
    );
}
