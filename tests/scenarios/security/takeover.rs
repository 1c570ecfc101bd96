//! Ingest is taken over: somebody has its credentials, and makes calls of their own below our code.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Put, PutRequest, TransactWriteItem, WriteRequest};
use posthorn_tests::{Clients, World};
use serde_json::json;

type Item = HashMap<String, AttributeValue>;

fn item(fields: &[(&str, &str)]) -> Item {
    let field =
        |(name, value): &(&str, &str)| ((*name).to_owned(), AttributeValue::S((*value).to_owned()));
    fields.iter().map(field).collect()
}

/// What a call came to: done, or the error's code.
fn code<T, E, R>(result: Result<T, aws_sdk_dynamodb::error::SdkError<E, R>>) -> String
where
    E: aws_sdk_dynamodb::error::ProvideErrorMetadata,
{
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) => {
            use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
            error.code().unwrap_or("no answer").to_owned()
        }
    }
}

struct Taken {
    world: World,
    clients: Clients,
    tried: Vec<(String, String)>,
}

impl Taken {
    fn note(&mut self, what: &str, came: String) {
        self.tried.push((what.to_owned(), came));
    }

    async fn put(&mut self, what: &str, item: Item) {
        let put = self.clients.dynamodb.put_item().table_name("ConfigTable");
        let came = code(put.set_item(Some(item.clone())).send().await);
        self.note(what, came);
        let put = Put::builder().table_name("ConfigTable");
        let put = put.set_item(Some(item)).build().unwrap();
        let write = TransactWriteItem::builder().put(put).build();
        let transaction = self.clients.dynamodb.transact_write_items();
        let came = code(transaction.transact_items(write).send().await);
        self.note(&format!("{what}, in a transaction"), came);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_over_ingest_mints_no_token_and_redirects_no_delivery() {
    let world = World::start().await;
    let application = world.application().await;
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    let endpoint = json!({ "url": "https://example.com/mine" });
    let endpoint = world.expect("POST", &path, Some(endpoint)).await;
    let endpoint = endpoint["id"].as_str().unwrap().to_owned();
    let clients = Clients::with_role(world.stack.aws(), Some("IngestFunction")).await;
    let org = world.organization.clone();
    let mut taken = Taken {
        world,
        clients,
        tried: Vec::new(),
    };

    // The key that signs.
    for stage in ["AWSCURRENT", "AWSPREVIOUS"] {
        let read = taken
            .clients
            .secrets
            .get_secret_value()
            .secret_id("TokenKey");
        let came = code(read.version_stage(stage).send().await);
        taken.note(&format!("read the token key, {stage}"), came);
    }
    let put = taken
        .clients
        .secrets
        .put_secret_value()
        .secret_id("TokenKey");
    let came = code(put.secret_string("x".repeat(64)).send().await);
    taken.note("replace the token key", came);
    let own = r#"{"id":"mine","key":"AAAA"}"#;
    let row = [("pk", "tokens"), ("sk", "trust"), ("keys", own)];
    taken
        .put("publish a public key of its own", item(&row))
        .await;
    let row = [("pk", "tokens"), ("sk", "trust")];
    taken
        .put("forget keys and revoked tokens", item(&row))
        .await;

    // Endpoints.
    let (pk, sk) = (
        format!("{org}#{}", application.id),
        format!("ep#{endpoint}"),
    );
    for (attribute, value) in [
        ("url", "https://attacker.example/"),
        ("sealed", "{\"plain\":\"\"}"),
        ("disabled", "x"),
    ] {
        let row = [("pk", pk.as_str()), ("sk", &sk), (attribute, value)];
        taken
            .put(&format!("write an endpoint's {attribute}"), item(&row))
            .await;
    }
    let key = item(&[("pk", &pk), ("sk", &sk)]);
    let update = taken
        .clients
        .dynamodb
        .update_item()
        .table_name("ConfigTable");
    let update = update
        .set_key(Some(key.clone()))
        .update_expression("SET #u = :u");
    let update = update.expression_attribute_names("#u", "url");
    let value = AttributeValue::S("https://attacker.example/".to_owned());
    let came = code(update.expression_attribute_values(":u", value).send().await);
    taken.note("update an endpoint's url", came);

    // Other rows, and removing things.
    for (what, pk, sk) in [
        ("write a data key", "keys".to_owned(), "key_x"),
        (
            "end or revive sessions",
            format!("{org}#sessions#{}", application.id),
            "all",
        ),
        ("write an event type", format!("{org}#types"), "type#a"),
        ("write a job", format!("{org}#jobs"), "qtask_x"),
        ("write a remembered answer", format!("{org}#key#0"), "key"),
    ] {
        taken.put(what, item(&[("pk", &pk), ("sk", sk)])).await;
    }
    let delete = taken
        .clients
        .dynamodb
        .delete_item()
        .table_name("ConfigTable");
    let came = code(delete.set_key(Some(key)).send().await);
    taken.note("delete an endpoint", came);
    let row = item(&[("pk", "tokens"), ("sk", "trust")]);
    let put = PutRequest::builder().set_item(Some(row)).build().unwrap();
    let write = WriteRequest::builder().put_request(put).build();
    let batch = taken.clients.dynamodb.batch_write_item();
    let came = code(batch.request_items("ConfigTable", vec![write]).send().await);
    taken.note("write in a batch", came);
    let scan = taken
        .clients
        .dynamodb
        .scan()
        .table_name("ConfigTable")
        .send();
    let came = code(scan.await);
    taken.note("read the whole table", came);
    let read = taken
        .clients
        .dynamodb
        .get_item()
        .table_name("DeliveriesTable");
    let row = item(&[("pk", "x"), ("sk", "x")]);
    let came = code(read.set_key(Some(row)).send().await);
    taken.note("read deliveries", came);

    for (what, came) in &taken.tried {
        println!("{what:55} {came}");
    }
    for (what, came) in &taken.tried {
        assert_eq!(came, "AccessDeniedException", "{what}");
    }
    let denied = taken.world.stack.aws().roles().take_denied();
    assert!(denied.iter().all(|it| it.starts_with("IngestFunction")));
    // All is as it was.
    let one = format!("{path}/{endpoint}");
    let after = taken.world.expect("GET", &one, None).await;
    assert_eq!(after["url"], "https://example.com/mine");
    // And what it is for, it still does: a message brings its application along.
    let body = json!({ "eventType": "a.b", "payload": {}, "application": { "name": "New", "uid": "new" } });
    taken.world.send("new", &body.to_string()).await;

    // What is left: a row without any of an endpoint's attributes takes the endpoint's place. It has no url to deliver
    // to, and its application answers 503 until the row is restored.
    let row = [("pk", pk.as_str()), ("sk", &sk), ("id", &endpoint)];
    let put = taken.clients.dynamodb.put_item().table_name("ConfigTable");
    let came = code(put.set_item(Some(item(&row))).send().await);
    assert_eq!(came, "done");
    assert_eq!(taken.world.get(&one).await.status, 503);
    assert_eq!(taken.world.get("/api/v1/app/new").await.status, 200);
}
