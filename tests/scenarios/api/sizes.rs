//! Large and odd things are accepted, shown and recorded, or refused, but never cause a failure.

use posthorn_tests::{Receiver, World};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_the_largest_messages_come_in_pages_that_fit() {
    let world = World::start().await;
    let application = world.application().await;
    let mut sent = Vec::new();
    for n in 0..40 {
        // Half of them compress to almost nothing, half do not compress; all are full of quotes.
        let unit = if n % 2 == 0 {
            r#"\"\"\"\""#.to_owned()
        } else {
            noise(n)
        };
        let text = unit.repeat(250 * 1024 / unit.len());
        let body = format!(r#"{{"eventType":"a.b","payload":{{"text":"{text}"}}}}"#);
        sent.push(world.send(&application.id, &body).await);
    }
    sent.reverse();
    let path = format!("/api/v1/app/{}/msg", application.id);
    for limit in [50, 250] {
        let (listed, pages) = world.pages(&path, limit).await;
        let ids: Vec<_> = listed
            .iter()
            .map(|item| item["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, sent);
        assert!(pages > 2, "{pages} pages of 10 MB");
    }
    let (short, pages) = world
        .pages(&format!("{path}?with_content=false"), 250)
        .await;
    assert_eq!(short.len(), 40);
    println!("without payloads: {pages} pages");
}

/// 64 KiB of text that does not compress.
fn noise(seed: u32) -> String {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 59) as u8 % 26)
    };
    (0..65_536).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_url_is_attempted_and_recorded_to_the_end() {
    let world = World::with_parameters([("RetrySchedule", "0,0,0,0,0,0,0")]).await;
    let receiver = Receiver::answering([500; 20]).await;
    let application = world.application().await;
    let url = format!("{}?{}", receiver.url(), "x".repeat(60_000));
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    let endpoint = world
        .expect("POST", &path, Some(json!({ "url": url })))
        .await;
    assert_eq!(endpoint["url"], url);
    let id = world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    let attempts = world.attempts(&application, &id, 8).await;
    assert!(url.starts_with(&attempts[0].url) && attempts[0].url.len() == 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_would_make_every_message_expensive_is_refused() {
    let world = World::start().await;
    let application = world.application().await;
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    let body = json!({ "url": "https://example.com/", "description": "x".repeat(40_000) });
    let endpoint = world.expect("POST", &path, Some(body)).await;
    let path = format!("{path}/{}", endpoint["id"].as_str().unwrap());
    let longer = json!({ "url": format!("https://example.com/{}", "x".repeat(40_000)) });
    let refused = world.call("PATCH", &path, Some(longer)).await;
    let loc = &refused.body["detail"][0]["loc"];
    assert_eq!((refused.status, loc), (422, &json!(["body"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_leads_to_an_application_that_is_too_large() {
    let world = World::start().await;
    let large = json!({ "name": "A", "uid": "new", "metadata": { "a": "x".repeat(70_000) } });
    let along = json!({ "application": large });
    let message = json!({ "eventType": "a.b", "payload": {}, "application": large });
    for (method, path, body) in [
        ("POST", "/api/v1/app", &large),
        ("PUT", "/api/v1/app/new", &large),
        ("POST", "/api/v1/auth/app-portal-access/new", &along),
        ("POST", "/api/v1/app/new/msg", &message),
    ] {
        let refused = world.call(method, path, Some(body.clone())).await;
        assert_eq!(refused.status, 422, "{method} {path}: {refused:?}");
    }
    let half = "x".repeat(170_000);
    let body = json!({ "name": "a.b", "description": half });
    world.expect("POST", "/api/v1/event-type", Some(body)).await;
    let more = json!({ "schemas": { "1": { "examples": [{ "a": half }] } } });
    let refused = world
        .call("PATCH", "/api/v1/event-type/a.b", Some(more))
        .await;
    assert_eq!(refused.status, 422, "and none to such an event type");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_without_anything_in_it_is_an_empty_page() {
    let world = World::start().await;
    let application = world.application().await;
    let id = world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    for query in [
        "before=2024-01-01T00:00:00Z&after=2025-01-01T00:00:00Z".to_owned(),
        format!("after=2100-01-01T00:00:00Z&iterator={id}"),
        "before=0001-01-01T00:00:00Z".to_owned(),
        "after=9999-12-31T23:59:59Z".to_owned(),
    ] {
        let page = world.expect("GET", &format!("{path}?{query}"), None).await;
        assert_eq!(
            (&page["data"], &page["done"]),
            (&json!([]), &json!(true)),
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_like_iterators_are_listed() {
    let world = World::start().await;
    let names = ["--", "-a", "-b", "...", ".c", "d"];
    for name in names {
        let body = json!({ "name": name, "description": "" });
        world.expect("POST", "/api/v1/event-type", Some(body)).await;
    }
    for limit in [1, 2, 50] {
        let listed = world.pages("/api/v1/event-type", limit).await.0;
        let listed: Vec<_> = listed
            .iter()
            .map(|item: &Value| item["name"].as_str().unwrap())
            .collect();
        assert_eq!(listed, names);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_in_hundreds_is_found_by_its_type_with_one_request() {
    let world = World::start().await;
    let application = world.application().await;
    let wanted = world
        .send(&application.id, r#"{"eventType":"rare","payload":{}}"#)
        .await;
    let sends =
        (0..200).map(|_| world.send(&application.id, r#"{"eventType":"common","payload":{}}"#));
    futures_util::future::join_all(sends).await;
    let path = format!(
        "/api/v1/app/{}/msg?event_types=rare&limit=1",
        application.id
    );
    let page = world.expect("GET", &path, None).await;
    assert_eq!(page["data"][0]["id"], wanted);
}
