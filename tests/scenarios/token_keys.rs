//! The key that signs tokens is replaced without a gap, and refused tokens are counted.

use std::time::Duration;

use posthorn_domain::{
    id::OrganizationId,
    token::{Scope, TokenKey},
};
use posthorn_runtime::now;
use posthorn_tests::{World, until};
use serde_json::json;

const PATHS: [(&str, &str); 2] = [("GET", "/api/v1/app"), ("POST", "/api/v1/app/none/msg")];

impl Rotating {
    /// What the api function and ingest answer.
    async fn statuses(&self, token: &str) -> [u16; 2] {
        let mut statuses = [0; 2];
        for (status, (method, path)) in statuses.iter_mut().zip(PATHS) {
            let body = (method == "POST").then_some(r#"{"eventType":"a","payload":{}}"#);
            let answer = self.world.request(method, path, body, &[], Some(token));
            *status = answer.await.status;
        }
        statuses
    }

    /// Puts a new value into the secret; gives a token that is signed with it.
    async fn replace(&self, key: &str) -> String {
        let secrets = self.world.aws().await.secrets;
        let put = secrets
            .put_secret_value()
            .secret_id("TokenKey")
            .secret_string(key);
        put.send().await.unwrap();
        let organization: OrganizationId = self.world.organization.parse().unwrap();
        let key = TokenKey::new(key.as_bytes()).unwrap();
        let scope = Scope::organization(organization);
        key.mint(&scope, now(), Duration::from_secs(600)).unwrap()
    }
}

struct Rotating {
    world: World,
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_key_before_are_good_until_the_next_one() {
    const GOOD: [u16; 2] = [200, 404];
    let it = Rotating {
        world: World::start().await,
    };
    let first = it.world.token.clone();
    assert_eq!(it.statuses(&first).await, GOOD);
    let second = it.replace(&"b".repeat(64)).await;
    // Processes that began before know the new key as soon as somebody uses it.
    assert_eq!(it.statuses(&second).await, GOOD);
    assert_eq!(it.statuses(&first).await, GOOD);
    let third = it.replace(&"c".repeat(64)).await;
    for function in ["ApiFunction", "IngestFunction"] {
        it.world.kill(function);
    }
    // A request may meet a process in its last moment.
    until("new processes", || async {
        (it.statuses(&third).await == GOOD).then_some(())
    })
    .await;
    assert_eq!(it.statuses(&second).await, GOOD);
    assert_eq!(it.statuses(&first).await, [401, 401]);
    let minted = it
        .world
        .mint(json!({ "organization": it.world.organization }))
        .await;
    assert_eq!(it.statuses(&minted).await, GOOD);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_tokens_are_counted_by_function() {
    let it = Rotating {
        world: World::start().await,
    };
    let forged = format!("{}x", it.world.token);
    assert_eq!(it.statuses(&forged).await, [401, 401]);
    assert_eq!(it.statuses("nonsense").await, [401, 401]);
    for function in ["ApiFunction", "IngestFunction"] {
        until("two counts of each function", || async {
            let logs = it.world.stack.logs();
            let counts = logs.iter().filter(|line| {
                line.contains(r#""TokensRefused":1"#)
                    && line.contains(&format!(r#""Function":"{function}""#))
            });
            (counts.count() == 2).then_some(())
        })
        .await;
    }
}
