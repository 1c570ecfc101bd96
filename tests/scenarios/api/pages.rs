//! Lists stay consistent while items arrive: over all shards, forwards and backwards.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use posthorn_domain::{
    id::{ApplicationId, MessageId},
    key::LogKey,
    message::Message,
    payload::Payload,
    shard::DEFAULT_SHARDS,
    timestamp::Timestamp,
};
use posthorn_runtime::{entropy, now};
use posthorn_store::Messages;
use posthorn_tests::World;
use serde_json::Value;

const MANY: usize = 10_000;
const MORE: usize = 1_000;

fn message(created_at: Timestamp) -> Message {
    Message {
        id: MessageId::new(created_at, entropy()),
        event_type: "a.b".to_owned().try_into().unwrap(),
        event_id: None,
        channels: None,
        tags: None,
        payload: Payload::from_text("{}".to_owned()).ok(),
        destinations: Vec::new(),
        created_at,
        expires_at: created_at.plus(std::time::Duration::from_secs(86_400)),
    }
}

/// Stores messages as ingest does, without its HTTP.
pub(crate) async fn store(
    table: &Messages,
    application: &ApplicationId,
    created_at: Vec<Timestamp>,
) -> HashSet<String> {
    let puts = stream::iter(created_at).map(|at| async move {
        let message = message(at);
        let log = LogKey {
            application,
            shards: DEFAULT_SHARDS,
        };
        table.put(log, &message).await.unwrap();
        message.id.to_string()
    });
    puts.buffer_unordered(32).collect().await
}

fn ids(items: &[Value]) -> Vec<String> {
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_are_listed_once_each_while_a_thousand_arrive() {
    let world = World::start().await;
    let application: ApplicationId = world.application().await.id.parse().unwrap();
    let table = &world.aws().await.messages;
    let before = now().as_millis() - 3_600_000;
    let times = (0..MANY as i64)
        .map(|i| Timestamp::from_millis(before + i * 10))
        .collect();
    let first = store(table, &application, times).await;
    assert_eq!(first.len(), MANY);

    let path = format!("/api/v1/app/{application}/msg");
    let arriving = async {
        for _ in 0..MORE / 50 {
            store(table, &application, vec![now(); 50]).await;
            // Messages keep arriving while the list is read.
            tokio::task::yield_now().await;
        }
    };
    let ((listed, pages), ()) = tokio::join!(world.pages(&path, 250), arriving);
    let listed = ids(&listed);
    let old: Vec<_> = listed.iter().filter(|id| first.contains(*id)).collect();
    assert_eq!(old.len(), MANY, "each of the first ones once");
    assert_eq!(old.iter().collect::<HashSet<_>>().len(), MANY);
    assert!(listed.is_sorted_by(|a, b| a > b), "newest first");
    println!("{MANY} messages in {pages} pages while {MORE} arrived");
    assert_eq!(world.pages(&path, 250).await.0.len(), MANY + MORE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_backwards_from_any_page() {
    let world = World::start().await;
    let application: ApplicationId = world.application().await.id.parse().unwrap();
    let table = &world.aws().await.messages;
    let times = (0..100).map(|i| Timestamp::from_millis(now().as_millis() - 10_000 + i * 10));
    store(table, &application, times.collect()).await;
    let path = format!("/api/v1/app/{application}/msg?limit=7");
    let page = async |iterator: &str| {
        world
            .expect("GET", &format!("{path}&iterator={iterator}"), None)
            .await
    };
    let mut forwards = vec![page("").await];
    while forwards.last().unwrap()["done"] == false {
        let iterator = forwards.last().unwrap()["iterator"]
            .as_str()
            .unwrap()
            .to_owned();
        forwards.push(page(&iterator).await);
        store(table, &application, vec![now()]).await;
    }
    assert_eq!(forwards.len(), 15);
    for i in (1..forwards.len()).rev() {
        let before = page(forwards[i]["prevIterator"].as_str().unwrap()).await;
        assert_eq!(
            before["data"],
            forwards[i - 1]["data"],
            "page {i}, backwards"
        );
        let again = page(before["iterator"].as_str().unwrap()).await;
        assert_eq!(again["data"], forwards[i]["data"], "and forwards again");
    }
    let newer = page(forwards[0]["prevIterator"].as_str().unwrap()).await;
    assert_eq!(
        newer["data"].as_array().unwrap().len(),
        7,
        "what arrived since is found"
    );
}
