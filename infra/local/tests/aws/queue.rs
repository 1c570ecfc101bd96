//! SQS.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{DEAD_LETTERS, Options, Services, bodies, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_id_is_returned_as_a_system_attribute_and_nowhere_else() {
    let services = Services::start(Options::default()).await;
    let sent = services
        .send(json!({ "MessageBody": "a", "MessageGroupId": "ep_1" }))
        .await;
    assert!(sent.get("MD5OfMessageAttributes").is_none(), "{sent}");
    let entries = json!([{ "Id": "x", "MessageBody": "b", "MessageGroupId": "ep_1" }]);
    let (_, sent) = services
        .sqs("SendMessageBatch", json!({ "Entries": entries }))
        .await;
    assert!(
        sent["Successful"][0]
            .get("MD5OfMessageAttributes")
            .is_none(),
        "{sent}"
    );
    let mut received = Vec::new();
    while received.len() < 2 {
        received.extend(services.receive(5).await);
    }
    for message in received {
        assert_eq!(message["Attributes"]["MessageGroupId"], "ep_1", "{message}");
        assert!(message.get("MessageAttributes").is_none(), "{message}");
        assert!(message.get("MD5OfMessageAttributes").is_none(), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_come_only_when_asked_for() {
    let services = Services::start(Options::default()).await;
    let attributes = json!({ "colour": { "DataType": "String", "StringValue": "red" } });
    let send =
        json!({ "MessageBody": "a", "MessageGroupId": "g", "MessageAttributes": attributes });
    services.send(send.clone()).await;
    let (_, answer) = services.sqs("ReceiveMessage", json!({})).await;
    let message = &answer["Messages"][0];
    assert_eq!(message["Body"], "a");
    assert!(
        message["Attributes"].get("MessageGroupId").is_none(),
        "{message}"
    );
    assert!(
        message["MessageAttributes"].get("colour").is_none(),
        "{message}"
    );
    services.send(send).await;
    let ask = json!({ "MessageAttributeNames": ["colour"], "AttributeNames": ["MessageGroupId"] });
    let (_, answer) = services.sqs("ReceiveMessage", ask).await;
    let message = &answer["Messages"][0];
    assert_eq!(message["Attributes"], json!({ "MessageGroupId": "g" }));
    assert_eq!(message["MessageAttributes"]["colour"]["StringValue"], "red");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_wakes_when_a_message_comes() {
    let services = Services::start(Options::default()).await;
    let started = Instant::now();
    let (received, ()) = tokio::join!(services.receive(20), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        services.send(json!({ "MessageBody": "a" })).await;
    });
    assert_eq!(bodies(&received), ["a"]);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_is_kept_and_its_limit_is_that_of_aws() {
    let services = Services::start(Options::default()).await;
    let started = Instant::now();
    services
        .send(json!({ "MessageBody": "a", "DelaySeconds": 1 }))
        .await;
    assert_eq!(bodies(&services.receive(20).await), ["a"]);
    assert!(started.elapsed() >= Duration::from_secs(1));
    for delay in [-1, 901] {
        let request = json!({ "MessageBody": "a", "DelaySeconds": delay });
        let (status, error) = services.sqs("SendMessage", request).await;
        assert_eq!(status, 400, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_fails_does_not_stop_its_batch() {
    let services = Services::start(Options::default()).await;
    let entry = |id: &str, body: &str, delay: i32| json!({ "Id": id, "MessageBody": body, "DelaySeconds": delay });
    let entries = [
        entry("good", "a", 0),
        entry("empty", "", 0),
        entry("late", "b", 901),
    ];
    let (status, answer) = services
        .sqs("SendMessageBatch", json!({ "Entries": entries }))
        .await;
    assert_eq!(status, 200);
    let ids = |list: &str| -> Vec<_> {
        let entries = answer[list].as_array().into_iter().flatten();
        entries.map(|entry| entry["Id"].clone()).collect()
    };
    assert_eq!(ids("Successful"), ["good"], "{answer}");
    assert_eq!(ids("Failed").len(), 2, "{answer}");
    assert!(ids("Failed").contains(&json!("empty")) && ids("Failed").contains(&json!("late")));
    assert_eq!(bodies(&services.receive(5).await), ["a"]);
    let eleven: Vec<_> = (0..11).map(|i| entry(&i.to_string(), "a", 0)).collect();
    let (status, _) = services
        .sqs("SendMessageBatch", json!({ "Entries": eleven }))
        .await;
    assert_eq!(status, 400, "AWS takes ten");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_deleted_comes_back_and_after_five_receives_is_a_dead_letter() {
    let services = Services::start(Options::default()).await;
    let sent = services.send(json!({ "MessageBody": "a" })).await;
    for count in 1..=5 {
        let received = services.receive(5).await.remove(0);
        assert_eq!(received["MessageId"], sent["MessageId"]);
        assert_eq!(
            received["Attributes"]["ApproximateReceiveCount"],
            count.to_string()
        );
        // Only one visibility timeout expires by itself, below; the others are cut short.
        let visible = json!({ "ReceiptHandle": received["ReceiptHandle"], "VisibilityTimeout": u8::from(count == 1) });
        services.sqs("ChangeMessageVisibility", visible).await;
    }
    let dead = until("dead letter", async || {
        assert!(services.receive(0).await.is_empty());
        let (_, answer) = services
            .sqs_of(DEAD_LETTERS, "ReceiveMessage", json!({}))
            .await;
        answer["Messages"].get(0).cloned()
    });
    assert_eq!(dead.await["MessageId"], sent["MessageId"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_and_the_server_lives() {
    let services = Services::start(Options::default()).await;
    let url = services.aws.sqs_url();
    for body in ["", "[]", "\"text\"", "{", "5"] {
        for operation in ["SendMessage", "SendMessageBatch", "ReceiveMessage"] {
            let target = format!("AmazonSQS.{operation}");
            let (status, answer) = services.call(url, &target, body.to_owned()).await;
            assert_eq!(status, 400, "{operation} {body}: {answer}");
        }
    }
    let odd = json!({ "MessageBody": "a", "MessageGroupId": "g", "MessageAttributes": "text" });
    assert_eq!(services.sqs("SendMessage", odd).await.0, 400);
    let (status, answer) = services.call(url, "AmazonSQS.Dance", "{}".to_owned()).await;
    assert_eq!(status, 400);
    assert_eq!(answer["__type"], "UnknownOperationException");
}
