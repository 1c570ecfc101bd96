//! Tokens for customers: one application, some features, until they log out.

use posthorn_tests::{Receiver, World};
use serde_json::{Value, json};

async fn access(world: &World, app: &str, body: Value) -> (String, String) {
    let path = format!("/api/v1/auth/app-portal-access/{app}");
    let access = world.expect("POST", &path, Some(body)).await;
    let text = |field: &str| access[field].as_str().unwrap().to_owned();
    (text("token"), text("url"))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_portal_the_link_is_its_fragment_alone() {
    let world = World::start().await;
    let application = world.application().await;
    let (_, url) = access(&world, &application.id, json!({})).await;
    assert!(url.starts_with("#key="), "{url}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_token_sees_its_features_and_ends_with_logout() {
    let portal = ("PortalUrl", "https://example.com/webhooks");
    let world = World::with_parameters([portal]).await;
    world
        .expect(
            "POST",
            "/api/v1/app",
            Some(json!({ "name": "Acme", "uid": "acme" })),
        )
        .await;
    for (name, flag) in [
        ("open", None),
        ("beta.a", Some("beta")),
        ("alpha.a", Some("alpha")),
    ] {
        let body = json!({ "name": name, "description": "", "featureFlag": flag });
        world.expect("POST", "/api/v1/event-type", Some(body)).await;
    }
    let (token, url) = access(&world, "acme", json!({ "featureFlags": ["beta"] })).await;
    assert!(
        url.starts_with("https://example.com/webhooks#key="),
        "{url}"
    );
    let call = async |method: &str, path: &str, body: Option<Value>| {
        let body = body.map(|body| body.to_string());
        world
            .request(method, path, body.as_deref(), &[], Some(&token))
            .await
    };
    let list = call("GET", "/api/v1/event-type", None).await;
    let names: Vec<_> = list.body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["beta.a", "open"]);
    assert_eq!(
        call("GET", "/api/v1/event-type/beta.a", None).await.status,
        200
    );
    assert_eq!(
        call("GET", "/api/v1/event-type/alpha.a", None).await.status,
        404
    );
    let endpoint = |name: &str| json!({ "url": "https://example.com/", "eventTypes": [name] });
    let path = "/api/v1/app/acme/endpoint";
    assert_eq!(
        call("POST", path, Some(endpoint("beta.a"))).await.status,
        201
    );
    assert_eq!(
        call("POST", path, Some(endpoint("alpha.a"))).await.status,
        422
    );
    let message = json!({ "eventType": "open", "payload": {} });
    let forged = call("POST", "/api/v1/app/acme/msg", Some(message)).await;
    assert_eq!(forged.status, 403, "a customer cannot send itself events");

    assert_eq!(call("POST", "/api/v1/auth/logout", None).await.status, 204);
    let ended = call("GET", path, None).await;
    assert_eq!(
        (ended.status, ended.body["code"].as_str()),
        (401, Some("authentication_failed"))
    );
    let (token, _) = access(&world, "acme", json!({})).await;
    let again = world.request("GET", path, None, &[], Some(&token)).await;
    assert_eq!(again.status, 200, "another session");
    assert_eq!(
        world.call("POST", "/api/v1/auth/logout", None).await.status,
        403,
        "not a session"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn access_creates_the_application_and_grants_no_more_than_was_asked_for() {
    let world = World::start().await;
    let path = "/api/v1/auth/app-portal-access/fresh";
    assert_eq!(world.call("POST", path, Some(json!({}))).await.status, 404);
    access(
        &world,
        "fresh",
        json!({ "application": { "name": "Fresh", "uid": "fresh" } }),
    )
    .await;
    let created = world.expect("GET", "/api/v1/app/fresh", None).await;
    assert_eq!([&created["name"], &created["uid"]], ["Fresh", "fresh"]);
    for (field, body) in [
        ("capabilities", json!({ "capabilities": [] })),
        (
            "capabilities",
            json!({ "capabilities": ["ManageEndpoint"] }),
        ),
        (
            "capabilities",
            json!({ "capabilities": ["ViewBase", "ViewBase"] }),
        ),
        (
            "capabilities",
            json!({ "capabilities": ["ViewBase", "viewBase"] }),
        ),
        ("capabilities", json!({ "capabilities": "ViewBase" })),
        (
            "readOnly",
            json!({ "readOnly": true, "capabilities": ["ViewBase", "CreateAttempts"] }),
        ),
        (
            "readOnly",
            json!({ "readOnly": true, "capabilities": ["ViewBase", "ViewEndpointSecret"] }),
        ),
        ("sessionId", json!({ "sessionId": "" })),
        ("sessionId", json!({ "sessionId": "a b" })),
        ("sessionId", json!({ "sessionId": "x".repeat(65) })),
        ("expiry", json!({ "expiry": 3599 })),
        ("expiry", json!({ "expiry": 604801 })),
        ("featureFlags", json!({ "featureFlags": ["a", "a"] })),
        (
            "featureFlags",
            json!({ "featureFlags": (0..26).map(|n| format!("f{n}")).collect::<Vec<_>>() }),
        ),
    ] {
        let refused = world.call("POST", path, Some(body)).await;
        assert_eq!(
            (refused.status, &refused.body["detail"][0]["loc"][1]),
            (422, &json!(field))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn access_brings_along_the_application_that_its_path_names_or_none() {
    let world = World::start().await;
    let application = world.application().await;
    for path in ["another", &application.id] {
        for brought in [
            json!({ "name": "No uid" }),
            json!({ "name": "Null", "uid": null }),
            json!({ "name": "Other", "uid": "other" }),
        ] {
            let access = format!("/api/v1/auth/app-portal-access/{path}");
            let body = json!({ "application": brought });
            let refused = world.call("POST", &access, Some(body)).await;
            let loc = &refused.body["detail"][0]["loc"];
            let wanted = json!(["body", "application", "uid"]);
            assert_eq!((refused.status, loc), (422, &wanted), "{path}: {brought}");
        }
    }
    for uid in ["another", "other"] {
        let path = format!("/api/v1/app/{uid}");
        assert_eq!(world.call("GET", &path, None).await.status, 404, "{uid}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_bring_its_application_along() {
    let world = World::start().await;
    let body = |name: &str| {
        json!({
            "eventType": "a.b", "payload": {}, "application": { "name": name, "uid": "fresh" },
        })
    };
    let send = async |name: &str| {
        let answer = world
            .call("POST", "/api/v1/app/fresh/msg", Some(body(name)))
            .await;
        assert_eq!(answer.status, 202, "{answer:?}");
    };
    send("Fresh").await;
    let receiver = Receiver::accepting().await;
    let endpoint = json!({ "url": receiver.url() });
    world
        .expect("POST", "/api/v1/app/fresh/endpoint", Some(endpoint))
        .await;
    send("Ignored").await;
    receiver.wait_for(1).await;
    assert_eq!(
        world.expect("GET", "/api/v1/app/fresh", None).await["name"],
        "Fresh"
    );
    let messages = world.pages("/api/v1/app/fresh/msg", 50).await.0;
    assert_eq!(messages.len(), 2);
    let elsewhere = world
        .call("POST", "/api/v1/app/other/msg", Some(body("x")))
        .await;
    assert_eq!(
        (elsewhere.status, &elsewhere.body["detail"][0]["loc"]),
        (422, &json!(["body", "application", "uid"]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_links_token_is_exchanged_once_for_one_of_the_same_reach() {
    let world = World::start().await;
    let body = json!({ "name": "Acme", "uid": "acme" });
    world.expect("POST", "/api/v1/app", Some(body)).await;
    let capabilities = json!(["ViewBase", "CreateAttempts"]);
    let (link, _) = access(&world, "acme", json!({ "capabilities": capabilities })).await;
    let exchange = async |token: &str| {
        let body = json!({ "oneTimeToken": token }).to_string();
        let path = "/api/v1/auth/one-time-token";
        world.request("POST", path, Some(&body), &[], None).await
    };
    let endpoints = "/api/v1/app/acme/endpoint";
    let list = async |token: &str| {
        let answer = world.request("GET", endpoints, None, &[], Some(token));
        answer.await.status
    };
    assert_eq!(list(&link).await, 200);
    let (one, two) = tokio::join!(exchange(&link), exchange(&link));
    let (done, refused) = if one.status == 200 {
        (one, two)
    } else {
        (two, one)
    };
    assert_eq!((done.status, refused.status), (200, 401), "once");
    assert_eq!(done.body["capabilities"], capabilities);
    let token = done.body["token"].as_str().unwrap();
    assert_eq!((list(token).await, list(&link).await), (200, 401));
    let body = json!({ "url": "https://example.com/" }).to_string();
    let create = world.request("POST", endpoints, Some(&body), &[], Some(token));
    assert_eq!(create.await.status, 403, "no more than the link's");
    assert_eq!(exchange(&world.token).await.status, 403, "no link's token");
    assert_eq!(exchange("nonsense").await.status, 401);
}

/// The portal's customer sends what an operator sent: the same path, body and key.
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_never_gets_an_answer_that_was_somebody_elses() {
    let world = World::start().await;
    let body = json!({ "name": "Acme", "uid": "acme" });
    let application = world.expect("POST", "/api/v1/app", Some(body)).await;
    let reach = json!({ "organization": world.organization, "application": application["id"] });
    let tokens = [
        world.token.clone(),
        world.mint(reach).await,
        access(&world, "acme", json!({})).await.0,
        access(&world, "acme", json!({})).await.0,
    ];
    let body = json!({ "url": "https://example.com/" }).to_string();
    let key = [("idempotency-key", "the-same")];
    let path = "/api/v1/app/acme/endpoint";
    let mut made = std::collections::BTreeSet::new();
    for token in &tokens {
        for _ in 0..2 {
            let answer = world.request("POST", path, Some(&body), &key, Some(token));
            let answer = answer.await;
            assert_eq!(answer.status, 201, "{answer:?}");
            made.insert(answer.body["id"].to_string());
        }
    }
    assert_eq!(made.len(), tokens.len(), "one each, and each once");
    let (reader, _) = access(&world, "acme", json!({ "readOnly": true })).await;
    let refused = world.request("POST", path, Some(&body), &key, Some(&reader));
    assert_eq!(refused.await.status, 403);
}
