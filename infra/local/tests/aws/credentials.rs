//! The ports are open to this machine, and to deliveries whose endpoint points at them: a caller
//! without credentials of this run learns nothing.

use serde_json::json;

use crate::{Options, Services};

/// What a stranger may try as an access key.
const STRANGERS: [&str; 6] = ["", "local", "test", "IngestFunction", "ApiFunction", "AKIA"];

#[tokio::test(flavor = "multi_thread")]
async fn no_service_answers_a_stranger() {
    let services = Services::start(Options::default()).await;
    let (dynamodb, others) = (services.aws.dynamodb_url(), services.aws.sqs_url());
    let queue = services.aws.queues().url("DeliveriesQueue");
    for (url, target, request) in [
        (dynamodb, "DynamoDB_20120810.ListTables", json!({})),
        (
            dynamodb,
            "DynamoDB_20120810.Scan",
            json!({ "TableName": "ConfigTable" }),
        ),
        (dynamodb, "", json!({})),
        (
            others,
            "secretsmanager.GetSecretValue",
            json!({ "SecretId": "TokenKey" }),
        ),
        (
            others,
            "AmazonSQS.ReceiveMessage",
            json!({ "QueueUrl": queue }),
        ),
        (
            others,
            "TrentService.GenerateDataKey",
            json!({ "KeyId": "SecretsKey" }),
        ),
        (others, "", json!({})),
    ] {
        for key in STRANGERS {
            let call = services.call_as(key, url, target, request.to_string());
            let (status, answer) = call.await;
            let kind = answer["__type"].as_str().unwrap_or_default();
            let is_refused = kind.ends_with("UnrecognizedClientException");
            assert!(status == 400 && is_refused, "{key:?} {target}: {answer}");
        }
        // Without any headers, like a delivery to the port.
        let client = reqwest::Client::new();
        let answer = client.post(url).header("x-amz-target", target);
        let answer = answer.body(request.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        let answer = answer.text().await.unwrap();
        assert!(answer.contains("UnrecognizedClientException"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_and_every_function_has_credentials_of_its_own() {
    let (first, second) = (
        Services::start(Options::default()).await,
        Services::start(Options::default()).await,
    );
    let names = [
        None,
        Some("IngestFunction"),
        Some("ApiFunction"),
        Some("SchedulerFunction"),
    ];
    let mut keys = std::collections::BTreeSet::new();
    for services in [&first, &second] {
        for name in names {
            let key = services.aws.roles().access_key(name);
            assert!(key.len() >= 20, "{name:?}");
            keys.insert(key);
        }
    }
    assert_eq!(keys.len(), 2 * names.len());
    let request = json!({ "SecretId": "TokenKey" }).to_string();
    let target = "secretsmanager.GetSecretValue";
    let url = first.aws.sqs_url();
    for (name, expected) in [
        (None, 200),
        (Some("ApiFunction"), 200),
        (Some("IngestFunction"), 400),
    ] {
        let key = first.aws.roles().access_key(name);
        let (status, _) = first.call_as(key, url, target, request.clone()).await;
        assert_eq!(status, expected, "{name:?}");
    }
}
