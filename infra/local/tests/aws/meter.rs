//! The meter.

use std::time::Duration;

use serde_json::json;

use crate::{Options, QUEUE, Services};

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_units_are_counted_by_operation_and_table() {
    let meter = true;
    let services = Services::start(Options {
        meter,
        ..Options::default()
    })
    .await;
    let meter = services.aws.meter().unwrap();
    let key = json!({ "pk": { "S": "a" }, "sk": { "S": "b" } });
    let mut item = key.clone();
    item["text"] = json!({ "S": "x".repeat(1500) });
    let put = json!({ "TableName": "MessagesTable", "Item": item });
    services.dynamodb("PutItem", put).await;
    let get = json!({ "TableName": "MessagesTable", "Key": key });
    services.dynamodb("GetItem", get).await;
    services.dynamodb("ListTables", json!({})).await;
    services.send(json!({ "MessageBody": "a" })).await;
    let received = services
        .aws
        .queues()
        .receive(QUEUE, 1, Duration::ZERO)
        .await;
    services.aws.queues().delete(QUEUE, &received).await;

    let report = meter.report();
    assert_eq!((report.write_units, report.read_units), (2.0, 0.5));
    let units: Vec<_> = report
        .by_operation
        .iter()
        .map(|(name, units)| (name.as_str(), *units))
        .collect();
    assert_eq!(
        units,
        [
            ("GetItem MessagesTable", 0.5),
            ("PutItem MessagesTable", 2.0)
        ]
    );
    assert_eq!(report.calls["DynamoDB PutItem"], 1);
    assert_eq!(report.calls["SQS SendMessage"], 1);
    let own = [
        ("SQS DeleteMessageBatch".to_owned(), 1),
        ("SQS ReceiveMessage".to_owned(), 1),
    ];
    assert_eq!(report.event_source_calls, own.into());
    assert!(report.to_string().contains("PutItem MessagesTable"));
    meter.reset();
    assert_eq!(meter.report(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_passes_through() {
    let meter = true;
    let services = Services::start(Options {
        meter,
        ..Options::default()
    })
    .await;
    for body in ["", "[]", "\"text\"", "{"] {
        let url = services.aws.dynamodb_url();
        let target = "DynamoDB_20120810.PutItem";
        let (status, answer) = services.call(url, target, body.to_owned()).await;
        assert_eq!(status, 400, "{body}: {answer}");
    }
}
