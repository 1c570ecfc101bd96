//! What a first-try delivery costs, in AWS calls and units. `cargo test budget -- --nocapture`
//! prints them.

use posthorn_domain::{id::MessageId, payload::Payload};
use posthorn_local::{StackOptions, aws::MeterReport};
use posthorn_queue::Task;
use posthorn_runtime::{entropy, now};
use posthorn_tests::{
    Receiver, World,
    measure::{CostCase, Outcome, cost, payload},
    until,
};
use serde_json::json;

use crate::delivery::tasks::task_of;

/// What a delivery of a message costs, from the POST to the deleted task.
async fn measured(headers: &[(&str, &str)]) -> MeterReport {
    let options = StackOptions {
        meter: true,
        ..StackOptions::default()
    };
    let world = World::with_options(options).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let payload = payload(2048);
    assert!(
        (1900..=2048).contains(&payload.len()),
        "{} bytes",
        payload.len()
    );
    let body = format!(r#"{{"eventType":"invoice.paid","payload":{payload}}}"#);
    let path = format!("/api/v1/app/{}/msg", application.id);
    let meter = world.stack.meter().unwrap();
    let deliver = async |headers| {
        meter.reset();
        assert_eq!(world.post(&path, &body, headers).await.status, 202);
        until("the recorded attempt and the deleted task", || async {
            let report = meter.report();
            let deleted = report
                .event_source_calls
                .contains_key("SQS DeleteMessageBatch");
            let put = report.by_operation.contains_key("PutItem DeliveriesTable");
            (put && deleted).then_some(report)
        })
        .await
    };
    // The first message starts the processes: a dispatcher reads the data key once, ingest the
    // token keys every 10 seconds.
    let first = deliver(&[]).await;
    assert_eq!(first.calls.get("DynamoDB GetItem"), Some(&2), "{first}");
    let report = deliver(headers).await;
    assert_eq!(receiver.received().len(), 2);
    report
}

fn calls(report: &MeterReport) -> Vec<(&str, u64)> {
    report
        .calls
        .iter()
        .map(|(call, count)| (call.as_str(), *count))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_try_delivery_keeps_to_the_budget() {
    let report = measured(&[]).await;
    println!("One delivery of 2 KB to one endpoint, at the first try:\n{report}");
    assert_eq!(report.write_units, 2.0, "{report}");
    assert!(report.read_units <= 2.0, "{report}");
    let expected = [
        ("DynamoDB BatchGetItem", 1),
        ("DynamoDB PutItem", 2),
        ("DynamoDB Query", 1),
        ("SQS SendMessageBatch", 1),
    ];
    assert_eq!(calls(&report), expected, "{report}");
}

/// As official clients send every message.
#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_costs_two_writes_more() {
    let report = measured(&[("idempotency-key", "auto_1")]).await;
    println!("The same with an idempotency-key:\n{report}");
    assert_eq!(report.write_units, 4.0, "{report}");
    assert!(report.read_units <= 2.0, "{report}");
    let expected = [
        ("DynamoDB BatchGetItem", 1),
        ("DynamoDB PutItem", 4),
        ("DynamoDB Query", 1),
        ("SQS SendMessageBatch", 1),
    ];
    assert_eq!(calls(&report), expected, "{report}");
}

/// The part of `bench cost` that is the same each time.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_other_sizes_and_to_more_endpoints_keep_to_the_budget() {
    for (endpoints, payload, write_units, read_units) in [
        (1, 512, 4.0, 2.0),
        (1, 20 * 1024, 6.0, 3.0),
        (1, 200 * 1024, 31.0, 9.0),
        (10, 2048, 13.0, 22.0),
    ] {
        let case = CostCase {
            endpoints,
            payload,
            outcome: Outcome::FirstTry,
        };
        let cost = cost(case).await;
        println!("{cost}");
        let report = &cost.report;
        assert_eq!(report.write_units, write_units, "{case:?}\n{report}");
        // Some dispatchers may be new: each reads the data key once.
        assert!(report.read_units <= read_units, "{case:?}\n{report}");
        assert_eq!(
            report.calls["SQS SendMessageBatch"], 1,
            "{case:?}\n{report}"
        );
    }
}

/// One call reads what ten tasks start with, and their endpoint only once.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_come_together_share_their_reads() {
    let options = StackOptions {
        meter: true,
        ..StackOptions::default()
    };
    let world = World::with_options(options).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let message = r#"{"eventType":"a.b","payload":{}}"#;
    let id = world.send(&application.id, message).await;
    world.attempts(&application, &id, 1).await;
    let payload = Payload::from_text("{}".to_owned()).unwrap();
    let task = task_of(&world, &application.id, &id)
        .await
        .with_payload(&payload);
    let record = |n: usize| {
        let message = MessageId::new(now(), entropy());
        let task = Task {
            message,
            ..task.clone()
        };
        json!({
            "messageId": n.to_string(), "body": task.to_body().unwrap(), "attributes": {},
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:DeliveriesQueue",
        })
    };
    let event = json!({ "Records": (0..10).map(record).collect::<Vec<_>>() });
    let meter = world.stack.meter().unwrap();
    until("the deleted task of the first message", || async {
        (meter.report().deleted == 1).then_some(())
    })
    .await;
    meter.reset();
    let answer = world.stack.invoke("DispatcherFunction", &event).await;
    assert_eq!(answer.unwrap()["batchItemFailures"], json!([]));
    let report = meter.report();
    let expected = [("DynamoDB BatchGetItem", 1), ("DynamoDB PutItem", 10)];
    assert_eq!(calls(&report), expected, "{report}");
    assert_eq!(
        (report.read_units, report.write_units),
        (5.5, 10.0),
        "{report}"
    );
    assert_eq!(receiver.received().len(), 11);
}
