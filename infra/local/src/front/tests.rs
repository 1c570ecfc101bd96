//! What the HTTP API promises in a function's place.

use std::time::Duration;

use axum::http::HeaderValue;

use super::*;
use crate::lambda::tests::pool;

/// An HTTP API with the route `POST /things/{id}`, answered by a script's processes.
async fn serve_things(script: &str, timeout: Duration) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let route = Route {
        method: "POST".to_owned(),
        path: "/things/{id}".to_owned(),
    };
    tokio::spawn(serve(listener, vec![(route, pool(script, 1, timeout))]));
    url
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

#[test]
fn an_event_has_payload_format_2() {
    let mut headers = HeaderMap::new();
    headers.append("x-a", HeaderValue::from_static("1"));
    headers.append("x-a", HeaderValue::from_static("2"));
    headers.append("cookie", HeaderValue::from_static("a=1; b=2"));
    let uri = Uri::from_static("/things/t?q=1&q=2&r=%20");
    let parameters = [("id".to_owned(), "t".to_owned())].into();
    let event = |body: &'static [u8]| {
        let body = Bytes::from_static(body);
        super::event(
            "POST /things/{id}",
            &Method::POST,
            &uri,
            BTreeMap::clone(&parameters),
            &headers,
            &body,
        )
    };
    let text = event(b"hi");
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
    assert_eq!(text["headers"], json!({ "x-a": "1,2" }));
    assert_eq!(text["cookies"], json!(["a=1", "b=2"]));
    assert_eq!(
        (&text["body"], &text["isBase64Encoded"]),
        (&json!("hi"), &json!(false))
    );
    let bytes = event(b"\xff");
    assert_eq!(
        (&bytes["body"], &bytes["isBase64Encoded"]),
        (&json!("/w=="), &json!(true))
    );
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
