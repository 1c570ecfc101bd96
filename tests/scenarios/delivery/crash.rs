//! kill -9 at the worst moment.

use posthorn_tests::{Receiver, World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_although_its_dispatcher_is_killed() {
    // The visibility timeout brings the task back; 3 s keeps the test short.
    let world = World::with_parameters([("VisibilityTimeoutSeconds", "3")]).await;
    let receiver = Receiver::answering([0]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    receiver.wait_for(1).await;
    let killed = world.kill("DispatcherFunction");
    assert!(!killed.is_empty());
    let requests = receiver.wait_for(2).await;
    requests[1]
        .verify(&world.secret(&application, &endpoint).await)
        .unwrap();
    assert_eq!(requests[1].header("webhook-id"), id);
    assert_eq!(
        world.attempts(&application, &id, 1).await[0].response_status_code,
        204
    );
    until("another dispatcher process", || async {
        world
            .stack
            .process_ids("DispatcherFunction")
            .into_iter()
            .find(|process| !killed.contains(process))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_although_the_whole_stack_is_restarted() {
    let folder = std::env::temp_dir().join(format!("posthorn-{}", std::process::id()));
    let options = || posthorn_local::StackOptions {
        data: Some(folder.clone()),
        parameters: [("RetrySchedule".to_owned(), "2".to_owned())].into(),
        ..Default::default()
    };
    let receiver = Receiver::answering([500]).await;
    let world = World::with_options(options()).await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let id = world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    world.attempts(&application, &id, 1).await;
    drop(world);
    let world = World::with_options(options()).await;
    assert_eq!(receiver.wait_for(2).await[1].header("webhook-id"), id);
    drop(world);
    std::fs::remove_dir_all(folder).unwrap();
}
