//! Events as API Gateway sends them, and as nobody should.

use serde_json::{Value, json};

use super::*;

/// An event for this path and query, with these headers.
fn event(path: &str, query: &str, headers: &Value) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": query, "headers": headers,
        "requestContext": { "http": { "method": "POST", "path": path }, "stage": "$default" },
        "body": "", "isBase64Encoded": false,
    })
}

fn request(event: Value) -> Result<Request, ApiError> {
    serde_json::from_value::<Event>(event)
        .unwrap()
        .into_request()
}

#[test]
fn a_path_is_encoded_so_that_it_is_decoded_once() {
    for (arrives, parsed) in [
        ("/v1/app/a", "/v1/app/a"),
        ("/v1/app/a/", "/v1/app/a"),
        ("/v1/app/a//", "/v1/app/a/"),
        ("/", "/"),
        ("", "/"),
        ("/v1/app/a.b-c_d~e", "/v1/app/a.b-c_d~e"),
        ("/v1/app/victim#2", "/v1/app/victim%232"),
        ("/v1/app/victim?2", "/v1/app/victim%3F2"),
        ("/v1/app/victim\n", "/v1/app/victim%0A"),
        ("/v1/app/victim\0", "/v1/app/victim%00"),
        ("/v1/app/victim%23", "/v1/app/victim%2523"),
        ("/v1/app/a b+c", "/v1/app/a%20b%2Bc"),
        ("/v1/app/other/../victim", "/v1/app/other/../victim"),
        ("/v1/app/λ\u{fffd}", "/v1/app/%CE%BB%EF%BF%BD"),
        ("/v1/app/a\\b;c:d@e", "/v1/app/a%5Cb%3Bc%3Ad%40e"),
    ] {
        let request = request(event(arrives, "limit=1", &json!({}))).unwrap();
        assert_eq!(request.uri().path(), parsed, "{arrives:?}");
        assert_eq!(request.uri().query(), Some("limit=1"), "{arrives:?}");
    }
}

/// As API Gateway's manual shows payload format 2.0, all fields included.
#[test]
fn an_event_with_all_its_fields_is_a_request() {
    let read = |text| serde_json::from_str::<Event>(text).unwrap().into_request();
    let get = read(include_str!("../../../../tests/events/http-get.json")).unwrap();
    assert_eq!(get.method(), "GET");
    assert_eq!(get.uri().path(), "/api/v1/app/caf%C3%A9%20%231/msg");
    let query = "limit=2&event_types=a.b&event_types=c%2Bd&before=2026-11-25T08%3A00%3A00Z";
    assert_eq!(get.uri().query(), Some(query));
    assert_eq!(get.headers()["accept"], "application/json,text/plain");
    assert_eq!(get.headers()["authorization"], "Bearer POSTHORN_TOKEN");
    assert!(get.body().is_empty());
    let post = read(include_str!(
        "../../../../tests/events/http-post-base64.json"
    ))
    .unwrap();
    assert_eq!(post.method(), "POST");
    assert_eq!(post.uri().path(), "/api/v1/app/customer-7/msg");
    assert_eq!(post.headers()["idempotency-key"], "order-4711");
    let body: &[u8] = post.body();
    let said = r#"{"eventType":"invoice.paid","payload":{"note":"grüße"}}"#;
    assert_eq!(std::str::from_utf8(body), Ok(said));
}

#[test]
fn what_is_not_http_is_a_bad_request() {
    let long = "a".repeat(70_000);
    let good = || event("/v1/app", "", &json!({ "host": "example.com" }));
    let with = |change: fn(&mut Value)| {
        let mut event = good();
        change(&mut event);
        event
    };
    assert!(request(good()).is_ok());
    let queries = [
        "a=\"", "a=<b>", "a= b", "a=\u{1}", "a=\n", "a=#b", "a=é", "a=\u{7f}",
    ];
    let headers = [
        json!({ "host": "a b" }),
        json!({ "a b": "c" }),
        json!({ "": "c" }),
        json!({ "x": "a\nb" }),
        json!({ "x": "a\0b" }),
    ];
    let others = [
        event(&format!("/{long}"), "", &json!({})),
        event("/v1", &long, &json!({})),
        with(|event| event["requestContext"]["http"]["method"] = json!("A B")),
        with(|event| event["requestContext"]["http"]["method"] = json!("")),
        with(|event| {
            event["body"] = json!("not base64");
            event["isBase64Encoded"] = json!(true);
        }),
    ];
    let events = queries.map(|query| event("/v1", query, &json!({})));
    let events = events
        .into_iter()
        .chain(headers.map(|headers| event("/v1", "", &headers)));
    for event in events.chain(others) {
        let text = event.to_string().chars().take(200).collect::<String>();
        let refused = request(event);
        assert!(matches!(refused, Err(ApiError::BadRequest(_))), "{text}");
    }
}

#[test]
fn what_proxies_add_is_no_reason_to_refuse() {
    for headers in [
        json!({ "x-forwarded-proto": "https,http", "host": "example.com:443" }),
        json!({ "x-forwarded-proto": "\"<>", "x-forwarded-for": "1.2.3.4, 5.6.7.8" }),
        json!({ "x": "é", "host": "[::1]:80" }),
        json!({}),
        Value::Null,
    ] {
        assert!(request(event("/v1", "", &headers)).is_ok(), "{headers}");
    }
}

async fn answered(headers: &Value, status: u16) -> Value {
    let event = serde_json::from_value(event("/v1", "", headers)).unwrap();
    let reply = answer(event, async |_| {
        let mut response = Response::new("é".into());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    });
    serde_json::to_value(reply.await).unwrap()
}

#[tokio::test]
async fn a_webhook_is_refused_whatever_its_headers_are_called() {
    for (headers, status) in [
        (json!({ "webhook-id": "a", "webhook-signature": "b" }), 400),
        (json!({ "Webhook-Id": "a", "WEBHOOK-SIGNATURE": "b" }), 400),
        (json!({ "svix-id": "a", "svix-signature": "b" }), 400),
        (json!({ "svix-id": "a", "webhook-signature": "" }), 400),
        (json!({ "webhook-id": "a" }), 200),
        (json!({ "svix-signature": "a" }), 200),
        (json!({ "idempotency-key": "a" }), 200),
    ] {
        let answer = answered(&headers, 200).await;
        assert_eq!(answer["statusCode"], status, "{headers}");
    }
}

#[tokio::test]
async fn every_answer_says_that_it_is_for_one_caller() {
    for status in [200, 204, 401, 404, 503] {
        let answer = answered(&json!({}), status).await;
        let headers = &answer["headers"];
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let challenge = (status == 401).then_some("Bearer");
        assert_eq!(headers["www-authenticate"].as_str(), challenge, "{status}");
    }
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_and_the_next_request_is_answered() {
    let event = || serde_json::from_value(event("/v1", "", &json!({}))).unwrap();
    let reply = answer(event(), async |_| panic!("a secret")).await;
    let reply = serde_json::to_value(reply).unwrap();
    assert_eq!(reply["statusCode"], 500);
    assert_eq!(reply["headers"]["cache-control"], "no-store");
    let body: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        body,
        json!({ "code": "internal_error", "detail": "the request failed" })
    );
    assert_eq!(answered(&json!({}), 200).await["statusCode"], 200);
}

#[test]
fn an_answer_keeps_headers_cookies_and_bytes() {
    let response = http::Response::builder()
        .status(201)
        .header("x-a", "1")
        .header("x-a", "2")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .body(lambda_http::Body::from(b"\xff".as_slice()))
        .unwrap();
    let reply = serde_json::to_value(Reply::from(response)).unwrap();
    let expected = json!({
        "statusCode": 201, "headers": { "x-a": "1,2" }, "cookies": ["a=1", "b=2"],
        "body": "/w==", "isBase64Encoded": true,
    });
    assert_eq!(reply, expected);
}

#[test]
fn fuzz_no_event_ends_the_process() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    bolero::check!()
        .with_type::<([String; 6], bool)>()
        .for_each(|([path, query, name, value, method, body], is_base64)| {
            let event = json!({
                "rawPath": path, "rawQueryString": query, "headers": { name.as_str(): value, "host": value },
                "requestContext": { "http": { "method": method } },
                "body": body, "isBase64Encoded": is_base64,
            });
            let event: Event = serde_json::from_value(event).unwrap();
            let reply = runtime.block_on(answer(event, async |request| {
                // Whatever passes can be parsed by the next step.
                assert!(request.uri().path().starts_with('/'));
                Response::new(request.into_body())
            }));
            assert!([200, 400].contains(&reply.status_code));
        });
}
