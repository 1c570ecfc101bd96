//! What comes before the handlers of every public function: paths, invalid HTTP, and the headers of
//! every response.

use posthorn_tests::World;
use serde_json::{Value, json};

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{}}"#;

/// An application with an endpoint, both called `victim`.
async fn with_victim() -> World {
    let world = World::start().await;
    let application = json!({ "name": "Victim", "uid": "victim" });
    world.expect("POST", "/api/v1/app", Some(application)).await;
    let endpoint = json!({ "url": "https://example.com/", "uid": "victim" });
    let path = "/api/v1/app/victim/endpoint";
    world.expect("POST", path, Some(endpoint)).await;
    world
}

async fn check_victim(world: &World, after: &str) {
    for path in ["/api/v1/app/victim", "/api/v1/app/victim/endpoint/victim"] {
        assert_eq!(world.get(path).await.status, 200, "{path} after {after}");
    }
    let applications = world.get("/api/v1/app").await.body;
    assert_eq!(applications["data"].as_array().unwrap().len(), 1, "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slash_at_the_end_changes_nothing() {
    let world = with_victim().await;
    let message = json!({ "eventType": "a.b", "payload": {} });
    let batch = json!({ "messages": [message] });
    let path = "/api/v1/app/victim/msg/";
    let message = world.expect("POST", path, Some(message)).await;
    let id = message["id"].as_str().unwrap();
    for path in [
        "/api/v1/app/victim/msg/batch",
        "/api/v1/app/victim/msg/batch/",
    ] {
        let answer = world.expect("POST", path, Some(batch.clone())).await;
        assert_eq!(answer["failed"], 0, "{path}: {answer}");
    }
    for path in [
        "/api/v1/app/".to_owned(),
        "/api/v1/app/victim/".to_owned(),
        "/api/v1/app/victim/endpoint/".to_owned(),
        "/api/v1/app/victim/msg/?limit=1".to_owned(),
        format!("/api/v1/app/victim/msg/{id}/"),
        format!("/api/v1/app/victim/attempt/msg/{id}/"),
        "/api/v1/event-type/".to_owned(),
    ] {
        assert_eq!(world.get(&path).await.status, 200, "{path}");
    }
    let resend = format!("/api/v1/app/victim/msg/{id}/endpoint/victim/resend");
    let answers = [
        world.call("POST", &resend, None).await.status,
        world.call("POST", &format!("{resend}/"), None).await.status,
    ];
    // The second resend is refused while the first is pending.
    assert!(matches!(answers, [202, 202 | 409]), "{answers:?}");
    let other = format!("/api/v1/app/victim/msg/{id}");
    for path in [other.clone(), format!("{other}/")] {
        assert_eq!(world.call("POST", &path, None).await.status, 405, "{path}");
    }
    for path in ["/api/v1/app//", "/api/v1/app/victim/msg/batch/more"] {
        let answer = world.call("POST", path, Some(json!({}))).await;
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_one_touches_nothing_else() {
    let world = with_victim().await;
    for (name, status) in [
        ("victim%232", 422),
        ("victim%3F2", 422),
        ("victim%0A", 422),
        ("victim%00", 422),
        ("victim%20", 422),
        ("%20victim", 422),
        ("victim+", 422),
        ("victim%CE%BB", 422),
        ("victim%FF", 422),
        ("victim%253F2", 422),
        ("victim%2523", 422),
        ("victim%5C..", 422),
        ("victim;a=b", 422),
        // API Gateway decodes twice, and refuses an escape that is invalid after the first time.
        ("victim%25", 400),
        ("victim%zz", 400),
        // By then these are two segments, or the name of nothing.
        ("other%2F..%2Fvictim", 404),
        ("other%252Fvictim", 404),
        ("other/../victim", 404),
        ("%2e%2e", 422),
        ("..", 422),
    ] {
        let target = format!("/api/v1/app/{name}");
        let answer = world.exactly("DELETE", &target, &[]).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        if status == 422 {
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(
                body["detail"][0]["loc"],
                json!(["path", "app_id"]),
                "{name}"
            );
        }
        let target = format!("/api/v1/app/victim/endpoint/{name}");
        let endpoint = world.exactly("DELETE", &target, &[]).await;
        assert_eq!(endpoint.status, status, "endpoint {name}: {endpoint:?}");
        let target = format!("/api/v1/app/{name}/msg");
        let authorization = format!("authorization: Bearer {}", world.token);
        let headers = [authorization.as_str(), "content-type: application/json"];
        let message = world
            .exactly_without_token("POST", &target, &headers, MESSAGE)
            .await;
        assert_eq!(message.status, status, "message {name}: {message:?}");
        check_victim(&world, name).await;
    }
    let messages = world.get("/api/v1/app/victim/msg").await.body;
    assert_eq!(messages["data"], json!([]));
}

/// An event as API Gateway sends it.
fn event(world: &World, method: &str, path: &str, change: &Value) -> Value {
    let mut event = json!({
        "version": "2.0", "routeKey": "ANY /api/v1/{proxy+}", "rawPath": path, "rawQueryString": "",
        "headers": { "host": "example.com", "authorization": format!("Bearer {}", world.token) },
        "requestContext": { "http": { "method": method, "path": path }, "stage": "$default" },
        "isBase64Encoded": false,
    });
    merge(&mut event, change);
    event
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_events_path_is_decoded_once() {
    let world = with_victim().await;
    for (name, status) in [
        ("victim#2", 422),
        ("victim?2", 422),
        ("victim\n", 422),
        ("victim%23", 422),
        ("victim%2523", 422),
        ("victim ", 422),
        ("victim\u{fffd}", 422),
        ("other/../victim", 404),
        ("..", 422),
        ("victim", 204),
    ] {
        let path = format!("/api/v1/app/{name}");
        let event = event(&world, "DELETE", &path, &json!({}));
        let answer = world.stack.invoke("ApiFunction", &event).await.unwrap();
        assert_eq!(answer["statusCode"], status, "{name:?}: {answer}");
        if status != 204 {
            check_victim(&world, name).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_a_bad_request_and_ends_no_process() {
    let world = with_victim().await;
    let long = "a".repeat(70_000);
    let bad = [
        json!({ "headers": { "host": "a b" } }),
        json!({ "headers": { "a b": "c" } }),
        json!({ "headers": { "x": "a\nb" } }),
        json!({ "rawQueryString": "a=\"<> " }),
        json!({ "rawQueryString": "a=\u{1}" }),
        json!({ "rawQueryString": long }),
        json!({ "rawPath": format!("/api/v1/app/{long}") }),
        json!({ "requestContext": { "http": { "method": "A B" } } }),
        json!({ "body": "not base64", "isBase64Encoded": true }),
    ];
    let odd = [
        json!({ "headers": { "x-forwarded-proto": "https,http" } }),
        json!({ "headers": { "x-forwarded-proto": "\"<>", "x-forwarded-for": "::" } }),
        json!({ "headers": { "x": "é" } }),
        json!({ "requestContext": { "http": { "method": "BREW" } } }),
    ];
    for function in ["ApiFunction", "IngestFunction"] {
        let path = "/api/v1/app/victim/msg";
        let is_ingest = function == "IngestFunction";
        let method = if is_ingest { "POST" } else { "GET" };
        let body = is_ingest.then_some(MESSAGE);
        let good = event(&world, method, path, &json!({ "body": body }));
        let answer = world.stack.invoke(function, &good).await.unwrap();
        assert_eq!(answer["statusCode"], if is_ingest { 202 } else { 200 });
        let processes = world.stack.process_ids(function);
        for change in &bad {
            let event = event(&world, method, path, change);
            let answer = world.stack.invoke(function, &event).await.unwrap();
            let shown: String = change.to_string().chars().take(100).collect();
            assert_eq!(answer["statusCode"], 400, "{function} {shown}");
            let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
            assert_eq!(body["code"], "bad_request", "{function} {shown}");
        }
        for change in &odd {
            let event = event(&world, method, path, change);
            let answer = world.stack.invoke(function, &event).await.unwrap();
            assert_ne!(answer["statusCode"], 500, "{function} {change}");
        }
        let after = world.stack.process_ids(function);
        assert!(processes.iter().all(|it| after.contains(it)), "{function}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_for_one_caller_and_a_refused_token_is_told_how() {
    let world = with_victim().await;
    let cases = [
        ("GET", "/api/v1/app", 200),
        ("GET", "/api/v1/app/victim/endpoint/victim/secret", 200),
        ("GET", "/api/v1/app/nobody", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/app?limit=x", 422),
        ("DELETE", "/api/v1/app", 405),
        ("POST", "/api/v1/app", 422),
        ("POST", "/api/v1/app/victim/msg", 422),
        ("GET", "/api/v1/health", 204),
    ];
    for (method, path, status) in cases {
        let answer = world.exactly(method, path, &[]).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        check_headers(&answer.headers, "no-store");
        assert_eq!(
            answer.headers.contains_key("allow"),
            status == 405,
            "{path}"
        );
    }
    for (method, path) in [
        ("GET", "/api/v1/app"),
        ("POST", "/api/v1/app/victim/msg"),
        ("POST", "/api/v1/app/victim/msg/batch"),
    ] {
        let answer = world.exactly_without_token(method, path, &[], "").await;
        assert_eq!(answer.status, 401, "{method} {path}");
        check_headers(&answer.headers, "no-store");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    let document = world
        .exactly_without_token("GET", "/api/v1/openapi.json", &[], "")
        .await;
    check_headers(&document.headers, "public, max-age=3600");
    let again = world
        .exactly_without_token("GET", "/api/v1/openapi.json", &[], "")
        .await;
    assert_eq!(document.body, again.body);
}

fn check_headers(headers: &std::collections::BTreeMap<String, String>, cache: &str) {
    assert_eq!(headers["cache-control"], cache);
    assert_eq!(headers["x-content-type-options"], "nosniff");
}

/// A request or a record that panics is caught (`shared/runtime/src/panics.rs`, tested there, in its `gateway` and in
/// the dispatcher's `panics`): that takes builds that unwind.
#[test]
fn release_builds_unwind() {
    let workspace = include_str!("../../../Cargo.toml");
    let release = workspace.split("[profile.release]").nth(1).unwrap();
    let release = release.split("\n[").next().unwrap();
    assert!(!release.contains("panic"), "{release}");
}
