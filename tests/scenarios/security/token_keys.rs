//! The key that signs tokens is replaced without a gap, and refused tokens are counted.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use posthorn_domain::{
    id::TokenId,
    token::{Scope, TokenKey},
};
use posthorn_local::StackOptions;
use posthorn_runtime::{entropy, now};
use posthorn_tests::{World, until};
use serde_json::{Value, json};

const PATHS: [(&str, &str); 2] = [("GET", "/api/v1/app"), ("POST", "/api/v1/app/none/msg")];
const GOOD: [u16; 2] = [200, 404];
const REFUSED: [u16; 2] = [401, 401];

/// How the api function and ingest respond.
async fn statuses(world: &World, token: &str) -> [u16; 2] {
    let mut statuses = [0; 2];
    for (status, (method, path)) in statuses.iter_mut().zip(PATHS) {
        let body = (method == "POST").then_some(r#"{"eventType":"a","payload":{}}"#);
        let answer = world.request(method, path, body, &[], Some(token));
        *status = answer.await.status;
    }
    statuses
}

/// Rotates the key, and creates a token with the new one.
async fn rotate(world: &World, how: Value) -> String {
    let rotated = world.operate(json!({ "rotate_token_key": how })).await;
    assert!(rotated["token_key"].is_string(), "{rotated}");
    mint(world).await
}

async fn mint(world: &World) -> String {
    let organization = &world.organization;
    world.mint(json!({ "organization": organization })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_previous_key_are_good_until_the_next_rotation() {
    let world = World::start().await;
    let first = world.token.clone();
    assert_eq!(statuses(&world, &first).await, GOOD);
    let second = rotate(&world, json!({})).await;
    // Running processes learn the new key as soon as somebody uses it.
    assert_eq!(statuses(&world, &second).await, GOOD);
    assert_eq!(statuses(&world, &first).await, GOOD);
    let third = rotate(&world, json!({})).await;
    assert_eq!(statuses(&world, &third).await, GOOD);
    assert_eq!(statuses(&world, &second).await, GOOD);
    assert_eq!(statuses(&world, &first).await, REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_key_is_worth_nothing_after_one_command() {
    let world = World::start().await;
    assert_eq!(statuses(&world, &world.token).await, GOOD);
    let leaked = TokenKey::new(world.token_secret().await.as_bytes()).unwrap();
    let after = rotate(&world, json!({ "end_previous": true })).await;
    assert_eq!(statuses(&world, &after).await, GOOD);
    let scope = Scope::organization(world.organization.parse().unwrap());
    let id = TokenId::new(now(), entropy());
    let forged = leaked.mint(&scope, id, now(), Duration::from_secs(600));
    for token in [forged.unwrap(), world.token.clone()] {
        assert_eq!(statuses(&world, &token).await, REFUSED);
    }
}

/// The function crashes after it wrote the secret and before it wrote the table.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_ended_in_the_middle_loses_nothing() {
    let world = World::start().await;
    let secrets = world.aws().await.secrets;
    let put = secrets.put_secret_value().secret_id("TokenKey");
    put.secret_string("b".repeat(64)).send().await.unwrap();
    assert_eq!(statuses(&world, &mint(&world).await).await, GOOD);
    world.kill("ApiFunction");
    // The next process finds the new secret, and publishes its key before it signs.
    let second = until("a new process", || async {
        let event = json!({ "mint": { "organization": world.organization } });
        world.stack.invoke("ApiFunction", &event).await.ok()
    })
    .await;
    let second = second["token"].as_str().unwrap();
    assert_eq!(statuses(&world, second).await, GOOD);
    assert_eq!(statuses(&world, &world.token).await, GOOD);
    let third = rotate(&world, json!({})).await;
    assert_eq!(statuses(&world, &third).await, GOOD);
    assert_eq!(statuses(&world, second).await, GOOD);
    assert_eq!(statuses(&world, &world.token).await, REFUSED);
}

/// A forger's token: well-formed, but signed with an unknown key.
fn forged(world: &World) -> String {
    let key = TokenKey::new(&entropy::<32>()).unwrap();
    let scope = Scope::organization(world.organization.parse().unwrap());
    let id = TokenId::new(now(), entropy());
    let token = key.mint(&scope, id, now(), Duration::from_secs(600));
    token.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_delay_no_new_key_and_cost_bounded_reads() {
    let options = StackOptions {
        meter: true,
        ..StackOptions::default()
    };
    let world = World::with_options(options).await;
    assert_eq!(statuses(&world, &world.token).await, GOOD);
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let flood = async || {
        while !over.load(Ordering::Relaxed) {
            assert_eq!(statuses(&world, &forged(&world)).await, REFUSED);
            sent.fetch_add(2, Ordering::Relaxed);
        }
    };
    let rotations = async {
        let meter = world.stack.meter().unwrap();
        meter.reset();
        let started = Instant::now();
        for _ in 0..5 {
            let token = rotate(&world, json!({})).await;
            assert_eq!(statuses(&world, &token).await, GOOD, "at its first use");
        }
        over.store(true, Ordering::Relaxed);
        (meter.report(), started.elapsed())
    };
    let (_, _, (report, took)) = tokio::join!(flood(), flood(), rotations);
    let processes = ["ApiFunction", "IngestFunction"].map(|it| world.stack.process_ids(it).len());
    let processes: usize = processes.iter().sum();
    let reads = report.calls["DynamoDB GetItem"];
    // A rotation and the creation of a token also read the row.
    let bound = (took.as_secs_f64() * 20.0 + 2.0) * processes as f64 + 20.0;
    println!("{sent:?} forged tokens: {reads} reads in {took:?} of {processes} processes");
    assert!(reads as f64 <= bound, "{reads} reads, not {bound}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_tokens_are_counted_by_function() {
    let world = World::start().await;
    let changed = format!("{}x", world.token);
    assert_eq!(statuses(&world, &changed).await, REFUSED);
    assert_eq!(statuses(&world, "nonsense").await, REFUSED);
    for function in ["ApiFunction", "IngestFunction"] {
        until("two counts of each function", || async {
            let logs = world.stack.logs();
            let counts = logs.iter().filter(|line| {
                line.contains(r#""TokensRefused":1"#)
                    && line.contains(&format!(r#""Function":"{function}""#))
            });
            (counts.count() == 2).then_some(())
        })
        .await;
    }
}
