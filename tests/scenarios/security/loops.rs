//! An endpoint that points at a Posthorn API starts no loop of messages.

use posthorn_tests::{World, until};
use serde_json::{Value, json};

/// What an endpoint that is the API's own `POST …/msg` would accept.
const MESSAGE: &str = r#"{"eventType":"a.b","payload":{"eventType":"a.b","payload":{}}}"#;

/// A world with an application whose messages get two attempts.
async fn side() -> (World, String) {
    let world = World::with_parameters([("RetrySchedule", "1")]).await;
    let application = world.application().await.id;
    (world, application)
}

/// An endpoint of `from` that calls an operation of `to` with a token of `to`.
async fn point(from: (&World, &str), to: &World, path: &str, token: &str) {
    let endpoint = json!({ "url": format!("{}{path}", to.stack.api_url()) });
    let endpoints = format!("/api/v1/app/{}/endpoint", from.1);
    let endpoint = from.0.expect("POST", &endpoints, Some(endpoint)).await;
    let headers = json!({ "headers": { "Authorization": format!("Bearer {token}") } });
    let path = format!("{endpoints}/{}/headers", endpoint["id"].as_str().unwrap());
    from.0.expect("PUT", &path, Some(headers)).await;
}

/// The attempts of a message, once there are this many and no more are due.
async fn attempts(world: &World, application: &str, message: &str, count: usize) -> Vec<Value> {
    until("the last attempt of the message", || async {
        let path = format!("/api/v1/app/{application}/attempt/msg/{message}");
        let list = world.expect("GET", &path, None).await;
        let attempts = list["data"].as_array().unwrap().clone();
        (attempts.len() >= count).then_some(attempts)
    })
    .await
}

async fn messages(world: &World, application: &str) -> usize {
    let path = format!("/api/v1/app/{application}/msg");
    world.pages(&path, 100).await.0.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deployments_that_point_at_each_other_make_no_more_messages() {
    let ((a, app_a), (b, app_b)) = (side().await, side().await);
    let tokens = [b.token.clone(), portal_token(&b, &app_b).await];
    let path = format!("/api/v1/app/{app_b}/msg");
    for token in &tokens {
        point((&a, &app_a), &b, &path, token).await;
    }
    let path = format!("/api/v1/app/{app_a}/msg");
    point((&b, &app_b), &a, &path, &a.token).await;
    let id = a.send(&app_a, MESSAGE).await;
    let attempts = attempts(&a, &app_a, &id, 4).await;
    assert_eq!(attempts.len(), 4, "two endpoints, two attempts");
    for attempt in &attempts {
        assert_eq!(attempt["responseStatusCode"], 400, "{attempt}");
        let response = attempt["response"].as_str().unwrap();
        assert!(response.contains("circles"), "{response}");
    }
    assert_eq!(
        (messages(&a, &app_a).await, messages(&b, &app_b).await),
        (1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_its_own_resend_is_sent_to_as_often_as_any_other() {
    let (world, application) = side().await;
    let first = world.send(&application, MESSAGE).await;
    let token = portal_token(&world, &application).await;
    let endpoint = json!({ "url": "https://example.com/", "uid": "self" });
    let endpoints = format!("/api/v1/app/{application}/endpoint");
    world.expect("POST", &endpoints, Some(endpoint)).await;
    let resend = format!("/api/v1/app/{application}/msg/{first}/endpoint/self/resend");
    let change = json!({ "url": format!("{}{resend}", world.stack.api_url()) });
    let path = format!("{endpoints}/self");
    world.expect("PATCH", &path, Some(change)).await;
    let headers = json!({ "headers": { "Authorization": format!("Bearer {token}") } });
    world
        .expect("PUT", &format!("{path}/headers"), Some(headers))
        .await;
    let id = world.send(&application, MESSAGE).await;
    let attempts = attempts(&world, &application, &id, 2).await;
    assert_eq!(attempts.len(), 2);
    assert!(attempts.iter().all(|it| it["responseStatusCode"] == 400));
    let path = format!("/api/v1/app/{application}/attempt/msg/{first}");
    let resent = world.expect("GET", &path, None).await;
    assert_eq!(resent["data"], json!([]), "nothing was sent again");
}

/// A token of one application, as a portal has it.
async fn portal_token(world: &World, application: &str) -> String {
    let path = format!("/api/v1/auth/app-portal-access/{application}");
    let access = world.expect("POST", &path, Some(json!({}))).await;
    access["token"].as_str().unwrap().to_owned()
}
