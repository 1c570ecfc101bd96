//! Secrets Manager.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::{Folder, Options, Services};

async fn secret(services: &Services) -> String {
    let request = json!({ "SecretId": "TokenKey" }).to_string();
    let url = services.aws.sqs_url();
    let target = "secretsmanager.GetSecretValue";
    let (status, answer) = services.call(url, target, request).await;
    assert_eq!(status, 200, "{answer}");
    answer["SecretString"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_key_is_64_random_letters_and_digits() {
    let (first, second) = (
        Services::start(Options::default()).await,
        Services::start(Options::default()).await,
    );
    let key = secret(&first).await;
    assert_eq!(key.len(), 64);
    assert!(key.chars().all(|c| c.is_ascii_alphanumeric()));
    assert_ne!(key, secret(&second).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_key_is_for_its_owner_only_and_survives() {
    let folder = Folder::new("secret");
    let key = secret(&Services::in_folder(&folder).await).await;
    let file = folder.0.join("secret-TokenKey");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(secret(&Services::in_folder(&folder).await).await, key);
    // As if the process had ended between creating the file and writing it.
    std::fs::write(&file, "").unwrap();
    assert_eq!(secret(&Services::in_folder(&folder).await).await.len(), 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_secrets_and_operations_are_refused() {
    let services = Services::start(Options::default()).await;
    let url = services.aws.sqs_url();
    for (target, request, error) in [
        (
            "secretsmanager.GetSecretValue",
            json!({ "SecretId": "Other" }),
            "ResourceNotFoundException",
        ),
        (
            "secretsmanager.DeleteSecret",
            json!({}),
            "UnknownOperationException",
        ),
        (
            "DynamoDB_20120810.GetItem",
            json!({}),
            "UnknownOperationException",
        ),
    ] {
        let (status, answer) = services.call(url, target, request.to_string()).await;
        assert_eq!((status, answer["__type"].as_str()), (400, Some(error)));
    }
}
