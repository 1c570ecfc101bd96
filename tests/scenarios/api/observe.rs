//! What happened to messages: attempts, destinations, their state, statistics.

use posthorn_tests::{Receiver, World, until};
use serde_json::{Value, json};

fn texts<'a>(items: &'a [Value], field: &str) -> Vec<&'a str> {
    items
        .iter()
        .map(|item| item[field].as_str().unwrap())
        .collect()
}

/// Two endpoints, one of which refuses everything, and two messages that were attempted at both.
struct Sent {
    world: World,
    app: String,
    good: String,
    bad: String,
    messages: [String; 2],
    _receivers: [Receiver; 2],
}

impl Sent {
    async fn start() -> Self {
        // One retry, an hour later.
        let world = World::with_parameters([("RetrySchedule", "3600")]).await;
        let receivers = [
            Receiver::accepting().await,
            Receiver::answering([500; 10]).await,
        ];
        let application = world.application().await;
        let good = world.endpoint(&application, &receivers[0]).await.id;
        let bad = world.endpoint(&application, &receivers[1]).await.id;
        let first = r#"{"eventType":"a.b","eventId":"evt-1","channels":["x"],"payload":{"n":1}}"#;
        let second = r#"{"eventType":"c.d","payload":{"n":2}}"#;
        let mut messages = Vec::new();
        for message in [first, second] {
            let id = world.send(&application.id, message).await;
            world.attempts(&application, &id, 2).await;
            messages.push(id);
        }
        let messages = messages.try_into().unwrap();
        let app = format!("/api/v1/app/{}", application.id);
        Self {
            world,
            app,
            good,
            bad,
            messages,
            _receivers: receivers,
        }
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        self.world.pages(&format!("{}{path}", self.app), 1).await.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_listed_by_endpoint_and_by_message_with_every_filter() {
    let sent = Sent::start().await;
    let [first, second] = &sent.messages;
    let all = sent.list(&format!("/attempt/endpoint/{}", sent.good)).await;
    assert_eq!(
        texts(&all, "msgId"),
        [second, first],
        "newest first, page by page"
    );
    let middle = all[0]["timestamp"].as_str().unwrap();
    for (query, expected) in [
        ("status=0", vec![second, first]),
        ("status=2", vec![]),
        ("status_code_class=200", vec![second, first]),
        ("status_code_class=500", vec![]),
        ("event_types=a.b", vec![first]),
        ("event_types=a.b,c.d", vec![second, first]),
        ("event_types=a.b&event_types=c.d", vec![second, first]),
        ("channel=x", vec![first]),
        ("channel=y", vec![]),
        (&format!("before={middle}"), vec![first]),
    ] {
        let path = format!("/attempt/endpoint/{}?{query}", sent.good);
        assert_eq!(texts(&sent.list(&path).await, "msgId"), expected, "{query}");
    }
    let after = all[1]["timestamp"].as_str().unwrap();
    let path = format!("/attempt/endpoint/{}?after={after}", sent.good);
    assert_eq!(texts(&sent.list(&path).await, "msgId"), [second]);

    for (query, expected) in [
        ("status=0", vec![&sent.good]),
        ("status=2", vec![&sent.bad]),
        ("status_code_class=500", vec![&sent.bad]),
        (&format!("endpoint_id={}", sent.good), vec![&sent.good]),
        ("event_types=c.d", vec![]),
        ("channel=y", vec![]),
    ] {
        for message in [first, "evt-1"] {
            let path = format!("/attempt/msg/{message}?{query}");
            assert_eq!(
                texts(&sent.list(&path).await, "endpointId"),
                expected,
                "{query}"
            );
        }
    }
    let both = sent.list(&format!("/attempt/msg/{first}")).await;
    assert_eq!(both.len(), 2);
    let id = both[0]["id"].as_str().unwrap();
    let one = format!("{}/msg/{first}/attempt/{id}", sent.app);
    assert_eq!(sent.world.expect("GET", &one, None).await, both[0]);
    let hidden = sent
        .list(&format!("/attempt/msg/{first}?with_content=false"))
        .await;
    assert_eq!(hidden[0]["response"], "");
    let elsewhere = format!("{}/msg/{second}/attempt/{id}", sent.app);
    assert_eq!(
        sent.world.get(&elsewhere).await.status,
        404,
        "another message's attempt"
    );
    for query in [
        "status=4",
        "status_code_class=201",
        "before=yesterday",
        "limit=0",
        "iterator=x",
    ] {
        let path = format!("{}/attempt/endpoint/{}?{query}", sent.app, sent.good);
        let refused = sent.world.get(&path).await;
        let field = query.split('=').next().unwrap();
        assert_eq!(
            (refused.status, &refused.body["detail"][0]["loc"]),
            (422, &json!(["query", field]))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_says_how_it_stands_at_each_endpoint() {
    let sent = Sent::start().await;
    let [first, second] = &sent.messages;
    let standing = |item: &Value| {
        let next = item["nextAttempt"].as_str().is_some();
        (
            item["status"].as_u64().unwrap(),
            item["statusText"].as_str().unwrap().to_owned(),
            next,
        )
    };
    let success = (0, "success".to_owned(), false);
    let sending = (3, "sending".to_owned(), true);
    let destinations = sent.list(&format!("/msg/{first}/endpoint")).await;
    let by_id = |id: &str| destinations.iter().find(|item| item["id"] == id).unwrap();
    assert_eq!(destinations.len(), 2);
    assert_eq!(standing(by_id(&sent.good)), success);
    assert_eq!(standing(by_id(&sent.bad)), sending);

    let good = format!("/endpoint/{}/msg", sent.good);
    let bad = format!("/endpoint/{}/msg", sent.bad);
    let messages = sent.list(&bad).await;
    assert_eq!(texts(&messages, "id"), [second, first], "newest first");
    assert_eq!(standing(&messages[0]), sending);
    assert_eq!(messages[1]["payload"], json!({ "n": 1 }));
    for (path, expected) in [
        (format!("{bad}?status=3"), vec![second, first]),
        (format!("{bad}?status=0"), vec![]),
        (format!("{good}?status=0&channel=x"), vec![first]),
        (format!("{good}?event_types=c.d"), vec![second]),
        (
            format!(
                "{good}?before={}",
                messages[0]["timestamp"].as_str().unwrap()
            ),
            vec![first],
        ),
        (
            format!(
                "{good}?after={}",
                messages[1]["timestamp"].as_str().unwrap()
            ),
            vec![second],
        ),
    ] {
        assert_eq!(texts(&sent.list(&path).await, "id"), expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_a_disabled_endpoint_missed_are_visible() {
    let sent = Sent::start().await;
    let endpoint = format!("{}/endpoint/{}", sent.app, sent.good);
    sent.world
        .expect("PATCH", &endpoint, Some(json!({ "disabled": true })))
        .await;
    let app = sent.app.strip_prefix("/api/v1/app/").unwrap();
    let missed = sent
        .world
        .send(app, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    let listed = sent
        .list(&format!("/endpoint/{}/msg?status=2", sent.good))
        .await;
    assert_eq!(texts(&listed, "id"), [&missed]);
    assert_eq!(listed[0]["skipped"], true);
    let stats = sent
        .world
        .expect("GET", &format!("{endpoint}/stats"), None)
        .await;
    assert_eq!(
        stats,
        json!({ "success": 2, "pending": 0, "sending": 0, "fail": 0, "canceled": 1 })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoints_messages_are_counted_over_up_to_28_days() {
    let sent = Sent::start().await;
    let stats = |endpoint: &str| format!("{}/endpoint/{endpoint}/stats", sent.app);
    let good = sent.world.expect("GET", &stats(&sent.good), None).await;
    assert_eq!(
        good,
        json!({ "success": 2, "pending": 0, "sending": 0, "fail": 0, "canceled": 0 })
    );
    let bad = sent.world.expect("GET", &stats(&sent.bad), None).await;
    assert_eq!(
        bad,
        json!({ "success": 0, "pending": 0, "sending": 2, "fail": 0, "canceled": 0 })
    );
    let past = "since=2026-01-01T00:00:00Z&until=2026-01-29T00:00:00Z";
    let none = sent
        .world
        .expect("GET", &format!("{}?{past}", stats(&sent.good)), None)
        .await;
    assert_eq!(none["success"], 0);
    let long = "since=2026-01-01T00:00:00Z&until=2026-01-29T00:00:01Z";
    let refused = sent
        .world
        .get(&format!("{}?{long}", stats(&sent.good)))
        .await;
    assert_eq!(
        (refused.status, &refused.body["detail"][0]["loc"]),
        (422, &json!(["query", "since"]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_for_its_first_attempt_is_pending() {
    let world = World::start().await;
    let receiver = Receiver::answering([0]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    receiver.wait_for(1).await;
    let path = format!("/api/v1/app/{}/endpoint/{}", application.id, endpoint.id);
    let listed = world
        .expect("GET", &format!("{path}/msg?status=1"), None)
        .await;
    assert_eq!(
        (&listed["data"][0]["id"], &listed["data"][0]["statusText"]),
        (&json!(id), &json!("pending"))
    );
    let stats = world.expect("GET", &format!("{path}/stats"), None).await;
    assert_eq!(stats["pending"], 1);
    until("the message by its status", || async {
        let list = format!("/api/v1/app/{}/msg/{id}/endpoint", application.id);
        let list = world.expect("GET", &list, None).await;
        (list["data"][0]["status"] == 1).then_some(())
    })
    .await;
}
