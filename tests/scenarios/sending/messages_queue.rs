//! Messages that producers in the same account send to a queue.

use std::collections::BTreeSet;

use aws_sdk_sqs::types::QueueAttributeName;
use posthorn_local::StackOptions;
use posthorn_runtime::now;
use posthorn_tests::client::ApplicationOut;
use posthorn_tests::{FaultyAws, Plan, Receiver, Request, World, until};
use serde_json::{Value, json};

const QUEUE: &str = "MessagesQueue";

struct Producer {
    world: World,
    sqs: aws_sdk_sqs::Client,
    queue_url: String,
    application: ApplicationOut,
    receiver: Receiver,
    /// Of the records of [`Self::invoke`], in milliseconds.
    sent_at: String,
}

impl Producer {
    async fn start() -> Self {
        Self::of(World::with_parameters([("MessagesFromQueue", "true")]).await).await
    }

    async fn of(world: World) -> Self {
        let receiver = Receiver::accepting().await;
        let application = world.application().await;
        world.endpoint(&application, &receiver).await;
        Self {
            sqs: world.aws().await.sqs,
            queue_url: world.stack.queues().url(QUEUE),
            world,
            application,
            receiver,
            sent_at: now().as_millis().to_string(),
        }
    }

    /// A record that failed is received again after this time.
    async fn hide_for_a_second(&self) {
        let visibility = self.sqs.set_queue_attributes().queue_url(&self.queue_url);
        let visibility = visibility.attributes(QueueAttributeName::VisibilityTimeout, "1");
        visibility.send().await.unwrap();
        // The poll that is under way knows the time-out of before.
        let good = self.body(json!({ "eventType": "a.b", "payload": {} }));
        self.send(&good.to_string()).await;
        self.receiver.wait_for(1).await;
    }

    fn body(&self, message: Value) -> Value {
        json!({ "organization": self.world.organization, "appId": self.application.id, "message": message })
    }

    async fn send(&self, body: &str) {
        let send = self.sqs.send_message().queue_url(&self.queue_url);
        send.message_body(body).send().await.unwrap();
    }

    /// Invokes ingest as Lambda's event source does; gives the ids of the records that failed.
    async fn invoke(&self, records: &[(&str, Value)]) -> Vec<String> {
        let record = |(id, body): &(&str, Value)| {
            json!({
                "messageId": id, "body": body.to_string(), "attributes": { "SentTimestamp": self.sent_at },
                "eventSource": "aws:sqs", "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{QUEUE}"),
            })
        };
        let event = json!({ "Records": records.iter().map(record).collect::<Vec<_>>() });
        let answer = self
            .world
            .stack
            .invoke("IngestFunction", &event)
            .await
            .unwrap();
        let failures = answer["batchItemFailures"].as_array().unwrap().iter();
        failures
            .map(|it| it["itemIdentifier"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn messages(&self) -> Vec<Value> {
        let path = format!("/api/v1/app/{}/msg", self.application.id);
        self.world.pages(&path, 250).await.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_from_the_queue_is_delivered_as_a_posted_one_is() {
    let producer = Producer::start().await;
    let payload = r#"{ "z" : 1, "a":"\u00e9" }"#;
    let body = format!(
        r#"{{"organization":"{}","appId":"{}","message":{{"eventType":"a.b","payload":{payload},"channels":["c"]}}}}"#,
        producer.world.organization, producer.application.id
    );
    producer.send(&body).await;
    let received = producer.receiver.wait_for(1).await;
    assert_eq!(received[0].body, payload.as_bytes());
    let listed = producer.messages().await;
    assert_eq!(listed[0]["id"], received[0].header("webhook-id"));
    assert_eq!(listed[0]["channels"], json!(["c"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_payload_from_the_queue_is_delivered_byte_for_byte() {
    let producer = Producer::start().await;
    let xml = "<a b='\u{fc}'>\t\u{1F680}</a>\r\n";
    let headers = json!({ "content-type": "text/xml; charset=utf-8" });
    let message = json!({
        "eventType": "a.b", "payload": {},
        "transformationsParams": { "rawPayload": xml, "headers": headers },
    });
    producer.send(&producer.body(message).to_string()).await;
    let received = producer.receiver.wait_for(1).await;
    assert_eq!(received[0].body, xml.as_bytes());
    assert_eq!(
        received[0].header("content-type"),
        headers["content-type"].as_str().unwrap()
    );
    let listed = producer.messages().await;
    assert_eq!(listed[0]["payload"], json!({ "rawPayload": xml }));
    // What a post would refuse is a poison record, and is not stored.
    let unknown = json!({ "rawPayload": "x", "variables": {} });
    let message = json!({ "eventType": "a.b", "payload": {}, "transformationsParams": unknown });
    assert_eq!(
        producer.invoke(&[("1", producer.body(message))]).await,
        ["1"]
    );
    assert_eq!(producer.messages().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_received_again_is_the_same_message() {
    let producer = Producer::start().await;
    let plain = producer.body(json!({ "eventType": "a.b", "payload": {} }));
    let event = producer.body(json!({ "eventType": "a.b", "payload": {}, "eventId": "e" }));
    let records = [("1", plain), ("2", event.clone())];
    for _ in 0..2 {
        assert!(producer.invoke(&records).await.is_empty());
        // A second task finds what was recorded.
        for message in producer.messages().await {
            let id = message["id"].as_str().unwrap();
            producer.world.attempts(&producer.application, id, 1).await;
        }
    }
    // An event that its producer sent twice is no reason to try again.
    assert!(producer.invoke(&[("3", event)]).await.is_empty());
    // Nor is one that comes twice at once.
    let twice = producer.body(json!({ "eventType": "a.b", "payload": {}, "eventId": "twice" }));
    let records = [("4", twice.clone()), ("5", twice)];
    assert!(producer.invoke(&records).await.is_empty());
    assert_eq!(producer.messages().await.len(), 3);
    let marker = producer.body(json!({ "eventType": "a.b", "payload": { "last": true } }));
    producer.invoke(&[("6", marker)]).await;
    let received = until("the last message", || async {
        let all = producer.receiver.received();
        let is_last = |it: &Request| it.body == br#"{"last":true}"#[..];
        (all.len() >= 4 && all.iter().any(is_last)).then_some(all)
    })
    .await;
    let ids: BTreeSet<_> = received.iter().map(|it| it.header("webhook-id")).collect();
    assert_eq!((received.len(), ids.len()), (4, 4), "each once");
}

/// AWS fails while records are taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_arrives_although_aws_fails() {
    const MESSAGES: usize = 60;
    let plan = Plan {
        per_mille: 30,
        storm_every: 150,
        storm: 25,
    };
    let faults = FaultyAws::start(5, plan).await;
    let parameters = [
        ("MessagesFromQueue", "true"),
        ("VisibilityTimeoutSeconds", "2"),
    ];
    let options = StackOptions {
        parameters: parameters
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..StackOptions::default()
    };
    let producer = Producer::of(World::with_options_through(options, &faults).await).await;
    producer.hide_for_a_second().await;
    for n in 0..MESSAGES {
        let message = json!({ "eventType": "a.b", "payload": { "n": n } });
        producer.send(&producer.body(message).to_string()).await;
    }
    let received = until("every message", || async {
        let all = producer.receiver.received();
        let bodies: BTreeSet<_> = all.iter().map(|it| it.body.clone()).collect();
        // And the one that came first.
        (bodies.len() == MESSAGES + 1).then_some(all)
    })
    .await;
    let ids: BTreeSet<_> = received.iter().map(|it| it.header("webhook-id")).collect();
    assert_eq!(
        ids.len(),
        MESSAGES + 1,
        "one message for each that was sent"
    );
    faults.calm();
    assert_eq!(producer.messages().await.len(), MESSAGES + 1);
    assert!(faults.injected().faults.values().sum::<u64>() > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_refused_fails_alone() {
    let producer = Producer::start().await;
    let good = json!({ "eventType": "a.b", "payload": {} });
    let mut unknown = producer.body(good.clone());
    unknown["appId"] = "nobody".into();
    let mut foreign = producer.body(good.clone());
    foreign["organization"] = posthorn_domain::id::OrganizationId::new(now(), [1; 15])
        .as_str()
        .into();
    let records = [
        ("good", producer.body(good)),
        ("unknown", unknown),
        ("foreign", foreign),
        (
            "type",
            producer.body(json!({ "eventType": "a b", "payload": {} })),
        ),
        (
            "payload",
            producer
                .body(json!({ "eventType": "a.b", "payload": { "x": "x".repeat(256 * 1024) } })),
        ),
        ("field", json!({ "organization": "x", "more": 1 })),
        ("text", json!("text")),
    ];
    let mut failed = producer.invoke(&records).await;
    failed.sort();
    assert_eq!(
        failed,
        ["field", "foreign", "payload", "text", "type", "unknown"]
    );
    producer.receiver.wait_for(1).await;
}

/// The queue takes the fields that a post takes, and refuses those that a post refuses.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_queue_has_the_fields_of_a_posted_one() {
    let producer = Producer::start().await;
    let path = "/api/v1/app/walked/msg";
    let read = json!({ "name": "Walked", "uid": "walked", "id": "x", "createdAt": "x" });
    let with = |field: Value| {
        let mut message = json!({ "eventType": "a.b", "payload": {} });
        let fields = field.as_object().unwrap().clone();
        message.as_object_mut().unwrap().extend(fields);
        message
    };
    for field in [
        json!({ "application": read }),
        json!({ "id": "x" }),
        json!({ "tags": [] }),
        json!({ "deliverAt": null, "unknown": null }),
        json!({ "unknown": 5 }),
        json!({ "deliverAt": "2030-01-01T00:00:00Z" }),
        json!({ "payloadRetentionHours": 5 }),
        json!({ "application": { "name": "W", "uid": "walked", "unknown": 5 } }),
        json!({ "transformationsParams": { "id": 5 } }),
        json!({ "eventId": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W" }),
    ] {
        let message = with(field.clone());
        let posted = producer
            .world
            .call("POST", path, Some(message.clone()))
            .await;
        let mut record = producer.body(message);
        record["appId"] = "walked".into();
        let failed = producer.invoke(&[("1", record)]).await;
        assert_eq!(
            posted.status == 202,
            failed.is_empty(),
            "{field}: {posted:?}"
        );
    }
    let mut record = producer.body(with(json!({})));
    record["unknown"] = 5.into();
    assert_eq!(producer.invoke(&[("1", record)]).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_waits_in_the_dead_letter_queue() {
    let producer = Producer::start().await;
    producer.hide_for_a_second().await;
    producer.send(r#"{"organization":"x"}"#).await;
    let url = producer.world.stack.queues().url("MessagesDeadLetterQueue");
    let dead = until("the record in the dead-letter queue", || async {
        let receive = producer.sqs.receive_message().queue_url(&url).send();
        receive.await.unwrap().messages?.pop()
    })
    .await;
    assert_eq!(dead.body.unwrap(), r#"{"organization":"x"}"#);
}
