//! Batches: every message counts by itself, and a batch can be repeated without harm.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use posthorn_domain::id::MessageId;
use posthorn_local::StackOptions;
use posthorn_runtime::{entropy, now};
use posthorn_store::{Guard, Reservation};
use posthorn_tests::{FaultyAws, Plan, Receiver, World, until};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn message(n: usize) -> Value {
    json!({ "eventType": "a.b", "payload": { "n": n } })
}

fn path(application: &str) -> String {
    format!("/api/v1/app/{application}/msg/batch")
}

fn statuses(batch: &Value) -> Vec<u64> {
    let results = batch["results"].as_array().unwrap().iter();
    results.map(|it| it["status"].as_u64().unwrap()).collect()
}

fn ids(batch: &Value) -> Vec<Value> {
    let results = batch["results"].as_array().unwrap().iter();
    results.map(|it| it["message"]["id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_batch_is_accepted_or_refused_by_itself() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let large = "x".repeat(256 * 1024);
    let deep = (0..110).fold(json!({}), |inner, _| json!({ "a": inner }));
    let batch = json!({ "messages": [
        message(0),
        { "eventType": "a b", "payload": {} },
        { "eventType": "a.b", "payload": { "text": large } },
        { "eventType": "a.b", "payload": [] },
        { "eventType": "a.b", "payload": {}, "eventId": "e-1" },
        { "eventType": "a.b", "payload": {}, "eventId": "e-1" },
        5,
        message(7),
        { "eventType": "a.b", "payload": deep },
    ] });
    let answer = world
        .call("POST", &path(&application.id), Some(batch))
        .await;
    let body = answer.body;
    assert_eq!((answer.status, &body["failed"]), (207, &json!(6)));
    assert_eq!(
        statuses(&body),
        [202, 422, 413, 422, 202, 409, 422, 202, 422],
        "{body}"
    );
    for (place, field) in [(1, "eventType"), (3, "payload"), (8, "payload")] {
        let detail = &body["results"][place]["error"]["detail"][0];
        let place = place.to_string();
        assert_eq!(detail["loc"], json!(["body", "messages", place, field]));
    }
    let not_an_object = &body["results"][6]["error"]["detail"][0]["loc"];
    assert_eq!(*not_an_object, json!(["body", "messages", "6"]));
    assert_eq!(body["results"][7]["message"]["payload"], json!({ "n": 7 }));
    let mut received: Vec<_> = receiver
        .wait_for(3)
        .await
        .iter()
        .map(|it| it.header("webhook-id").to_owned())
        .collect();
    received.sort();
    let accepted = ids(&body).into_iter().filter(|id| !id.is_null());
    let mut accepted: Vec<_> = accepted.map(|id| id.as_str().unwrap().to_owned()).collect();
    accepted.sort();
    assert_eq!(received, accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sent_again_with_its_key_is_the_same_batch() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let send = async |messages: Vec<Value>| {
        let body = json!({ "messages": messages }).to_string();
        let key = [("idempotency-key", "k-1")];
        world.post(&path(&application.id), &body, &key).await
    };
    let first = send(vec![message(1), message(2)]).await;
    let again = send(vec![message(1), message(2)]).await;
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(ids(&first.body), ids(&again.body));
    let changed = send(vec![message(1), message(3)]).await.body;
    assert_eq!(statuses(&changed), [202, 422], "{changed}");
    let loc = &changed["results"][1]["error"]["detail"][0]["loc"];
    assert_eq!(*loc, json!(["header", "idempotency-key"]));
    let marker = world.send(&application.id, &message(4).to_string()).await;
    let received = receiver.wait_for(3).await;
    assert!(received.iter().any(|it| it.header("webhook-id") == marker));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_limits_and_an_application() {
    let world = World::start().await;
    let application = world.application().await.id;
    let send = async |to: &str, batch: Value| world.call("POST", &path(to), Some(batch)).await;
    let many = |count| json!({ "messages": (0..count).map(message).collect::<Vec<_>>() });
    for batch in [json!({}), json!({ "messages": {} }), many(0), many(101)] {
        let answer = send(&application, batch).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        let loc = &answer.body["detail"][0]["loc"];
        assert_eq!(*loc, json!(["body", "messages"]));
    }
    assert_eq!(send(&application, many(100)).await.status, 202);
    let large = json!({ "eventType": "a.b", "payload": { "text": "x".repeat(250_000) } });
    let large = json!({ "messages": vec![large; 9] });
    assert_eq!(send(&application, large).await.status, 413);
    assert_eq!(send("nobody", many(1)).await.status, 404);
    let new = json!({ "name": "New", "uid": "new" });
    let bringing = json!({ "eventType": "a.b", "payload": {}, "application": new });
    let batch = json!({ "messages": [message(1), bringing] });
    assert_eq!(send("new", batch).await.status, 202);
    // An invalid application does not keep the other messages from creating theirs.
    let bad = json!({ "name": "New", "uid": "other" });
    let bad = json!({ "eventType": "a.b", "payload": {}, "application": bad });
    let good = json!({ "name": "New", "uid": "newer" });
    let good = json!({ "eventType": "a.b", "payload": {}, "application": good });
    let answer = send("newer", json!({ "messages": [bad, good] })).await;
    assert_eq!(statuses(&answer.body), [422, 202]);
    let loc = &answer.body["results"][0]["error"]["detail"][0]["loc"];
    assert_eq!(*loc, json!(["body", "messages", "0", "application", "uid"]));
    assert_eq!(
        world.expect("GET", "/api/v1/app/new/msg", None).await["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

/// Now and then many calls fail in a row, including the SDK's retries.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_failed_in_parts_is_completed_by_its_repetition() {
    const MESSAGES: usize = 20;
    let faults = FaultyAws::start(
        3,
        Plan {
            per_mille: 20,
            storm_every: 160,
            storm: 20,
        },
    )
    .await;
    let options = StackOptions {
        parameters: [("VisibilityTimeoutSeconds".to_owned(), "2".to_owned())].into(),
        ..StackOptions::default()
    };
    let world = World::with_options_through(options, &faults).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let messages: Vec<_> = (0..MESSAGES).map(message).collect();
    let body = json!({ "messages": messages }).to_string();
    let partial = AtomicUsize::new(0);
    let mut accepted = BTreeSet::new();
    for batch in 0..4 {
        let key = format!("k-{batch}");
        let ids = until("an accepted batch", || async {
            let headers = [("idempotency-key", key.as_str())];
            let answer = world.post(&path(&application.id), &body, &headers).await;
            partial.fetch_add(usize::from(answer.status == 207), Ordering::Relaxed);
            (answer.status == 202).then(|| ids(&answer.body))
        })
        .await;
        assert_eq!(ids.len(), MESSAGES);
        accepted.extend(ids.iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    let partial = partial.into_inner();
    println!("{partial} answers were partial");
    assert_eq!(accepted.len(), 4 * MESSAGES);
    until("every accepted message", || async {
        let all = receiver.received();
        let received: BTreeSet<_> = all
            .iter()
            .map(|it| it.header("webhook-id").to_owned())
            .collect();
        (received == accepted).then_some(())
    })
    .await;
}

/// More tasks than are queued together.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_to_many_endpoints_is_sent_in_parts() {
    const ENDPOINTS: usize = 60;
    const MESSAGES: usize = 40;
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    for _ in 0..ENDPOINTS {
        world.endpoint(&application, &receiver).await;
    }
    let messages: Vec<_> = (0..MESSAGES).map(message).collect();
    let batch = json!({ "messages": messages }).to_string();
    // On a busy machine a request may not have time for all of them: clients then repeat it with
    // its key.
    until("the batch is accepted", || async {
        let key = [("idempotency-key", "k")];
        let answer = world.post(&path(&application.id), &batch, &key).await;
        let is_answer = matches!(answer.status, 202 | 207 | 503);
        assert!(is_answer, "{answer:?}");
        (answer.status == 202).then_some(())
    })
    .await;
    let received = receiver.wait_for(ENDPOINTS * MESSAGES).await;
    assert_eq!(received.len(), ENDPOINTS * MESSAGES);
}

/// Tasks cannot be queued: clients retry after a 503, but never after a 2xx.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_failed_for_us_is_503() {
    // Nothing listens there.
    let nowhere = "http://127.0.0.1:9".to_owned();
    let options = StackOptions {
        environment: [("AWS_ENDPOINT_URL_SQS".to_owned(), nowhere)].into(),
        ..StackOptions::default()
    };
    let world = World::with_options(options).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let send = async |messages: Value| {
        let batch = json!({ "messages": messages });
        world
            .call("POST", &path(&application.id), Some(batch))
            .await
    };
    let answer = send(json!([message(1), message(2)])).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let answer = send(json!([message(1), {}])).await;
    assert_eq!(
        (answer.status, statuses(&answer.body)),
        (207, vec![503, 422])
    );
}

/// When the first message of an event could not be stored, the second takes its place. A repetition
/// of the first is then refused, and does not count as accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_is_not_accepted_for_what_another_message_stored() {
    let world = World::start().await;
    let application = world.application().await.id;
    let clients = world.aws().await;
    let event = |n: usize| json!({ "eventType": "a.b", "payload": { "n": n }, "eventId": "e" });
    let post = async |body: Value, key: &str| {
        let path = format!("/api/v1/app/{application}/msg");
        world
            .post(&path, &body.to_string(), &[("idempotency-key", key)])
            .await
    };
    // A request that crashed after it reserved its key and its event.
    let id = application.parse().unwrap();
    let interrupted = Reservation {
        message: MessageId::new(now(), entropy()),
        created_at: now(),
        request_hash: sha256(&event(1).to_string()),
        finished: false,
        abandoned: true,
    };
    let until = now().plus(std::time::Duration::from_secs(3600));
    for guard in [
        Guard::IdempotencyKey(sha256("first")),
        Guard::EventId("e".to_owned().try_into().unwrap()),
    ] {
        let guards = &clients.guards;
        guards
            .settle(&id, &guard, &interrupted, until)
            .await
            .unwrap();
    }
    let second = post(event(2), "second").await;
    assert_eq!(second.status, 202, "{second:?}");
    assert_eq!(second.body["id"], interrupted.message.as_str());
    for _ in 0..2 {
        let first = post(event(1), "first").await;
        assert_eq!(first.status, 409, "{first:?}");
    }
    assert_eq!(post(event(2), "second").await.status, 202);
}

fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
