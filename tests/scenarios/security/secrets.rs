//! Endpoints' secrets: sealed in the table, readable after rotations and restarts, never in a log.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::{Engine, engine::general_purpose::STANDARD};
use posthorn_domain::{endpoint::Endpoint, envelope::Sealed, key::AppKey};
use posthorn_local::StackOptions;
use posthorn_store::Consistency;
use posthorn_tests::client::ApplicationOut;
use posthorn_tests::{Receiver, World, until};
use serde_json::{Value, json};

use crate::security::scopes::Matrix;

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{"text":"payload-canary"}}"#;
const SECRET: &str = "whsec_c2VjcmV0LWNhbmFyeS1zZWNyZXQtY2FuYXJ5";
const HEADER: &str = "header-canary";

/// An endpoint with a known secret and a known header.
async fn endpoint(world: &World, application: &ApplicationOut, url: &str) -> String {
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    let body = json!({ "url": url, "secret": SECRET, "headers": { "X-Api-Key": HEADER } });
    let created = world.expect("POST", &path, Some(body)).await;
    created["id"].as_str().unwrap().to_owned()
}

/// Everything in the config table.
async fn items(world: &World) -> Vec<HashMap<String, AttributeValue>> {
    let scan = world
        .aws()
        .await
        .dynamodb
        .scan()
        .table_name("ConfigTable")
        .send();
    scan.await.unwrap().items.unwrap()
}

async fn stored(world: &World, application: &str, endpoint: &str) -> Endpoint {
    let organization = world.organization.parse().unwrap();
    let (application, endpoint) = (application.parse().unwrap(), endpoint.parse().unwrap());
    let config = world.aws().await.config;
    let key = AppKey::new(&organization, &application).endpoint(&endpoint);
    let found = config.endpoints().get(key, Consistency::Strong).await;
    found.unwrap().unwrap()
}

/// The data key that an endpoint's envelope names.
async fn key_of(world: &World, application: &str, endpoint: &str) -> String {
    let sealed = stored(world, application, endpoint).await.sealed;
    let sealed = serde_json::to_value(sealed).unwrap();
    sealed["envelope"]["key"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_shows_neither_secrets_nor_headers() {
    for (encryption, is_shown) in [("kms", false), ("table", true)] {
        let world = World::with_parameters([("SecretsEncryption", encryption)]).await;
        let receiver = Receiver::accepting().await;
        let application = world.application().await;
        endpoint(&world, &application, receiver.url()).await;
        let dump = format!("{:?}", items(&world).await);
        let secret = SECRET.strip_prefix("whsec_").unwrap();
        assert_eq!(
            (dump.contains(secret), dump.contains(HEADER)),
            (is_shown, is_shown)
        );
        world.send(&application.id, MESSAGE).await;
        let request = receiver.wait_for(1).await.remove(0);
        request.verify(SECRET).unwrap();
        assert_eq!(request.header("x-api-key"), HEADER);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_opens_for_its_own_endpoint_only() {
    let world = World::start().await;
    let application = world.application().await;
    let receiver = Receiver::accepting().await;
    let first = endpoint(&world, &application, receiver.url()).await;
    let second = endpoint(&world, &application, receiver.url()).await;
    let stolen = stored(&world, &application.id, &first).await.sealed;
    let before = stored(&world, &application.id, &second).await;
    let after = Endpoint {
        sealed: stolen,
        revision: before.revision + 1,
        ..before
    };
    let (organization, owner) = (
        world.organization.parse().unwrap(),
        application.id.parse().unwrap(),
    );
    let config = world.aws().await.config;
    config
        .endpoints()
        .put(AppKey::new(&organization, &owner), &after)
        .await
        .unwrap();
    let path = |id: &str| format!("/api/v1/app/{}/endpoint/{id}/secret", application.id);
    assert_eq!(world.get(&path(&first)).await.status, 200);
    assert_eq!(world.get(&path(&second)).await.status, 503);
    // Its messages are not signed with the other endpoint's secret: they are visibly skipped.
    let message = world.send(&application.id, MESSAGE).await;
    receiver.wait_for(1).await;
    let path = format!("/api/v1/app/{}/endpoint/{second}/msg", application.id);
    until("the delivery that is skipped", || async {
        let found = world.expect("GET", &path, None).await;
        let found = found["data"].as_array().unwrap().clone();
        let it = found.into_iter().find(|it| it["id"] == *message)?;
        (it["skipped"] == true).then_some(())
    })
    .await;
    assert_eq!(receiver.received().len(), 1);
}

/// Somebody who can write to the table but cannot use the KMS key places their own secret there.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_not_encrypted_is_refused_where_kms_seals() {
    let world = World::start().await;
    let application = world.application().await;
    let receiver = Receiver::accepting().await;
    let id = endpoint(&world, &application, receiver.url()).await;
    let before = stored(&world, &application.id, &id).await;
    let plain = json!({ "secret": SECRET, "headers": { "set": {}, "sensitive": [] } }).to_string();
    let after = Endpoint {
        sealed: Sealed::Plain(plain),
        revision: before.revision + 1,
        ..before
    };
    let (organization, owner) = (
        world.organization.parse().unwrap(),
        application.id.parse().unwrap(),
    );
    let config = world.aws().await.config;
    let app = AppKey::new(&organization, &owner);
    config.endpoints().put(app, &after).await.unwrap();
    let path = format!("/api/v1/app/{}/endpoint/{id}", application.id);
    for path in [format!("{path}/secret"), format!("{path}/headers")] {
        assert_eq!(world.get(&path).await.status, 503, "{path}");
    }
    let message = world.send(&application.id, MESSAGE).await;
    until("the delivery that is skipped", || async {
        let found = world.expect("GET", &format!("{path}/msg"), None).await;
        let found = found["data"].as_array().unwrap().clone();
        let it = found.into_iter().find(|it| it["id"] == *message)?;
        (it["skipped"] == true).then_some(())
    })
    .await;
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_data_key_leaves_earlier_envelopes_readable_also_after_a_restart() {
    let folder = std::env::temp_dir().join(format!("posthorn-secrets-{}", std::process::id()));
    let options = || StackOptions {
        data: Some(folder.clone()),
        ..StackOptions::default()
    };
    let world = World::with_options(options()).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let first = endpoint(&world, &application, receiver.url()).await;
    let rotated = world
        .stack
        .invoke("ApiFunction", &json!({ "rotate_data_key": {} }))
        .await;
    let rotated: Value = rotated.unwrap();
    let second = endpoint(&world, &application, receiver.url()).await;
    let keys = (
        key_of(&world, &application.id, &first).await,
        key_of(&world, &application.id, &second).await,
    );
    assert_ne!(keys.0, keys.1);
    assert_eq!(rotated["data_key"], keys.1);
    world.send(&application.id, MESSAGE).await;
    let token = world.token.clone();
    for request in receiver.wait_for(2).await {
        request.verify(SECRET).unwrap();
    }
    drop(world);
    let world = World::with_options(options()).await;
    for id in [first, second] {
        let path = format!("/api/v1/app/{}/endpoint/{id}/secret", application.id);
        let read = world.request("GET", &path, None, &[], Some(&token)).await;
        assert_eq!((read.status, &read.body["key"]), (200, &json!(SECRET)));
    }
    drop(world);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_kms_delays_and_loses_nothing() {
    let folder = std::env::temp_dir().join(format!("posthorn-kms-{}", std::process::id()));
    let options = |kms: Option<&str>| StackOptions {
        data: Some(folder.clone()),
        parameters: [("VisibilityTimeoutSeconds".to_owned(), "1".to_owned())].into(),
        environment: kms
            .map(|url| ("AWS_ENDPOINT_URL_KMS".to_owned(), url.to_owned()))
            .into_iter()
            .collect(),
        ..StackOptions::default()
    };
    let world = World::with_options(options(None)).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    endpoint(&world, &application, receiver.url()).await;
    let token = world.token.clone();
    drop(world);
    // Nobody listens there. New processes start without the data key in memory.
    let world = World::with_options(options(Some("http://127.0.0.1:9"))).await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    let sent = world
        .request("POST", &path, Some(MESSAGE), &[], Some(&token))
        .await;
    assert_eq!(sent.status, 202);
    until("the fault in the log", || async {
        let says = |line: &String| line.contains("a task failed") && line.contains("KMS Decrypt");
        world.stack.logs().into_iter().find(says)
    })
    .await;
    assert_eq!(receiver.received().len(), 0);
    drop(world);
    let world = World::with_options(options(None)).await;
    let request = receiver.wait_for(1).await.remove(0);
    assert_eq!(request.header("webhook-id"), sent.body["id"]);
    request.verify(SECRET).unwrap();
    drop(world);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Requests that are refused because of their content.
async fn refuse(world: &World, path: &str) {
    for (rest, body) in [
        ("secret/rotate", json!({ "key": "whsec_bad-canary" })),
        (
            "headers",
            json!({ "headers": { "x": "bad-header-canary\n" } }),
        ),
    ] {
        let method = if rest == "headers" { "PATCH" } else { "POST" };
        let refused = world
            .call(method, &format!("{path}/{rest}"), Some(body))
            .await;
        assert_eq!(refused.status, 422);
    }
    let forged = format!("{}x", world.token);
    let refused = world.request("GET", path, None, &[], Some(&forged)).await;
    assert_eq!(refused.status, 401);
}

/// An invalid record with the content of a task.
async fn poison(world: &World) {
    let clients = world.aws().await;
    let poison = r#"{"v":1,"payload":"poison-canary"}"#;
    let sent = clients
        .sqs
        .send_message()
        .queue_url(&clients.queue_url)
        .message_body(poison);
    sent.send().await.unwrap();
    until("the poison record in the log", || async {
        let says = |line: &String| line.contains("a record is not a task");
        world.stack.logs().into_iter().find(says)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_logged() {
    let parameters = [("LogLevel", "debug"), ("RetrySchedule", "1")];
    let world = World::with_parameters(parameters).await;
    // The receiver refuses at first, so the first attempts fail.
    let receiver = Receiver::answering([500, 500, 410]).await;
    let application = world.application().await;
    let id = endpoint(&world, &application, receiver.url()).await;
    let path = format!("/api/v1/app/{}/endpoint/{id}", application.id);
    let new = "whsec_bmV3LXNlY3JldC1jYW5hcnktbmV3LXNlY3JldC1jYW5hcnk=";
    let rotate = format!("{path}/secret/rotate");
    world
        .expect("POST", &rotate, Some(json!({ "key": new })))
        .await;
    refuse(&world, &path).await;
    let portal = format!("/api/v1/auth/app-portal-access/{}", application.id);
    let portal = world.expect("POST", &portal, Some(json!({}))).await;
    world
        .stack
        .invoke("ApiFunction", &json!({ "rotate_data_key": {} }))
        .await
        .unwrap();
    let message = world.send(&application.id, MESSAGE).await;
    world.attempts(&application, &message, 2).await;
    poison(&world).await;
    let token = world.token.clone();
    let matrix = Matrix::of(world).await;
    matrix.call_all().await;
    let world = &matrix.world;
    let key = world.token_secret().await;
    let decoded = STANDARD
        .decode(new.strip_prefix("whsec_").unwrap())
        .unwrap();
    let bytes = |text: &[u8]| {
        text.iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    search(
        world,
        &[
            SECRET.strip_prefix("whsec_").unwrap(),
            new.strip_prefix("whsec_").unwrap(),
            &bytes(&decoded),
            HEADER,
            "bad-canary",
            "bad-header-canary",
            "payload-canary",
            "poison-canary",
            &token,
            token.rsplit('.').next().unwrap(),
            portal["token"].as_str().unwrap(),
            &key,
        ],
    );
}

/// Searches everything that was logged for secrets.
fn search(world: &World, secrets: &[&str]) {
    let logs = world.stack.logs();
    for said in ["accepted", "attempted", "a record is not a task"] {
        assert!(logs.iter().any(|line| line.contains(said)), "{said}");
    }
    for secret in secrets {
        let shown = logs.iter().find(|line| line.contains(*secret));
        assert_eq!(shown, None, "{secret}");
    }
    println!("{} lines of logs searched", logs.len());
}
