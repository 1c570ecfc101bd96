//! A repeated request finds its first message.

use posthorn_store::{Guard, Reservation};
use posthorn_tests::{
    Receiver, World,
    client::{CreateOptions, MessageIn},
};

fn message(event_id: Option<&str>) -> MessageIn {
    let event_id = event_id.map(str::to_owned);
    MessageIn {
        event_id,
        ..MessageIn::new("a.b".into(), serde_json::json!({ "n": 1 }))
    }
}

fn key(key: &str) -> Option<CreateOptions> {
    Some(CreateOptions {
        idempotency_key: Some(key.to_owned()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_event_id_is_409() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let messages = world.svix.message();
    let create = || messages.create(application.id.clone(), message(Some("evt-1")), None);
    let first = create().await.unwrap();
    assert_eq!(create().await.unwrap_err().status, 409);
    let marker = world
        .svix
        .message()
        .create(application.id.clone(), message(Some("evt-2")), None)
        .await
        .unwrap();
    let ids: Vec<_> = receiver
        .wait_for(2)
        .await
        .iter()
        .map(|r| r.header("webhook-id").to_owned())
        .collect();
    assert!(
        ids.contains(&first.id) && ids.contains(&marker.id),
        "{ids:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_message_and_another_body_is_422() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let messages = world.svix.message();
    let create = |message, options| messages.create(application.id.clone(), message, options);
    let first = create(message(None), key("k-1")).await.unwrap();
    let again = create(message(None), key("k-1")).await.unwrap();
    assert_eq!(
        (first.id.as_str(), &first.timestamp),
        (again.id.as_str(), &again.timestamp)
    );
    let refused = create(message(Some("other")), key("k-1"))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.status, &refused.body["detail"][0]["loc"]),
        (422, &serde_json::json!(["header", "idempotency-key"]))
    );
    let other = create(message(None), key("k-2")).await.unwrap();
    assert_ne!(first.id, other.id);
    receiver.wait_for(2).await;
    let listed = world
        .svix
        .message()
        .list(application.id.clone(), None)
        .await
        .unwrap();
    assert_eq!(listed.data.len(), 2);
}

/// A repeated POST shows what the first one did, also where the answer has what is not kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_rotation_or_example_has_one_effect_and_the_same_answer() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let path = format!("/api/v1/app/{}/endpoint/{}", application.id, endpoint.id);
    let rotation = format!("{path}/secret/rotate");
    for agent in ["svix-libs/2.9.1/python", "svix-libs/1.70.0/python"] {
        let headers = [("idempotency-key", agent), ("user-agent", agent)];
        let rotate = || world.post(&rotation, "{}", &headers);
        let (first, again) = (rotate().await, rotate().await);
        assert_eq!(first.status, again.status, "{agent}: {again:?}");
        assert_eq!(first.body, again.body, "{agent}");
        if first.status == 200 {
            let secret = world.secret(&application, &endpoint).await;
            assert_eq!(first.body["key"], secret);
        }
    }
    let example = format!("{path}/send-example");
    let body = r#"{"eventType":"svix.ping"}"#;
    let headers = [("idempotency-key", "example")];
    let first = world.post(&example, body, &headers).await;
    let again = world.post(&example, body, &headers).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(
        first.body["payload"],
        serde_json::json!({ "success": true })
    );
    assert_eq!(first.body, again.body);
    let marker = world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    let received = receiver.wait_for(2).await;
    assert!(received.iter().any(|it| it.header("webhook-id") == marker));
    assert_eq!(received.len(), 2, "the example was sent once");
}

/// An event whose id looks like a message id would be mistaken for that message.
#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_named_as_a_message_could_be() {
    let world = World::start().await;
    let application = world.application().await.id;
    let path = format!("/api/v1/app/{application}/msg");
    let first = world
        .send(&application, r#"{"eventType":"a.b","payload":{"n":1}}"#)
        .await;
    let event = |id: &str| format!(r#"{{"eventType":"a.b","payload":{{"n":2}},"eventId":"{id}"}}"#);
    let refused = world.post(&path, &event(&first), &[]).await;
    let loc = &refused.body["detail"][0]["loc"];
    assert_eq!(
        (refused.status, loc),
        (422, &serde_json::json!(["body", "eventId"]))
    );
    // A name that merely starts like an id is an ordinary name.
    let second = world.send(&application, &event("msg_01ABC")).await;
    let found = world.get(&format!("{path}/msg_01ABC")).await;
    assert_eq!(found.body["id"], second.as_str());
}

/// In milliseconds; longer than a request may take.
const LONG_AGO: i64 = 20_000;

/// What ingest leaves of a request for the event `evt-1` that reserved its id and crashed this many
/// milliseconds ago.
async fn left_behind(world: &World, application: &str, body: &str, ago: i64) -> Reservation {
    let at = posthorn_runtime::now().as_millis() - ago;
    let at = posthorn_domain::timestamp::Timestamp::from_millis(at);
    let reservation = Reservation {
        message: posthorn_domain::id::MessageId::new(at, posthorn_runtime::entropy()),
        created_at: at,
        request_hash: sha256(body),
        finished: false,
        abandoned: false,
    };
    let guard = Guard::EventId("evt-1".to_owned().try_into().unwrap());
    let expires_at = at.plus(std::time::Duration::from_secs(3600));
    let application = application.parse().unwrap();
    let guards = world.aws().await.guards;
    let reserved = guards
        .reserve(&application, &guard, &reservation, expires_at)
        .await;
    assert_eq!(reserved.unwrap(), None);
    reservation
}

/// What ingest leaves when it crashes between the table and the queue: an unfinished guard.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_repeated_after_a_crash_makes_one_message_and_queues_it() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let body = r#"{"eventType":"a.b","payload":{"n":1},"eventId":"evt-1"}"#;
    let path = format!("/api/v1/app/{}/msg", application.id);
    let reservation = left_behind(&world, &application.id, body, LONG_AGO).await;

    let answer = world.post(&path, body, &[]).await;
    assert_eq!(
        (answer.status, &answer.body["id"]),
        (202, &reservation.message.as_str().into())
    );
    assert_eq!(
        receiver.wait_for(1).await[0].header("webhook-id"),
        reservation.message.as_str()
    );
    assert_eq!(
        world.post(&path, body, &[]).await.status,
        409,
        "from now on it is a repetition"
    );
    let listed = world
        .svix
        .message()
        .list(application.id.clone(), None)
        .await
        .unwrap();
    assert_eq!(listed.data.len(), 1);
}

/// The first try reserved the id and crashed; the next one has another timestamp in its body.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_first_try_stored_nothing_is_not_taken_for_sent() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    left_behind(&world, &application.id, "another body", LONG_AGO).await;
    let body = r#"{"eventType":"a.b","payload":{"at":2},"eventId":"evt-1"}"#;
    assert_eq!(world.post(&path, body, &[]).await.status, 202);
    assert_eq!(receiver.wait_for(1).await[0].body, r#"{"at":2}"#);
    let other = r#"{"eventType":"a.b","payload":{"at":3},"eventId":"evt-1"}"#;
    assert_eq!(world.post(&path, other, &[]).await.status, 409, "now it is");
}

/// A failed request is marked, and the next one continues at once; a request that may still be
/// running is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_failed_is_repeated_at_once_and_one_at_work_is_waited_for() {
    let world = World::start().await;
    let application = world.application().await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    let body = r#"{"eventType":"a.b","payload":{},"eventId":"evt-1"}"#;
    let reservation = left_behind(&world, &application.id, body, 0).await;
    assert_eq!(
        world.post(&path, body, &[]).await.status,
        503,
        "it may be at work"
    );
    let failed = Reservation {
        abandoned: true,
        ..reservation
    };
    let guard = Guard::EventId("evt-1".to_owned().try_into().unwrap());
    let id = application.id.parse().unwrap();
    let expires_at = failed.created_at.plus(std::time::Duration::from_secs(3600));
    let guards = world.aws().await.guards;
    guards
        .settle(&id, &guard, &failed, expires_at)
        .await
        .unwrap();
    let answer = world.post(&path, body, &[]).await;
    assert_eq!(
        (answer.status, &answer.body["id"]),
        (202, &failed.message.as_str().into())
    );
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_several_times_at_once_is_delivered_once() {
    let world = World::start().await;
    let path = |application: &str| format!("/api/v1/app/{application}/msg");
    let by_key = r#"{"eventType":"a.b","payload":{}}"#;
    let by_event = r#"{"eventType":"a.b","payload":{},"eventId":"evt-1"}"#;
    for (body, headers) in [(by_key, &[("idempotency-key", "k")][..]), (by_event, &[])] {
        let receiver = Receiver::accepting().await;
        let application = world.application().await;
        world.endpoint(&application, &receiver).await;
        let path = path(&application.id);
        let posts = (0..6).map(|_| world.post(&path, body, headers));
        let answers = futures_util::future::join_all(posts).await;
        let accepted = answers.iter().filter(|answer| answer.status == 202).count();
        let expected = if headers.is_empty() { 1 } else { 6 };
        assert_eq!(accepted, expected, "{answers:?}");
        // Once another message has arrived, nothing else is on its way.
        world.send(&application.id, by_key).await;
        receiver.wait_for(2).await;
        assert_eq!(receiver.received().len(), 2);
    }
}
