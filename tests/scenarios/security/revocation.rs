//! Operators end tokens before they expire: one, all of an application, all of an organization, and the
//! sessions of the portal.

use std::time::{Duration, Instant};

use posthorn_tests::{World, until};
use serde_json::{Value, json};

/// How long a revoked token may still work.
const GRACE: Duration = Duration::from_secs(10);

const GOOD: [u16; 2] = [200, 404];

/// What the api function and ingest answer to an organization's token.
async fn statuses(world: &World, token: &str) -> [u16; 2] {
    let message = Some(r#"{"eventType":"a","payload":{}}"#);
    let get = world.request("GET", "/api/v1/app", None, &[], Some(token));
    let post = world.request("POST", "/api/v1/app/none/msg", message, &[], Some(token));
    [get.await.status, post.await.status]
}

/// Waits until both functions refuse a token; gives how long it took.
async fn ends(world: &World, token: &str) -> Duration {
    let started = Instant::now();
    until("the end of the token", || async {
        (statuses(world, token).await == [401, 401]).then_some(())
    })
    .await;
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_within_ten_seconds() {
    let world = World::start().await;
    let organization = &world.organization;
    let minted = world
        .operate(json!({ "mint": { "organization": organization } }))
        .await;
    let token = minted["token"].as_str().unwrap();
    assert_eq!(statuses(&world, token).await, GOOD);
    let revoke = json!({ "organization": organization, "jti": minted["jti"] });
    world.operate(json!({ "revoke": revoke })).await;
    let took = ends(&world, token).await;
    println!("revoked after {took:?}");
    assert!(took < GRACE + Duration::from_secs(2), "{took:?}");
    assert_eq!(statuses(&world, &world.token).await, GOOD, "another token");
    let refused = world.request("GET", "/api/v1/app", None, &[], Some(token));
    let refused = refused.await.body;
    assert_eq!(refused["detail"], "the token was revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tokens_of_an_organization_end_and_new_ones_are_good() {
    let world = World::start().await;
    let organization = &world.organization;
    let application = world.application().await.id;
    let reach = json!({ "organization": organization, "application": application });
    let of_application = world.mint(reach.clone()).await;
    let access = format!("/api/v1/auth/app-portal-access/{application}");
    let access = world.expect("POST", &access, Some(json!({}))).await;
    let customer = access["token"].as_str().unwrap();
    let path = format!("/api/v1/app/{application}/endpoint");
    let stranger = world.mint(json!({})).await;
    world.operate(json!({ "revoke": reach })).await;
    for token in [of_application.as_str(), customer] {
        until("the end of the application's tokens", || async {
            let answer = world.request("GET", &path, None, &[], Some(token)).await;
            (answer.status == 401).then_some(())
        })
        .await;
    }
    assert_eq!(statuses(&world, &world.token).await, GOOD);
    world
        .operate(json!({ "revoke": { "organization": organization } }))
        .await;
    let new = world.mint(json!({ "organization": organization })).await;
    ends(&world, &world.token).await;
    assert_eq!(statuses(&world, &new).await, GOOD);
    assert_eq!(statuses(&world, &stranger).await, GOOD);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_names_nothing_or_too_much_is_refused() {
    let world = World::start().await;
    for (request, says) in [
        (json!({}), "organization"),
        (json!({ "organization": "x" }), "organization"),
        (
            json!({ "organization": world.organization, "token": "x" }),
            "token",
        ),
        (
            json!({ "organization": world.organization, "jti": "x" }),
            "jti",
        ),
    ] {
        let event = json!({ "revoke": request });
        let refused = world.stack.invoke("ApiFunction", &event).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

/// A customer's token, and what an own name for the session adds.
async fn grant(world: &World, session: Option<&str>) -> String {
    let body = json!({ "sessionId": session });
    let path = "/api/v1/auth/app-portal-access/acme";
    let access = world.expect("POST", path, Some(body)).await;
    access["token"].as_str().unwrap().to_owned()
}

async fn status(world: &World, token: &str) -> u16 {
    let path = "/api/v1/app/acme/endpoint";
    let answer = world.request("GET", path, None, &[], Some(token));
    answer.await.status
}

async fn expire_all(world: &World, body: Value) {
    let path = "/api/v1/auth/app/acme/expire-all";
    let answer = world.call("POST", path, Some(body)).await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

async fn with_acme() -> World {
    let world = World::start().await;
    let body = json!({ "name": "Acme", "uid": "acme" });
    world.expect("POST", "/api/v1/app", Some(body)).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn expire_all_ends_the_sessions_of_an_application_at_once() {
    let world = with_acme().await;
    let before = [grant(&world, None).await, grant(&world, Some("anna")).await];
    for token in &before {
        assert_eq!(status(&world, token).await, 200);
    }
    expire_all(&world, json!({})).await;
    for token in &before {
        assert_eq!(status(&world, token).await, 401);
    }
    let after = grant(&world, None).await;
    assert_eq!(status(&world, &after).await, 200);
    assert_eq!(statuses(&world, &world.token).await, GOOD);
}

#[tokio::test(flavor = "multi_thread")]
async fn expire_all_ends_the_named_sessions_only() {
    let world = with_acme().await;
    let (anna, ben) = (
        grant(&world, Some("anna")).await,
        grant(&world, Some("ben@example")).await,
    );
    let nobody = grant(&world, None).await;
    // 150 names are two transactions.
    let mut names: Vec<_> = (0..149).map(|n| format!("other-{n}")).collect();
    names.push("anna".to_owned());
    expire_all(&world, json!({ "sessionIds": names })).await;
    assert_eq!(status(&world, &anna).await, 401);
    assert_eq!(status(&world, &ben).await, 200);
    assert_eq!(status(&world, &nobody).await, 200);
    let again = grant(&world, Some("anna")).await;
    assert_eq!(status(&world, &again).await, 200);
    expire_all(&world, json!({ "sessionIds": [] })).await;
    for token in [ben, nobody, again] {
        assert_eq!(status(&world, &token).await, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_lets_sessions_end_later_and_a_second_order_does_not_prolong_it() {
    let world = with_acme().await;
    let token = grant(&world, None).await;
    expire_all(&world, json!({ "expiry": 2 })).await;
    assert_eq!(status(&world, &token).await, 200);
    expire_all(&world, json!({ "expiry": 259_200 })).await;
    // An exchange does not escape the order.
    let exchange = json!({ "oneTimeToken": token });
    let exchange = world.call("POST", "/api/v1/auth/one-time-token", Some(exchange));
    let exchanged = exchange.await.body["token"].as_str().unwrap().to_owned();
    until("the end of the grace", || async {
        (status(&world, &exchanged).await == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_ends_the_sessions_that_it_is_about_and_no_later_ones() {
    let world = with_acme().await;
    let early = grant(&world, None).await;
    expire_all(&world, json!({ "expiry": 2 })).await;
    let late = grant(&world, None).await;
    expire_all(&world, json!({ "expiry": 3600 })).await;
    until("the end of the first order's grace", || async {
        (status(&world, &early).await == 401).then_some(())
    })
    .await;
    assert_eq!(status(&world, &late).await, 200, "its grace runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expire_all_cannot_do_is_refused_by_field() {
    let world = with_acme().await;
    let path = "/api/v1/auth/app/acme/expire-all";
    let names: Vec<_> = (0..1001).map(|n| format!("s{n}")).collect();
    for (body, field) in [
        (json!({ "expiry": -1 }), "expiry"),
        (json!({ "expiry": 259_201 }), "expiry"),
        (json!({ "sessionIds": ["a b"] }), "sessionIds"),
        (json!({ "sessionIds": names }), "sessionIds"),
    ] {
        let refused = world.call("POST", path, Some(body)).await;
        let loc = &refused.body["detail"][0]["loc"][1];
        assert_eq!((refused.status, loc), (422, &json!(field)));
    }
    let nobody = "/api/v1/auth/app/nobody/expire-all";
    let refused = world.call("POST", nobody, Some(json!({}))).await;
    assert_eq!(refused.status, 404);
}
