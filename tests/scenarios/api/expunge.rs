//! What was expunged is gone, and stays gone.

use posthorn_tests::{Receiver, World, until};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_expunged_payload_is_not_shown_and_not_sent_again() {
    let world = World::with_parameters([("RetrySchedule", "3")]).await;
    let receiver = Receiver::answering([500]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world
        .send(
            &application.id,
            r#"{"eventType":"a.b","payload":{"card":"4242"}}"#,
        )
        .await;
    world.attempts(&application, &id, 1).await;
    let message = format!("/api/v1/app/{}/msg/{id}", application.id);
    assert_eq!(
        world
            .call("DELETE", &format!("{message}/content"), None)
            .await
            .status,
        204
    );
    let shown = world.expect("GET", &message, None).await;
    assert_eq!(shown["payload"], json!({ "expired": true }));
    let listed = world
        .expect("GET", &format!("/api/v1/app/{}/msg", application.id), None)
        .await;
    assert!(!listed.to_string().contains("4242"));
    until("the retry that finds no payload", || async {
        let path = format!("{message}/endpoint");
        let list = world.expect("GET", &path, None).await;
        (list["data"][0]["skipped"] == true).then_some(())
    })
    .await;
    let resend = format!("{message}/endpoint/{}/resend", endpoint.id);
    assert_eq!(world.call("POST", &resend, None).await.status, 409);
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expunged_response_is_not_shown() {
    let world = World::start().await;
    let receiver = Receiver::answering([200]).await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let id = world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    let attempt = &world.attempts(&application, &id, 1).await[0];
    assert_eq!(attempt.response, "answer 200");
    let path = format!(
        "/api/v1/app/{}/msg/{id}/attempt/{}",
        application.id, attempt.id
    );
    assert_eq!(
        world
            .call("DELETE", &format!("{path}/content"), None)
            .await
            .status,
        204
    );
    let shown = world.expect("GET", &path, None).await;
    assert_eq!(
        (&shown["response"], &shown["responseStatusCode"]),
        (&json!("EXPUNGED"), &json!(200))
    );
}
