//! Concurrent requests, and repeated requests.

use futures_util::future::join_all;
use posthorn_store::{Answer, FAILED, Seed};
use posthorn_tests::World;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[tokio::test(flavor = "multi_thread")]
async fn a_put_by_uid_can_be_repeated() {
    let world = World::start().await;
    let mut applications = Vec::new();
    for status in [201, 200, 200] {
        let answer = world
            .call("PUT", "/api/v1/app/acme", Some(json!({ "name": "A" })))
            .await;
        assert_eq!(
            (answer.status, &answer.body["uid"]),
            (status, &json!("acme"))
        );
        applications.push(answer.body["id"].clone());
    }
    applications.dedup();
    assert_eq!(applications.len(), 1);
    let path = "/api/v1/app/acme/endpoint/main";
    let mut endpoints = Vec::new();
    for status in [201, 200, 200] {
        let body = json!({ "url": "https://example.com/" });
        let answer = world.call("PUT", path, Some(body)).await;
        assert_eq!(
            (answer.status, &answer.body["uid"]),
            (status, &json!("main"))
        );
        endpoints.push(answer.body["id"].clone());
    }
    endpoints.dedup();
    assert_eq!(endpoints.len(), 1);
    let read = world.expect("GET", path, None).await;
    assert_eq!(
        world.call("PUT", path, Some(read)).await.status,
        200,
        "what was read can be put"
    );
    let other = json!({ "name": "A", "uid": "y" });
    let refused = world.call("PUT", "/api/v1/app/x", Some(other)).await;
    assert_eq!(
        refused.status, 422,
        "the path and the body name two new applications"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uid_that_looks_like_an_id_is_refused() {
    let world = World::start().await;
    let id = world.application().await.id;
    let cut = &id[..id.len() - 1];
    let by_path = world
        .call(
            "PUT",
            &format!("/api/v1/app/{cut}"),
            Some(json!({ "name": "A" })),
        )
        .await;
    let by_body = world
        .call(
            "POST",
            "/api/v1/app",
            Some(json!({ "name": "A", "uid": id })),
        )
        .await;
    let endpoint = json!({ "url": "https://example.com/", "uid": "ep_1" });
    let path = format!("/api/v1/app/{id}/endpoint");
    let of_endpoint = world.call("POST", &path, Some(endpoint)).await;
    for refused in [by_path, by_body, of_endpoint] {
        let loc = &refused.body["detail"][0]["loc"];
        assert_eq!((refused.status, loc), (422, &json!(["body", "uid"])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_one_new_uid_make_one_application() {
    let world = World::start().await;
    let put = || world.call("PUT", "/api/v1/app/acme", Some(json!({ "name": "A" })));
    let body = || json!({ "name": "B", "uid": "other" });
    let get_or_create = || world.call("POST", "/api/v1/app?get_if_exists=true", Some(body()));
    let access = || {
        let body = json!({ "application": { "name": "C", "uid": "third" } });
        world.call("POST", "/api/v1/auth/app-portal-access/third", Some(body))
    };
    let puts = join_all((0..6).map(|_| put())).await;
    let posts = join_all((0..6).map(|_| get_or_create())).await;
    let accesses = join_all((0..6).map(|_| access())).await;
    for answer in puts.iter().chain(&posts).chain(&accesses) {
        assert!([200, 201].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(world.pages("/api/v1/app", 50).await.0.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_different_fields_at_the_same_time_are_all_made() {
    let world = World::start().await;
    world
        .expect("PUT", "/api/v1/app/acme", Some(json!({ "name": "A" })))
        .await;
    let path = "/api/v1/app/acme/endpoint/main";
    world
        .expect("PUT", path, Some(json!({ "url": "https://example.com/" })))
        .await;
    let headers = format!("{path}/headers");
    let changes = [
        (path, json!({ "description": "d" })),
        (path, json!({ "throttleRate": 5 })),
        (path, json!({ "metadata": { "a": "b" } })),
        (headers.as_str(), json!({ "headers": { "X-A": "1" } })),
    ];
    let answers = join_all(changes.map(|(path, body)| world.call("PATCH", path, Some(body)))).await;
    assert!(
        answers
            .iter()
            .all(|answer| [200, 204].contains(&answer.status)),
        "{answers:?}"
    );
    let types = (0..6).map(|n| {
        let body = json!({ "description": n.to_string() });
        world.call("PUT", "/api/v1/event-type/a.b", Some(body))
    });
    for answer in join_all(types).await {
        assert!([200, 201].contains(&answer.status), "{answer:?}");
    }
    let after = world.expect("GET", path, None).await;
    let fields = [
        &after["description"],
        &after["throttleRate"],
        &after["metadata"],
    ];
    assert_eq!(fields, [&json!("d"), &json!(5), &json!({ "a": "b" })]);
    assert_eq!(
        world.expect("GET", &headers, None).await["headers"],
        json!({ "X-A": "1" })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_during_a_change_of_uid_blocks_no_uid() {
    let world = World::start().await;
    world
        .expect("PUT", "/api/v1/app/acme", Some(json!({ "name": "A" })))
        .await;
    let create = |uid: String| {
        let body = json!({ "url": "https://example.com/", "uid": uid });
        world.expect("POST", "/api/v1/app/acme/endpoint", Some(body))
    };
    for round in 0..10 {
        let endpoint = create(format!("before-{round}")).await;
        let path = format!(
            "/api/v1/app/acme/endpoint/{}",
            endpoint["id"].as_str().unwrap()
        );
        let moved = json!({ "uid": format!("after-{round}") });
        tokio::join!(
            world.call("PATCH", &path, Some(moved)),
            world.call("DELETE", &path, None)
        );
        world.call("DELETE", &path, None).await;
        create(format!("before-{round}")).await;
        create(format!("after-{round}")).await;
    }
    for round in 0..5 {
        // Two concurrent deletions, after which anyone may take the uid again.
        let path = format!("/api/v1/app/twice-{round}");
        world
            .expect("PUT", &path, Some(json!({ "name": "A" })))
            .await;
        let put = || world.call("PUT", &path, Some(json!({ "name": "B" })));
        let delete = || world.call("DELETE", &path, None);
        tokio::join!(delete(), delete(), put());
        let again = put().await;
        assert!([200, 201].contains(&again.status), "{again:?}");
        let read = world.expect("GET", &path, None).await;
        assert_eq!(read["name"], "B", "its uid is its own");
    }
    for round in 0..5 {
        let name = |when: &str| format!("{when}-{round}");
        let body = json!({ "name": "A", "uid": name("old") });
        let application = world.expect("POST", "/api/v1/app", Some(body)).await;
        let path = format!("/api/v1/app/{}", application["id"].as_str().unwrap());
        let moved = json!({ "uid": name("new") });
        tokio::join!(
            world.call("PATCH", &path, Some(moved)),
            world.call("DELETE", &path, None)
        );
        world.call("DELETE", &path, None).await;
        for when in ["old", "new"] {
            let path = format!("/api/v1/app/{}", name(when));
            let again = world
                .expect("PUT", &path, Some(json!({ "name": "B" })))
                .await;
            assert_eq!(again["name"], "B");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_deleted_although_its_endpoints_keep_coming() {
    let world = World::start().await;
    world
        .expect("PUT", "/api/v1/app/acme", Some(json!({ "name": "A" })))
        .await;
    let id = world.expect("GET", "/api/v1/app/acme", None).await["id"].clone();
    let path = format!("/api/v1/app/{}", id.as_str().unwrap());
    let creating = async {
        let body = || Some(json!({ "url": "https://example.com/" }));
        let mut created = 0;
        while world
            .call("POST", &format!("{path}/endpoint"), body())
            .await
            .status
            == 201
        {
            created += 1;
        }
        created
    };
    let deleting = async {
        world
            .call(
                "POST",
                &format!("{path}/endpoint"),
                Some(json!({ "url": "https://a.example/" })),
            )
            .await;
        world.call("DELETE", &path, None).await.status
    };
    let (_, status) = tokio::join!(creating, deleting);
    assert_eq!(status, 204);
    assert_eq!(world.get(&path).await.status, 404);
    assert_eq!(
        world.call("DELETE", &path, None).await.status,
        404,
        "nothing is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_has_one_effect_even_at_the_same_time() {
    let world = World::start().await;
    let post = |key: &'static str, body: Value| {
        let world = &world;
        async move {
            world
                .post(
                    "/api/v1/app",
                    &body.to_string(),
                    &[("idempotency-key", key)],
                )
                .await
        }
    };
    let answers = join_all((0..6).map(|_| post("k1", json!({ "name": "A" })))).await;
    for answer in &answers {
        assert_eq!(
            (answer.status, &answer.body),
            (201, &answers[0].body),
            "the same answer"
        );
    }
    let other_body = post("k1", json!({ "name": "B" })).await;
    let loc = &other_body.body["detail"][0]["loc"];
    assert_eq!(
        (other_body.status, loc),
        (422, &json!(["header", "idempotency-key"]))
    );
    post("k2", json!({ "name": "A" })).await;
    let refused = post("k3", json!({ "name": "" })).await;
    assert_eq!(refused.status, 422);
    assert_eq!(
        post("k3", json!({ "name": "C" })).await.status,
        201,
        "a refusal gives the key back"
    );
    assert_eq!(world.pages("/api/v1/app", 50).await.0.len(), 3);
}

/// The key of a request, as `functions/api` builds it: each part with its length.
fn key_of(parts: [&str; 3]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The function crashed after it stored something and before it stored its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_ended_in_the_middle_is_completed_and_not_done_twice() {
    let world = World::start().await;
    let config = world.aws().await.config;
    let organization = world.organization.parse().unwrap();
    let application = world.application().await.id;
    let endpoints = format!("/api/v1/app/{application}/endpoint");
    for (path, body) in [
        ("/api/v1/app", json!({ "name": "A", "uid": "a" })),
        (
            &endpoints,
            json!({ "url": "https://example.com/", "uid": "e" }),
        ),
    ] {
        let post = || async {
            let answer = world
                .post(path, &body.to_string(), &[("idempotency-key", "k")])
                .await;
            assert_eq!(answer.status, 201, "{answer:?}");
            answer.body
        };
        let first = post().await;
        let key = key_of(["", path, "k"]);
        let other = Answer {
            request_hash: String::new(),
            status: 0,
            body: String::new(),
            started_at: posthorn_runtime::now(),
            nonce: String::new(),
            seed: Seed {
                at: posthorn_runtime::now(),
                nonce: String::new(),
            },
        };
        let reserved = config
            .answers()
            .reserve(&organization, &key, &other)
            .await
            .unwrap();
        let kept = reserved.unwrap_err();
        assert_eq!(kept.status, 201, "this is the request's row");
        let ended = Answer {
            status: FAILED,
            ..kept
        };
        config
            .answers()
            .keep(&organization, &key, &ended)
            .await
            .unwrap();
        assert_eq!(post().await, first, "it finds what it made");
        assert_eq!(post().await, first, "and from now on the answer");
    }
    assert_eq!(world.pages("/api/v1/app", 50).await.0.len(), 2);
    assert_eq!(world.pages(&endpoints, 50).await.0.len(), 1);
}
