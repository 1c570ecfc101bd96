//! Bad input gets a clear error that names the field, and stores nothing.

use posthorn_tests::{Receiver, World};

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_message_is_checked_and_nothing_is_stored() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    let long = "x".repeat(257);
    let cases = [
        ("eventType", r#"{"payload":{}}"#.to_owned()),
        ("eventType", r#"{"eventType":null,"payload":{}}"#.to_owned()),
        (
            "eventType",
            r#"{"eventType":"a b","payload":{}}"#.to_owned(),
        ),
        (
            "eventType",
            format!(r#"{{"eventType":"{long}","payload":{{}}}}"#),
        ),
        ("payload", r#"{"eventType":"a"}"#.to_owned()),
        (
            "payload",
            r#"{"eventType":"a","payload":"text"}"#.to_owned(),
        ),
        ("payload", r#"{"eventType":"a","payload":[]}"#.to_owned()),
        ("payload", r#"{"eventType":"a","payload":null}"#.to_owned()),
        (
            "eventId",
            r#"{"eventType":"a","payload":{},"eventId":""}"#.to_owned(),
        ),
        (
            "eventId",
            r#"{"eventType":"a","payload":{},"eventId":7}"#.to_owned(),
        ),
        (
            "channels",
            r#"{"eventType":"a","payload":{},"channels":[]}"#.to_owned(),
        ),
        (
            "channels",
            r#"{"eventType":"a","payload":{},"channels":["a","b","c","d","e","f","g","h","i","j","k"]}"#.to_owned(),
        ),
        (
            "channels",
            r#"{"eventType":"a","payload":{},"channels":["a","a"]}"#.to_owned(),
        ),
        (
            "channels",
            r#"{"eventType":"a","payload":{},"channels":["a/b"]}"#.to_owned(),
        ),
        (
            "tags",
            r#"{"eventType":"a","payload":{},"tags":"x"}"#.to_owned(),
        ),
        (
            "payloadRetentionPeriod",
            r#"{"eventType":"a","payload":{},"payloadRetentionPeriod":4}"#.to_owned(),
        ),
        (
            "payloadRetentionPeriod",
            r#"{"eventType":"a","payload":{},"payloadRetentionPeriod":91}"#.to_owned(),
        ),
    ];
    for (field, body) in &cases {
        let answer = world.post(&path, body, &[]).await;
        assert_eq!(answer.status, 422, "{body}");
        let detail = &answer.body["detail"][0];
        assert_eq!(
            (&detail["loc"][0], &detail["loc"][1]),
            (&"body".into(), &(*field).into()),
            "{body}: {detail}"
        );
        assert!(detail["msg"].is_string() && detail["type"].is_string());
    }
    for body in ["", "{", "[]", "null", r#"{"eventType":"a","payload":{}} x"#] {
        let answer = world.post(&path, body, &[]).await;
        assert_eq!(
            (answer.status, &answer.body["detail"][0]["loc"][0]),
            (422, &"body".into()),
            "{body}"
        );
    }
    let listed = world
        .svix
        .message()
        .list(application.id.clone(), None)
        .await
        .unwrap();
    assert!(listed.data.is_empty(), "{listed:?}");
    assert!(receiver.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_may_have_256_kib_and_not_more() {
    let world = World::start().await;
    let application = world.application().await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    let body = |bytes: usize| {
        format!(
            r#"{{"eventType":"a","payload":{{"x":"{}"}}}}"#,
            "y".repeat(bytes - 8)
        )
    };
    assert_eq!(world.post(&path, &body(256 * 1024), &[]).await.status, 202);
    let answer = world.post(&path, &body(256 * 1024 + 1), &[]).await;
    assert_eq!(answer.status, 413);
    assert!(
        answer.body["detail"].as_str().unwrap().contains("256 KiB"),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_application_is_404() {
    let world = World::start().await;
    for name in ["app_2KWPBgLlAfxdpx2AI54pPJ85f4W", "no-such-uid"] {
        let path = format!("/api/v1/app/{name}/msg");
        let answer = world
            .post(&path, r#"{"eventType":"a","payload":{}}"#, &[])
            .await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (404, &"not_found".into())
        );
    }
    let answer = world
        .post(
            "/api/v1/app/a%20b/msg",
            r#"{"eventType":"a","payload":{}}"#,
            &[],
        )
        .await;
    assert_eq!(
        (answer.status, &answer.body["detail"][0]["loc"][1]),
        (422, &"app_id".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_large_bodies_are_checked() {
    let world = World::start().await;
    for (query, field) in [
        ("limit=abc", "limit"),
        ("limit=0", "limit"),
        ("limit=251", "limit"),
        ("order=up", "order"),
    ] {
        let answer = world.get(&format!("/api/v1/app?{query}")).await;
        assert_eq!(answer.status, 422, "{query}: {answer:?}");
        assert_eq!(
            answer.body["detail"][0]["loc"],
            serde_json::json!(["query", field]),
            "{answer:?}"
        );
    }
    for path in [
        "/api/v1/app?iterator=garbage",
        "/api/v1/app?iterator=-",
        "/api/v1/event-type?iterator=%00",
    ] {
        let answer = world.get(path).await;
        assert_eq!(
            (answer.status, &answer.body["detail"][0]["loc"][1]),
            (422, &"iterator".into()),
            "{path}"
        );
    }
    let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(256 * 1024));
    assert_eq!(world.post("/api/v1/app", &body, &[]).await.status, 413);
    let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(65 * 1024));
    let refused = world.post("/api/v1/app", &body, &[]).await;
    assert_eq!(
        (refused.status, &refused.body["detail"][0]["loc"][0]),
        (422, &"body".into())
    );
    let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(63 * 1024));
    assert_eq!(world.post("/api/v1/app", &body, &[]).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_checked() {
    let world = World::start().await;
    let application = world.application().await;
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    let cases = [
        ("url", r#"{}"#),
        ("url", r#"{"url":""}"#),
        ("url", r#"{"url":"ftp://example.com/"}"#),
        ("url", r#"{"url":"https://exa\tmple.com/"}"#),
        ("url", r#"{"url":"http://169.254.169.254/latest"}"#),
        ("url", r#"{"url":"https://10.0.0.1/"}"#),
        (
            "eventTypes",
            r#"{"url":"https://example.com/","eventTypes":["not.there"]}"#,
        ),
        (
            "channels",
            r#"{"url":"https://example.com/","channels":[]}"#,
        ),
        (
            "secret",
            r#"{"url":"https://example.com/","secret":"whsec_c2hvcnQ="}"#,
        ),
        (
            "throttleRate",
            r#"{"url":"https://example.com/","throttleRate":0}"#,
        ),
        ("uid", r#"{"url":"https://example.com/","uid":"a b"}"#),
    ];
    for (field, body) in cases {
        let answer = world.post(&path, body, &[]).await;
        assert_eq!(
            (answer.status, &answer.body["detail"][0]["loc"][1]),
            (422, &field.into()),
            "{body}: {answer:?}"
        );
    }
}
