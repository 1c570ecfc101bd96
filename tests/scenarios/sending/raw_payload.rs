//! Payloads that are any text: what official clients send as `transformationsParams.rawPayload`.

use posthorn_tests::{Receiver, Request, World, until};
use serde_json::{Value, json};

const XML: &str = "<?xml version=\"1.0\"?>\n<a b='ü'>\t\u{1F680}</a>\r\n";
const SPACED: &str = "{ \"z\" : 1,  \"a\":\"\\u00e9\" }";

struct Sent {
    text: String,
    content_type: &'static str,
    message: Value,
}

/// As clients build them: Python and JavaScript, Java and Kotlin, and as large as none travels in a task.
fn messages() -> Vec<Sent> {
    let sent = |text: &str, content_type, payload: Value, mut parameters: Value| {
        parameters["rawPayload"] = json!(text);
        Sent {
            text: text.to_owned(),
            content_type,
            message: json!({ "eventType": "a.b", "payload": payload, "transformationsParams": parameters }),
        }
    };
    let large = format!("{{\"text\": \"{}\"}}", "\\\"".repeat(100 * 1024));
    let xml = json!({ "headers": { "content-type": "text/xml; charset=utf-8" } });
    let form = json!({ "headers": { "Content-Type": "application/x-www-form-urlencoded" } });
    vec![
        sent(SPACED, "application/json", json!({}), json!({})),
        sent(SPACED, "application/json", json!(""), json!({})),
        sent(XML, "text/xml; charset=utf-8", json!({}), xml.clone()),
        sent(&XML.repeat(200), "text/xml; charset=utf-8", json!({}), xml),
        sent(
            "a=1&b=%20",
            "application/x-www-form-urlencoded",
            json!({}),
            form,
        ),
        sent(&large, "application/json", json!({}), json!({})),
        sent("[1,", "application/json", json!({}), json!({})),
        sent("", "application/json", json!({}), json!({})),
    ]
}

fn check(requests: &[Request], sent: &Sent, id: &str, secret: &str) {
    let found = requests.iter().find(|it| it.header("webhook-id") == id);
    let request = found.unwrap();
    let text = sent.text.chars().take(60).collect::<String>();
    assert_eq!(request.body, sent.text.as_bytes(), "{text}");
    assert_eq!(request.header("content-type"), sent.content_type, "{text}");
    request.verify(secret).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn any_text_is_delivered_and_signed_byte_for_byte() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let secret = world.secret(&application, &endpoint).await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    let all = messages();
    let mut ids = Vec::new();
    for sent in &all {
        let posted = world
            .expect("POST", &path, Some(sent.message.clone()))
            .await;
        ids.push(posted["id"].as_str().unwrap().to_owned());
    }
    let batch: Vec<_> = all.iter().map(|sent| &sent.message).collect();
    let batch = json!({ "messages": batch });
    let batch = world
        .expect("POST", &format!("{path}/batch"), Some(batch))
        .await;
    let batch = batch["results"].as_array().unwrap().iter();
    ids.extend(batch.map(|it| it["message"]["id"].as_str().unwrap().to_owned()));
    let received = receiver.wait_for(ids.len()).await;
    for (id, sent) in ids.iter().zip(all.iter().chain(&all)) {
        check(&received, sent, id, &secret);
        let shown = world.expect("GET", &format!("{path}/{id}"), None).await;
        let expected = serde_json::from_str(&sent.text).ok();
        let raw = json!({ "rawPayload": sent.text });
        let expected: Value = expected.filter(Value::is_object).unwrap_or(raw);
        assert_eq!(shown["payload"], expected);
    }
    let (listed, _) = world.pages(&path, 5).await;
    assert_eq!(listed.len(), ids.len(), "lists of them can be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_payload_stays_as_it_is_over_retries_resends_and_repeated_requests() {
    let world = World::with_parameters([("RetrySchedule", "1")]).await;
    let receiver = Receiver::answering([500, 200]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let secret = world.secret(&application, &endpoint).await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    let sent = messages().swap_remove(2);
    let body = sent.message.to_string();
    let key = [("idempotency-key", "k")];
    let posted = world.post(&path, &body, &key).await;
    let again = world.post(&path, &body, &key).await;
    assert_eq!((posted.status, again.status), (202, 202));
    assert_eq!(posted.body, again.body);
    let other = body.replace("text/xml", "text/html");
    assert_eq!(world.post(&path, &other, &key).await.status, 422);
    let id = posted.body["id"].as_str().unwrap();
    receiver.wait_for(2).await;
    let resend = format!("{path}/{id}/endpoint/{}/resend", endpoint.id);
    until("the resend is accepted", || async {
        let answer = world.call("POST", &resend, None).await;
        (answer.status / 100 == 2).then_some(())
    })
    .await;
    let received = receiver.wait_for(3).await;
    for request in &received {
        check(std::slice::from_ref(request), &sent, id, &secret);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_change_a_message_is_refused_or_done() {
    let world = World::start().await;
    let application = world.application().await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    for (loc, field) in [
        ("deliverAt", json!({ "deliverAt": "2030-01-01T00:00:00Z" })),
        (
            "payloadRetentionHours",
            json!({ "payloadRetentionHours": 24 }),
        ),
        ("colour", json!({ "colour": "red" })),
        (
            "transformationsParams.x",
            json!({ "transformationsParams": { "x": 1 } }),
        ),
        (
            "transformationsParams.headers.x-a",
            json!({ "transformationsParams": { "headers": { "x-a": "b" } } }),
        ),
        (
            "payload",
            json!({ "payload": { "a": 1 }, "transformationsParams": { "rawPayload": "x" } }),
        ),
        (
            "application.uid",
            json!({ "application": { "name": "No uid" } }),
        ),
        (
            "application.uid",
            json!({ "application": { "name": "Other", "uid": "other" } }),
        ),
        ("eventId", json!({ "eventId": ".." })),
        ("eventType", json!({ "eventType": "." })),
    ] {
        let mut message = json!({ "eventType": "a.b", "payload": {} });
        let fields = field.as_object().unwrap().clone();
        message.as_object_mut().unwrap().extend(fields);
        for (path, body) in [
            (path.clone(), message.clone()),
            ("/api/v1/app/unknown/msg".to_owned(), message.clone()),
        ] {
            let answer = world.call("POST", &path, Some(body)).await;
            assert_eq!(answer.status, 422, "{field}: {answer:?}");
            let found = answer.body["detail"][0]["loc"].as_array().unwrap().iter();
            let found: Vec<_> = found.map(|it| it.as_str().unwrap()).collect();
            assert_eq!(found[1..].join("."), loc, "{field}");
        }
    }
    let (listed, _) = world.pages(&path, 50).await;
    assert_eq!(listed, Vec::<Value>::new(), "nothing is stored");
    assert_eq!(world.get("/api/v1/app/unknown").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_256_kib_is_taken_however_it_is_escaped() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    let most = 256 * 1024;
    // As Python writes Cyrillic, and as control characters can only be written.
    for (escape, text, count) in [("\\u0436", "ж", most / 2), ("\\u0001", "\u{1}", most)] {
        let body = |count: usize| {
            let raw = escape.repeat(count);
            format!(
                r#"{{"eventType":"a.b","payload":{{}},"transformationsParams":{{"rawPayload":"{raw}"}}}}"#
            )
        };
        let id = world.send(&application.id, &body(count)).await;
        until("the payload", || async {
            let all = receiver.received();
            let found = all.iter().find(|it| it.header("webhook-id") == id)?;
            assert!(found.body == text.repeat(count).as_bytes(), "byte for byte");
            Some(())
        })
        .await;
        let answer = world.post(&path, &body(count + 1), &[]).await;
        let detail = answer.body["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(answer.status, 413, "{detail}");
        assert!(detail.contains("payload"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_newer_clients_may_send_is_taken() {
    let world = World::start().await;
    let application = world.application().await.id;
    let path = format!("/api/v1/app/{application}/msg");
    let channels: Vec<_> = (0..9)
        .map(|n| format!("c:{n}"))
        .chain(["a+b".to_owned()])
        .collect();
    let tags = ["a/b", "c#d", r"e\f"];
    let message = json!({ "eventType": "a.b", "payload": {}, "channels": channels, "tags": tags });
    let sent = world.expect("POST", &path, Some(message)).await;
    assert_eq!(
        (&sent["channels"], &sent["tags"]),
        (&json!(channels), &json!(tags))
    );
    let untagged = json!({ "eventType": "a.b", "payload": {}, "tags": [] });
    let untagged = world.expect("POST", &path, Some(untagged)).await;
    assert_eq!(untagged["tags"], Value::Null);
    for query in ["tag=c%23d", "tag=e%5Cf", "channel=a%2Bb", "channel=c:8"] {
        let found = world.get(&format!("{path}?{query}")).await.body;
        let found = found["data"].as_array().unwrap().clone();
        assert_eq!(found.len(), 1, "{query}");
        assert_eq!(found[0]["id"], sent["id"], "{query}");
    }
    let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let endpoint = json!({
        "url": "https://example.com/", "secret": secret, "channels": ["a+b", "c:8"],
    });
    let endpoints = format!("/api/v1/app/{application}/endpoint");
    let made = world.expect("POST", &endpoints, Some(endpoint)).await;
    let shown = format!("{endpoints}/{}/secret", made["id"].as_str().unwrap());
    let shown = world.expect("GET", &shown, None).await;
    assert_eq!(shown["key"], format!("whsec_{secret}"));
}

/// A filter that finds one message among many finds it at once, whichever it is.
#[tokio::test(flavor = "multi_thread")]
async fn every_filter_looks_beyond_the_page() {
    let world = World::start().await;
    let application = world.application().await.id;
    let path = format!("/api/v1/app/{application}/msg");
    let wanted = r#"{"eventType":"a.b","payload":{},"channels":["c"],"tags":["t"]}"#;
    let wanted = world.send(&application, wanted).await;
    for _ in 0..8 {
        world
            .send(&application, r#"{"eventType":"x","payload":{}}"#)
            .await;
    }
    for filter in ["channel=c", "tag=t", "event_types=a.b"] {
        let page = world.get(&format!("{path}?limit=1&{filter}")).await.body;
        assert_eq!(page["data"][0]["id"], wanted.as_str(), "{filter}: {page}");
    }
}
