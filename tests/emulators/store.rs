//! The tables.

use std::time::Duration;

use posthorn_domain::{
    attempt::{Attempt, Outcome},
    delivery::{Ask, record},
    id::{ApplicationId, AttemptId, EndpointId, MessageId},
    key::{DeliveryKey, LogKey},
    message::{Destination, Message},
    payload::Payload,
    retry::RetrySchedule,
    timestamp::Timestamp,
};
use posthorn_runtime::{entropy, now};
use posthorn_store::{
    Consistency, Cursor, Guard, Page, Progress, Put, Range, Reservation, Scheduled, Written,
    minute_of,
};

use crate::emulators;

fn message(payload: &str) -> Message {
    let created_at = now();
    Message {
        id: MessageId::new(created_at, entropy()),
        event_type: "a.b".to_owned().try_into().unwrap(),
        event_id: Some("evt-1".to_owned().try_into().unwrap()),
        channels: None,
        tags: None,
        payload: Payload::from_text(payload.to_owned()).ok(),
        destinations: vec![Destination {
            endpoint: EndpointId::new(created_at, entropy()),
            skipped: None,
        }],
        created_at,
        expires_at: created_at.plus(Duration::from_secs(3600)),
    }
}

fn log_of(application: &ApplicationId) -> LogKey<'_> {
    LogKey {
        application,
        shards: 4,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_stored_once_and_read_as_it_was() {
    let (_aws, clients) = emulators(&[], None).await;
    let application = ApplicationId::new(now(), entropy());
    let log = log_of(&application);
    let long = format!(r#"{{ "a" : "{}" }}"#, "grüße ".repeat(30_000));
    for payload in ["{}", r#"{ "z":1 , "a":"\u00e9" }"#, long.as_str()] {
        let message = message(payload);
        assert_eq!(clients.messages.put(log, &message).await.unwrap(), Put::New);
        let read = clients
            .messages
            .get(log.message(&message.id), Consistency::Strong)
            .await
            .unwrap();
        assert_eq!(read.as_ref(), Some(&message));
        let again = Message {
            payload: Payload::from_text("{\"other\":1}".to_owned()).ok(),
            ..message.clone()
        };
        let existed = clients.messages.put(log, &again).await.unwrap();
        assert_eq!(
            existed,
            Put::Existed(Box::new(message)),
            "the first one stays"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_merges_the_shards_in_both_directions() {
    let (_aws, clients) = emulators(&[], None).await;
    let application = ApplicationId::new(now(), entropy());
    let log = log_of(&application);
    let mut ids = Vec::new();
    for _ in 0..40 {
        let message = message("{}");
        clients.messages.put(log, &message).await.unwrap();
        ids.push(message.id);
    }
    ids.sort();
    for ascending in [true, false] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = Page {
                limit: 7,
                ascending,
                after,
            };
            let all = Range::prefix("msg_");
            let found = clients.messages.list(log, all, &page).await.unwrap();
            listed.extend(found.items.into_iter().map(|(_, message)| message.id));
            after = found.next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<_> = if ascending {
            ids.clone()
        } else {
            ids.iter().rev().cloned().collect()
        };
        assert_eq!(listed, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_gives_its_first_reservation_until_it_expires() {
    let (_aws, clients) = emulators(&[], None).await;
    let application = ApplicationId::new(now(), entropy());
    let guard = Guard::EventId("evt-1".to_owned().try_into().unwrap());
    let reservation = |created_at: Timestamp| Reservation {
        message: MessageId::new(created_at, entropy()),
        created_at,
        request_hash: "h".to_owned(),
        finished: false,
        abandoned: false,
    };
    let first = reservation(now());
    let expires_at = now().plus(Duration::from_secs(60));
    let reserve = |wanted: Reservation| {
        let (guards, application, guard) =
            (clients.guards.clone(), application.clone(), guard.clone());
        async move {
            guards
                .reserve(&application, &guard, &wanted, expires_at)
                .await
                .unwrap()
        }
    };
    assert_eq!(reserve(first.clone()).await, None);
    assert_eq!(
        reserve(first.clone()).await,
        None,
        "a retry of the SDK finds its own reservation"
    );
    assert_eq!(reserve(reservation(now())).await, Some(first.clone()));
    let finished = Reservation {
        finished: true,
        ..first
    };
    clients
        .guards
        .settle(&application, &guard, &finished, expires_at)
        .await
        .unwrap();
    assert_eq!(reserve(reservation(now())).await, Some(finished));
    let later = reservation(expires_at.plus(Duration::from_secs(1)));
    assert_eq!(
        reserve(later).await,
        None,
        "expired, though TTL has not removed it yet"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_records_of_a_delivery_do_not_overwrite_each_other() {
    let (_aws, clients) = emulators(&[], None).await;
    let (endpoint, message) = (
        EndpointId::new(now(), entropy()),
        MessageId::new(now(), entropy()),
    );
    let event_type = "a.b".to_owned().try_into().unwrap();
    let schedule = RetrySchedule::default();
    let attempt = |status| {
        let outcome = Outcome::Response {
            status,
            body: posthorn_domain::attempt::ResponseBody {
                bytes: b"x".to_vec(),
                ..Default::default()
            },
            retry_after: None,
        };
        Attempt::record(
            AttemptId::new(now(), entropy()),
            "u".to_owned(),
            now(),
            now(),
            &outcome,
        )
    };
    let expires_at = now().plus(Duration::from_secs(60));
    let put = |delivery| {
        let (deliveries, endpoint, message) = (
            clients.deliveries.clone(),
            endpoint.clone(),
            message.clone(),
        );
        async move {
            let key = DeliveryKey {
                endpoint: &endpoint,
                message: &message,
                shards: 4,
            };
            deliveries.put(key, &delivery, expires_at).await.unwrap()
        }
    };
    let ask = Ask::Scheduled(0);
    let (first, _) = record(None, &event_type, ask, attempt(500), &schedule, now(), 0.5);
    assert_eq!(put(first.clone()).await, Written::Yes);
    assert_eq!(put(first.clone()).await, Written::Conflict);
    let (second, _) = record(
        Some(first.clone()),
        &event_type,
        Ask::Scheduled(1),
        attempt(200),
        &schedule,
        now(),
        0.5,
    );
    assert_eq!(put(second.clone()).await, Written::Yes);
    let (late, _) = record(
        Some(first),
        &event_type,
        Ask::Scheduled(1),
        attempt(500),
        &schedule,
        now(),
        0.5,
    );
    assert_eq!(put(late).await, Written::Conflict);
    let key = DeliveryKey {
        endpoint: &endpoint,
        message: &message,
        shards: 4,
    };
    let read = clients
        .deliveries
        .get(key, Consistency::Strong)
        .await
        .unwrap();
    assert_eq!(read, Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduled_tasks_are_found_in_their_minute() {
    let (_aws, clients) = emulators(&[], None).await;
    let due = now().plus(Duration::from_secs(7200));
    for i in 0..20 {
        let scheduled = Scheduled {
            due,
            endpoint: EndpointId::new(now(), entropy()),
            message: MessageId::new(now(), entropy()),
            body: i.to_string(),
        };
        clients.schedule.due_rows().put(&scheduled).await.unwrap();
        clients.schedule.due_rows().put(&scheduled).await.unwrap();
    }
    let minute = minute_of(due);
    let start = Progress::default();
    let (rows, progress) = clients
        .schedule
        .due_rows()
        .in_minute(minute, &start)
        .await
        .unwrap();
    assert_eq!(rows.len(), 20, "the same task twice is one row");
    assert!(progress.is_done() && !start.is_done());
    let (again, _) = clients
        .schedule
        .due_rows()
        .in_minute(minute, &progress)
        .await
        .unwrap();
    assert!(again.is_empty(), "they were queued");
    let (rows, _) = clients
        .schedule
        .due_rows()
        .in_minute(minute + 1, &start)
        .await
        .unwrap();
    assert!(rows.is_empty());
    assert_eq!(clients.schedule.cursor().get().await.unwrap(), None);
    let cursor = Cursor {
        minute,
        progress,
        version: 1,
        claimed_until: Some(due),
    };
    assert_eq!(
        clients.schedule.cursor().put(&cursor).await.unwrap(),
        Written::Yes
    );
    assert_eq!(
        clients.schedule.cursor().get().await.unwrap(),
        Some(cursor.clone())
    );
    assert!(cursor.is_claimed(now()) && !cursor.is_claimed(due));
    for (version, written) in [
        (1, Written::Conflict),
        (3, Written::Conflict),
        (2, Written::Yes),
        (2, Written::Conflict),
    ] {
        let next = Cursor {
            version,
            ..cursor.clone()
        };
        assert_eq!(clients.schedule.cursor().put(&next).await.unwrap(), written);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_with_thousands_of_tasks_is_read_in_parts() {
    let (_aws, clients) = emulators(&[], None).await;
    let due = now().plus(Duration::from_secs(7200));
    for i in 0..2500 {
        let scheduled = Scheduled {
            due,
            endpoint: EndpointId::new(now(), entropy()),
            message: MessageId::new(now(), entropy()),
            body: i.to_string(),
        };
        clients.schedule.due_rows().put(&scheduled).await.unwrap();
    }
    let (mut progress, mut bodies, mut parts) = (Progress::default(), Vec::new(), 0);
    while !progress.is_done() {
        let (rows, after) = clients
            .schedule
            .due_rows()
            .in_minute(minute_of(due), &progress)
            .await
            .unwrap();
        assert!(rows.len() <= 1000);
        bodies.extend(rows.into_iter().map(|row| row.body));
        (progress, parts) = (after, parts + 1);
    }
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 2500, "each once, in {parts} parts");
    assert!(parts > 2);
}
