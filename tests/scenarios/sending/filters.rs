//! Which endpoints a message reaches.

use posthorn_tests::client::{EndpointIn, EventTypeIn, MessageIn};
use posthorn_tests::{Receiver, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_matching_endpoint_is_stored_and_not_queued() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    only_invoices(&world, &application.id, receiver.url()).await;
    let other = world
        .send(
            &application.id,
            r#"{"eventType":"user.created","payload":{}}"#,
        )
        .await;
    let wanted = world
        .send(
            &application.id,
            r#"{"eventType":"invoice.paid","payload":{}}"#,
        )
        .await;
    // The second message is delivered, so the first would have been delivered before it.
    assert_eq!(receiver.wait_for(1).await[0].header("webhook-id"), wanted);
    assert_eq!(receiver.received().len(), 1);
    let stored = world
        .svix
        .message()
        .get(application.id.clone(), other.clone(), None)
        .await
        .unwrap();
    assert_eq!(stored.event_type, "user.created");
    assert!(world.attempts(&application, &other, 0).await.is_empty());
}

async fn only_invoices(world: &World, application: &str, url: &str) {
    let event_type = EventTypeIn::new("An invoice was paid".into(), "invoice.paid".into());
    world
        .svix
        .event_type()
        .create(event_type, None)
        .await
        .unwrap();
    let types = Some(["invoice.paid".to_owned()].into());
    let endpoint = EndpointIn {
        filter_types: types,
        ..EndpointIn::new(url.to_owned())
    };
    world
        .svix
        .endpoint()
        .create(application.to_owned(), endpoint, None)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_need_an_overlap() {
    let world = World::start().await;
    let (everything, one_channel) = (Receiver::accepting().await, Receiver::accepting().await);
    let application = world.application().await;
    world.endpoint(&application, &everything).await;
    let channels = Some(["project-1".to_owned()].into());
    let endpoint = EndpointIn {
        channels,
        ..EndpointIn::new(one_channel.url().to_owned())
    };
    world
        .svix
        .endpoint()
        .create(application.id.clone(), endpoint, None)
        .await
        .unwrap();

    let mut sent = Vec::new();
    for channels in [None, Some("project-2"), Some("project-1")] {
        let channels = channels.map(|channel| [channel.to_owned()].into());
        let message = MessageIn {
            channels,
            ..MessageIn::new("a.b".into(), serde_json::json!({}))
        };
        let message = world
            .svix
            .message()
            .create(application.id.clone(), message, None)
            .await
            .unwrap();
        sent.push(message.id);
    }
    everything.wait_for(3).await;
    assert_eq!(
        one_channel.wait_for(1).await[0].header("webhook-id"),
        sent[2]
    );
    assert_eq!(one_channel.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_holds_for_the_very_next_message() {
    let world = World::start().await;
    let (before, after) = (Receiver::accepting().await, Receiver::accepting().await);
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &before).await;
    world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    before.wait_for(1).await;
    let path = format!("/api/v1/app/{}/endpoint/{}", application.id, endpoint.id);
    let body = format!(r#"{{"url":"{}"}}"#, after.url());
    assert_eq!(
        world
            .request("PUT", &path, Some(&body), &[], Some(&world.token))
            .await
            .status,
        200
    );
    world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    after.wait_for(1).await;
    assert_eq!(before.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_or_deleted_endpoint_gets_nothing_more() {
    let world = World::with_parameters([("RetrySchedule", "1")]).await;
    let (kept, gone) = (
        Receiver::accepting().await,
        Receiver::answering([500]).await,
    );
    let application = world.application().await;
    world.endpoint(&application, &kept).await;
    let endpoint = world.endpoint(&application, &gone).await;
    let first = world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    gone.wait_for(1).await;
    world
        .svix
        .endpoint()
        .delete(application.id.clone(), endpoint.id)
        .await
        .unwrap();
    // Neither the queued retry nor the next message reaches it.
    world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    kept.wait_for(2).await;
    posthorn_tests::until("the dropped retry in the log", || async {
        let dropped =
            |line: &String| line.contains("the endpoint was deleted") && line.contains(&first);
        world.stack.logs().into_iter().find(dropped)
    })
    .await;
    assert_eq!(gone.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_application_gets_nothing_more() {
    let world = World::with_parameters([("RetrySchedule", "1")]).await;
    let receiver = Receiver::answering([500]).await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let path = format!("/api/v1/app/{}", application.id);
    let message = r#"{"eventType":"a.b","payload":{}}"#;
    let first = world.send(&application.id, message).await;
    receiver.wait_for(1).await;
    assert_eq!(world.call("DELETE", &path, None).await.status, 204);
    let next = world.post(&format!("{path}/msg"), message, &[]).await;
    assert_eq!(next.status, 404);
    posthorn_tests::until("the dropped retry in the log", || async {
        let dropped =
            |line: &String| line.contains("the endpoint was deleted") && line.contains(&first);
        world.stack.logs().into_iter().find(dropped)
    })
    .await;
    assert_eq!(receiver.received().len(), 1);
}
