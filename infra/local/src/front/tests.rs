//! What the HTTP API promises in a function's place.

use std::time::Duration;

use axum::http::HeaderValue;

use super::*;
use crate::{lambda::tests::pool, template::Template};

/// An HTTP API with the route `POST /things/{id}`, answered by a script's processes.
async fn serve_things(script: &str, timeout: Duration) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, vec![(things(), pool(script, 1, timeout))]));
    url
}

fn things() -> Route {
    Route {
        method: "POST".to_owned(),
        path: "/things/{id}".to_owned(),
    }
}

async fn post(url: String, body: Vec<u8>) -> (u16, String) {
    let request = reqwest::Client::new().post(url).body(body);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn refusals_look_like_an_http_api() {
    let url = serve_things("broken.sh", Duration::from_secs(60)).await;
    let too_large = vec![b' '; MAX_BODY_BYTES + 1];
    let expected = [
        (format!("{url}/nothing"), vec![], 404, "Not Found"),
        (
            format!("{url}/things/1"),
            too_large,
            413,
            "Request Entity Too Large",
        ),
        (
            format!("{url}/things/1"),
            vec![],
            500,
            "Internal Server Error",
        ),
    ];
    for (url, body, status, text) in expected {
        let body = post(url, body).await;
        assert_eq!(body, (status, format!(r#"{{"message":"{text}"}}"#)));
    }
}

#[tokio::test]
async fn a_function_that_times_out_is_unavailable() {
    let url = serve_things("silent.sh", Duration::from_millis(100)).await;
    let (status, body) = post(format!("{url}/things/1"), vec![]).await;
    assert_eq!(
        (status, body.as_str()),
        (503, r#"{"message":"Service Unavailable"}"#)
    );
}

#[tokio::test]
async fn nobody_waits_longer_than_the_limit() {
    let pool = pool("silent.sh", 1, Duration::from_secs(60));
    let response = invoke(&pool, json!({}), Duration::from_millis(50));
    let response = tokio::time::timeout(Duration::from_secs(10), response)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// The event of `POST /things/{id}` with this target and body.
fn event(
    target: &'static str,
    headers: &[(&'static str, &'static str)],
    body: &'static [u8],
) -> Value {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    let uri = Uri::from_static(target);
    let passed = Passed {
        method: &Method::POST,
        uri: &uri,
        headers: &map,
        body: &Bytes::from_static(body),
    };
    let routes = [(things(), ())];
    let path = event::decode(uri.path()).unwrap();
    let ((route, ()), variables) = route::find(&routes, "POST", &path).unwrap();
    passed.event(route, &path, variables).unwrap()
}

#[test]
fn an_event_has_payload_format_2() {
    let headers = [
        ("x-a", "1"),
        ("x-a", "2"),
        ("cookie", "a=1; b=2"),
        ("content-type", "application/json"),
    ];
    let text = event("/things/t?q=1&q=2&r=%20", &headers, b"hi");
    assert_eq!(text["version"], "2.0");
    assert_eq!(text["routeKey"], "POST /things/{id}");
    assert_eq!(
        (&text["rawPath"], &text["rawQueryString"]),
        (&json!("/things/t"), &json!("q=1&q=2&r=%20"))
    );
    assert_eq!(
        text["queryStringParameters"],
        json!({ "q": "1,2", "r": " " })
    );
    assert_eq!(text["pathParameters"], json!({ "id": "t" }));
    let joined = json!({ "x-a": "1,2", "content-type": "application/json" });
    assert_eq!(text["headers"], joined);
    assert_eq!(text["cookies"], json!(["a=1", "b=2"]));
    assert_eq!(
        (&text["body"], &text["isBase64Encoded"]),
        (&json!("hi"), &json!(false))
    );
}

#[test]
fn a_body_that_is_no_text_is_base64() {
    let of = |kind, body| event("/things/t", &[("content-type", kind)], body);
    for (kind, body) in [
        ("application/octet-stream", b"hi"),
        ("application/x-www-form-urlencoded", b"hi"),
        ("application/json", b"\xff\xff"),
    ] {
        let event = of(kind, body);
        let sent = (json!(STANDARD.encode(body)), json!(true));
        assert_eq!(
            (event["body"].clone(), event["isBase64Encoded"].clone()),
            sent,
            "{kind}"
        );
    }
    assert_eq!(of("text/plain", b"hi")["isBase64Encoded"], false);
    assert_eq!(
        of("application/octet-stream", b"")["isBase64Encoded"],
        false
    );
}

/// What real HTTP APIs were seen to pass (but the question mark: see [`event`]).
#[test]
fn a_path_arrives_decoded_twice() {
    let passed = |path: &str| event::decode(&event::decode(path)?);
    for (sent, arrives) in [
        ("/plain", Some("/plain")),
        ("/space%20value", Some("/space value")),
        ("/plus+value", Some("/plus+value")),
        ("/hash%23value", Some("/hash#value")),
        ("/question%3Fvalue", Some("/question?value")),
        ("/slash%2Fvalue", Some("/slash/value")),
        ("/%CE%BB", Some("/λ")),
        ("/%FF", Some("/\u{fffd}")),
        ("/percent%25done", None),
        ("/literal%252Fvalue", Some("/literal/value")),
        ("/literal%2525value", Some("/literal%value")),
        ("/half%2", None),
    ] {
        assert_eq!(passed(sent).as_deref(), arrives, "{sent}");
    }
}

#[test]
fn the_more_specific_route_takes_a_request() {
    let routes = [
        "ANY /v1/{proxy+}",
        "POST /v1/app/{id}/msg",
        "POST /v1/app/{id}/msg/batch",
        "POST /v1/app/{id}/msg/{proxy+}",
        "POST /v1/app/{id}/msg/{msg}/{proxy+}",
        "GET /v1/app/{id}",
    ];
    let routes = routes.map(|key| {
        let (method, path) = key.split_once(' ').unwrap();
        let (method, path) = (method.to_owned(), path.to_owned());
        (Route { method, path }, key)
    });
    for (request, expected) in [
        ("POST /v1/app/a/msg", Some("POST /v1/app/{id}/msg")),
        (
            "POST /v1/app/a/msg/",
            Some("POST /v1/app/{id}/msg/{proxy+}"),
        ),
        (
            "POST /v1/app/a/msg/batch",
            Some("POST /v1/app/{id}/msg/batch"),
        ),
        (
            "POST /v1/app/a/msg/b/c",
            Some("POST /v1/app/{id}/msg/{msg}/{proxy+}"),
        ),
        ("GET /v1/app/a/msg", Some("ANY /v1/{proxy+}")),
        ("GET /v1/app/a", Some("GET /v1/app/{id}")),
        ("HEAD /v1/app/a", Some("ANY /v1/{proxy+}")),
        ("GET /v1/app/", Some("ANY /v1/{proxy+}")),
        ("POST /v1/app//msg", Some("ANY /v1/{proxy+}")),
        ("GET /v1", None),
        ("GET /v2/app", None),
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        let found = route::find(&routes, method, path);
        assert_eq!(found.map(|((_, key), _)| *key), expected, "{request}");
    }
}

/// Whether or not the HTTP API tells `/msg` from `/msg/`: its manual does not say.
#[test]
fn a_slash_at_the_end_leads_to_the_same_function() {
    let template = Template::load(&BTreeMap::new(), "http://localhost/000000000000").unwrap();
    let routes = template.functions.iter().flat_map(|function| {
        let routes = function.routes.iter().cloned();
        routes.map(|route| (route, function.logical_id.as_str()))
    });
    let routes: Vec<_> = routes.collect();
    for (method, path, function) in [
        ("POST", "/api/v1/app/a/msg", "IngestFunction"),
        ("POST", "/api/v1/app/a/msg/batch", "IngestFunction"),
        ("GET", "/api/v1/app/a/msg", "ApiFunction"),
        ("GET", "/api/v1/app/a/msg/m", "ApiFunction"),
        ("DELETE", "/api/v1/app/a/msg/m/content", "ApiFunction"),
        (
            "POST",
            "/api/v1/app/a/msg/m/endpoint/e/resend",
            "ApiFunction",
        ),
        ("POST", "/api/v1/app", "ApiFunction"),
        ("PUT", "/api/v1/app/a/endpoint/e", "ApiFunction"),
        ("GET", "/api/v1/app/a/endpoint/e/stats", "ApiFunction"),
        ("GET", "/api/v1/health", "ApiFunction"),
        ("GET", "/api/v1/health/ping", "ApiFunction"),
        ("GET", "/api/v1/openapi.json", "ApiFunction"),
    ] {
        for path in [path.to_owned(), format!("{path}/")] {
            let found = route::find(&routes, method, &path);
            let found = found.map(|((_, found), _)| *found);
            assert_eq!(found, Some(function), "{method} {path}");
        }
    }
}

/// `RouteSettings` throttle by route.
#[test]
fn a_slash_at_the_end_leads_to_a_route_of_the_same_throttle() {
    let template = Template::load(&BTreeMap::new(), "http://localhost/000000000000").unwrap();
    let routes = template.functions.iter().flat_map(|it| it.routes.iter());
    let routes: Vec<_> = routes.map(|route| (route.clone(), route)).collect();
    for path in [
        "health",
        "openapi.json",
        "app/{app_id}/endpoint/{endpoint_id}/stats",
    ] {
        let path = format!("/api/v1/{path}");
        let found = |path: &str| route::find(&routes, "GET", path).unwrap().0.1.path.clone();
        assert_eq!(found(&path), path);
        assert_eq!(found(&format!("{path}/")), format!("{path}/{{proxy+}}"));
    }
    let ping = route::find(&routes, "GET", "/api/v1/health/ping").unwrap();
    assert_eq!(ping.0.1.path, "/api/v1/health/ping");
}

#[tokio::test]
async fn an_escape_that_is_none_is_refused() {
    let url = serve_things("broken.sh", Duration::from_secs(60)).await;
    for path in ["%25zz", "a%25"] {
        let (status, _) = post(format!("{url}/things/{path}"), vec![]).await;
        assert_eq!(status, 400, "{path}");
    }
}

#[tokio::test]
async fn an_answer_keeps_its_headers_cookies_and_bytes() {
    let answer = json!({
        "statusCode": 201, "headers": { "x-a": "1" }, "cookies": ["a=1", "b=2"],
        "body": "/w==", "isBase64Encoded": true,
    });
    let response = reply(&Bytes::from(answer.to_string())).unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["x-a"], "1");
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    let body = axum::body::to_bytes(response.into_body(), 10)
        .await
        .unwrap();
    assert_eq!(body.as_ref(), [0xff]);
}
