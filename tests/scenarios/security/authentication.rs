//! Nobody gets in without a valid token.

use posthorn_tests::World;
use serde_json::json;

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_valid_token_is_401_and_says_why() {
    let world = World::start().await;
    let application = world.application().await;
    let expired = world
        .mint(json!({ "organization": world.organization, "expires_in_seconds": 0 }))
        .await;
    let forged = forge(&world.token);
    let cases = [
        (None, "missing the Authorization header"),
        (Some("nonsense"), "malformed token"),
        (Some(forged.as_str()), "not signed by this deployment"),
        (Some(expired.as_str()), "expired"),
    ];
    for (token, reason) in cases {
        for path in [
            "/api/v1/app".to_owned(),
            format!("/api/v1/app/{}/msg", application.id),
        ] {
            let answer = world
                .request("POST", &path, Some(MESSAGE), &[], token)
                .await;
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (401, &"authentication_failed".into()),
                "{path} {token:?}"
            );
            assert!(
                answer.body["detail"].as_str().unwrap().contains(reason),
                "{answer:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_another_organization_is_visible() {
    let world = World::start().await;
    let application = world.application().await;
    let stranger = world.mint(json!({})).await;
    let client = world.client_with(&stranger);
    assert!(
        client
            .application()
            .get(application.id.clone())
            .await
            .is_err()
    );
    assert!(
        client
            .application()
            .list(None)
            .await
            .unwrap()
            .data
            .is_empty()
    );
    let path = format!("/api/v1/app/{}/msg", application.id);
    assert_eq!(
        world
            .request("POST", &path, Some(MESSAGE), &[], Some(&stranger))
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_token_reaches_its_own_application_only() {
    let world = World::start().await;
    let (own, other) = (world.application().await, world.application().await);
    let token = world
        .mint(json!({ "organization": world.organization, "application": own.id }))
        .await;
    let status = |method: &'static str, path: String, body: Option<&'static str>| {
        let (world, token) = (&world, &token);
        async move {
            world
                .request(method, &path, body, &[], Some(token))
                .await
                .status
        }
    };
    assert_eq!(
        status("GET", format!("/api/v1/app/{}", own.id), None).await,
        200
    );
    assert_eq!(
        status("POST", format!("/api/v1/app/{}/msg", own.id), Some(MESSAGE)).await,
        202
    );
    assert_eq!(
        status("GET", format!("/api/v1/app/{}", other.id), None).await,
        404
    );
    assert_eq!(
        status(
            "POST",
            format!("/api/v1/app/{}/msg", other.id),
            Some(MESSAGE)
        )
        .await,
        404
    );
    assert_eq!(status("GET", "/api/v1/app".to_owned(), None).await, 403);
    assert_eq!(
        status("POST", "/api/v1/app".to_owned(), Some(r#"{"name":"x"}"#)).await,
        403
    );
}

/// The token with one changed character in its signature.
fn forge(token: &str) -> String {
    let (head, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{head}.{first}{}", &signature[1..])
}
