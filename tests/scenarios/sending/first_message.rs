//! The main path: an application, an endpoint, a message, and a receiver that verifies it.

use posthorn_tests::client::MessageIn;
use posthorn_tests::{Receiver, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_signed() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let payload = serde_json::json!({ "id": "in_1", "amount": 4200 });
    let message = MessageIn {
        event_id: Some("evt-1".into()),
        ..MessageIn::new("invoice.paid".into(), payload.clone())
    };
    let sent = world
        .svix
        .message()
        .create(application.id.clone(), message, None)
        .await
        .unwrap();

    let request = &receiver.wait_for(1).await[0];
    let secret = world.secret(&application, &endpoint).await;
    request.verify(&secret).unwrap();
    assert_eq!(request.header("webhook-id"), sent.id);
    assert_eq!(request.header("content-type"), "application/json");
    assert!(
        request.headers.get("svix-id").is_none(),
        "only by parameter"
    );

    let mut forged = request.clone();
    forged.body = forged
        .body
        .iter()
        .map(|byte| if *byte == b'4' { b'5' } else { *byte })
        .collect();
    assert!(
        forged.verify(&secret).is_err(),
        "a changed body must not verify"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_bytes_are_posted_bytes() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let small =
        r#"{ "z" : 1, "a":"grüße \u00e9 🚀",  "n":1.50e2, "k":{"b":[ ],"a":null} }"#.to_owned();
    let large = format!(r#"{{ "big" : "{}", "a" : 1.0 }}"#, "ü".repeat(100_000));
    let refused_by_sqs = "{\"x\":\"\u{fffe}\u{ffff}\"}".to_owned();
    for (count, payload) in [small, large, refused_by_sqs].into_iter().enumerate() {
        let body = format!(r#"{{"eventType":"a.b","payload":{payload}}}"#);
        let id = world.send(&application.id, &body).await;
        let received = receiver.wait_for(count + 1).await;
        assert_eq!(received[count].body, payload.as_bytes());
        assert_eq!(received[count].header("webhook-id"), id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_be_read_and_listed_at_once() {
    let world = World::start().await;
    let application = world.application().await;
    let mut sent = Vec::new();
    for i in 0..7 {
        let payload = serde_json::json!({ "i": i });
        let message = MessageIn::new("a.b".into(), payload.clone());
        let message = world
            .svix
            .message()
            .create(application.id.clone(), message, None)
            .await
            .unwrap();
        let read = world
            .svix
            .message()
            .get(application.id.clone(), message.id.clone(), None)
            .await
            .unwrap();
        assert_eq!((read.payload, read.event_type.as_str()), (payload, "a.b"));
        sent.push(message.id);
    }
    let mut listed = Vec::new();
    let mut iterator = None;
    loop {
        let options = posthorn_tests::client::ListOptions {
            limit: Some(3),
            iterator,
        };
        let page = world
            .svix
            .message()
            .list(application.id.clone(), Some(options))
            .await
            .unwrap();
        listed.extend(page.data.into_iter().map(|message| message.id));
        iterator = page.iterator;
        if page.done {
            break;
        }
    }
    let mut newest_first = sent.clone();
    newest_first.sort();
    newest_first.reverse();
    assert_eq!(listed, newest_first, "every message once, newest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_listed_by_message_and_by_endpoint() {
    let world = World::start().await;
    let receiver = Receiver::answering([500]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    let attempts = world.attempts(&application, &id, 1).await;
    let attempt = attempts.last().unwrap();
    assert_eq!(attempt.response_status_code, 500);
    assert_eq!(attempt.response, "answer 500");
    assert_eq!((&attempt.msg_id, &attempt.endpoint_id), (&id, &endpoint.id));
    assert_eq!(attempt.url, receiver.url());
    let by_endpoint = world.svix.message_attempt();
    let by_endpoint = by_endpoint
        .list_by_endpoint(application.id.clone(), endpoint.id.clone(), None)
        .await
        .unwrap();
    assert!(
        by_endpoint
            .data
            .iter()
            .any(|listed| listed.id == attempt.id)
    );
}
