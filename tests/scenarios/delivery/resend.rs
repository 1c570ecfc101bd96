//! Sending one message again: one attempt at a time, however often it is requested.

use futures_util::future::join_all;
use posthorn_tests::{Receiver, World, until};
use serde_json::json;

use crate::delivery::redrive::count_dead;

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{}}"#;

/// A delivered message: the paths of its resend and of its attempts.
async fn delivered(world: &World, receiver: &Receiver) -> (String, String) {
    let application = world.application().await;
    let endpoint = world.endpoint(&application, receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    world.attempts(&application, &id, 1).await;
    let path = format!("/api/v1/app/{}", application.id);
    let resend = format!("{path}/msg/{id}/endpoint/{}/resend", endpoint.id);
    (resend, format!("{path}/attempt/msg/{id}"))
}

/// Waits until this many attempts are recorded.
async fn recorded(world: &World, path: &str, count: usize) {
    until("the attempts", || async {
        let list = world.expect("GET", path, None).await;
        (list["data"].as_array()?.len() >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_resends_at_once_few_are_carried_out_and_the_others_are_told() {
    let world = World::start().await;
    // The endpoint does not answer resends, so they are pending for as long as a request may take.
    let receiver = Receiver::answering([204, 0, 0, 0, 0, 0]).await;
    let (resend, attempts) = delivered(&world, &receiver).await;
    let answers = join_all((0..200).map(|_| world.call("POST", &resend, None))).await;
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    assert!((1..=5).contains(&accepted), "{accepted} were accepted");
    for refused in answers.iter().filter(|answer| answer.status != 202) {
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (409, &json!("conflict"))
        );
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("pending"), "{detail}");
    }
    recorded(&world, &attempts, 1 + accepted).await;
    assert_eq!(receiver.received().len(), 1 + accepted);
    assert_eq!(count_dead(&world).await, 0);
    world.expect("POST", &resend, None).await;
    receiver.wait_for(2 + accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_waits_for_the_one_before_and_its_repetition_for_nothing() {
    let world = World::with_parameters([("RequestTimeoutSeconds", "5")]).await;
    // The second request is not answered in time.
    let receiver = Receiver::answering([204, 0, 204]).await;
    let (resend, attempts) = delivered(&world, &receiver).await;
    let key = [("idempotency-key", "k")];
    assert_eq!(world.post(&resend, "", &key).await.status, 202);
    assert_eq!(world.post(&resend, "", &key).await.status, 202, "repeated");
    assert_eq!(world.call("POST", &resend, None).await.status, 409);
    recorded(&world, &attempts, 2).await;
    assert_eq!(world.call("POST", &resend, None).await.status, 202);
    recorded(&world, &attempts, 3).await;
    assert_eq!(world.post(&resend, "", &key).await.status, 202, "repeated");
    assert_eq!(receiver.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_of_what_was_never_attempted_is_the_first_attempt() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let id = world.send(&application.id, MESSAGE).await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let path = format!("/api/v1/app/{}", application.id);
    let resend = format!("{path}/msg/{id}/endpoint/{}/resend", endpoint.id);
    world.expect("POST", &resend, None).await;
    receiver.wait_for(1).await;
    let lists = [
        format!("{path}/endpoint/{}/msg", endpoint.id),
        format!("{path}/attempt/endpoint/{}", endpoint.id),
    ];
    recorded(&world, &lists[1], 1).await;
    for list in lists {
        let shown = world.expect("GET", &list, None).await;
        assert_eq!(shown["data"].as_array().unwrap().len(), 1, "{list}");
    }
}
