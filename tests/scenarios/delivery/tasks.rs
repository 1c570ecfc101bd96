//! What the dispatcher does with tasks and endpoints that misbehave.

use posthorn_domain::{
    attempt::{Attempt, Outcome, ResponseBody},
    delivery::{Status, record},
    id::AttemptId,
    key::AppKey,
};
use posthorn_store::Consistency;
use posthorn_tests::client::EndpointIn;
use posthorn_tests::{Receiver, World, until};

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_recorded_with_its_class() {
    let world = World::start().await;
    let application = world.application().await;
    let closed = Receiver::accepting().await.url().to_owned();
    world
        .svix
        .endpoint()
        .create(application.id.clone(), EndpointIn::new(closed), None)
        .await
        .unwrap();
    let id = world.send(&application.id, MESSAGE).await;
    let attempt = world.attempts(&application, &id, 1).await.pop().unwrap();
    assert_eq!(
        (attempt.response_status_code, attempt.response.as_str()),
        (0, "connect: the connection was refused")
    );
}

/// The API refuses such an endpoint; if one is in the table nevertheless, it is not called either.
#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_refused_at_the_attempt_too() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let organization = world.organization.parse().unwrap();
    let id = application.id.parse().unwrap();
    let config = world.aws().await.config;
    let (_, endpoints) = config
        .applications()
        .with_endpoints(AppKey::new(&organization, &id))
        .await
        .unwrap()
        .unwrap();
    let before = &endpoints[0];
    let after = posthorn_domain::endpoint::Endpoint {
        url: "http://169.254.169.254/latest/meta-data".to_owned(),
        revision: before.revision + 1,
        ..before.clone()
    };
    config
        .endpoints()
        .update(AppKey::new(&organization, &id), before, &after)
        .await
        .unwrap();
    let message = world.send(&application.id, MESSAGE).await;
    let attempt = world
        .attempts(&application, &message, 1)
        .await
        .pop()
        .unwrap();
    assert_eq!(attempt.response, "blocked: the URL is not allowed");
    assert_eq!(attempt.response_status_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_answers_is_a_time_out() {
    let world = World::with_parameters([("RequestTimeoutSeconds", "5")]).await;
    let receiver = Receiver::answering([0]).await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    let attempt = world.attempts(&application, &id, 1).await.pop().unwrap();
    assert_eq!(attempt.response, "timeout: no answer in time");
    assert!(
        (4900..8000).contains(&attempt.response_duration_ms),
        "{} ms",
        attempt.response_duration_ms
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_received_twice_makes_its_attempt_once() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let clients = world.aws().await;
    let id = world.send(&application.id, MESSAGE).await;
    world.attempts(&application, &id, 1).await;
    let task = task_of(&world, &application.id, &id).await;
    clients.queue.send_all([&task, &task]).await.unwrap();
    // A later message is delivered after the copies.
    world.send(&application.id, MESSAGE).await;
    receiver.wait_for(2).await;
    until("an empty queue", || async {
        is_empty(&world).await.then_some(())
    })
    .await;
    let copies = receiver
        .received()
        .iter()
        .filter(|request| request.header("webhook-id") == id)
        .count();
    assert_eq!(copies, 1);
}

/// What a dispatcher leaves when it crashes between the record and the next step.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_attempt_is_not_repeated_and_its_lost_next_step_is() {
    let world = World::with_parameters([("RetrySchedule", "1,1")]).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let nobody = world.send(&application.id, MESSAGE).await;
    world.endpoint(&application, &receiver).await;
    let task = task_of(&world, &application.id, &nobody).await;
    let clients = world.aws().await;
    let now = posthorn_runtime::now();
    let outcome = Outcome::Response {
        status: 500,
        body: ResponseBody::default(),
        retry_after: None,
    };
    let id = AttemptId::new(now, posthorn_runtime::entropy());
    let attempt = Attempt::record(id, receiver.url().to_owned(), now, now, &outcome);
    let schedule = "1,1".parse().unwrap();
    let (delivery, _) = record(
        None,
        &task.event_type,
        task.ask(),
        attempt,
        &schedule,
        now,
        0.5,
    );
    let later = now.plus(std::time::Duration::from_secs(3600));
    clients
        .deliveries
        .put(task.delivery(), &delivery, later)
        .await
        .unwrap();

    clients.queue.send_all([&task]).await.unwrap();
    let recorded = clients.deliveries;
    let delivery = until("the end of the delivery", || async {
        let read = recorded.get(task.delivery(), Consistency::Strong).await;
        read.unwrap()
            .filter(|delivery| delivery.status == Status::Success)
    })
    .await;
    let codes: Vec<_> = delivery
        .attempts
        .iter()
        .map(|attempt| attempt.status_code)
        .collect();
    assert_eq!(codes, [500, 204]);
    assert_eq!(
        receiver.received().len(),
        1,
        "the first attempt was not made again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_behind_its_messages_retention_is_skipped() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let first = world.send(&application.id, MESSAGE).await;
    receiver.wait_for(1).await;
    let payload = posthorn_domain::payload::Payload::from_text("{}".to_owned()).unwrap();
    let now = posthorn_runtime::now();
    let task = posthorn_queue::Task {
        message: posthorn_domain::id::MessageId::new(now, posthorn_runtime::entropy()),
        expires_at: now,
        ..task_of(&world, &application.id, &first).await
    };
    let clients = world.aws().await;
    let task = task.with_payload(&payload);
    clients.queue.send_all([&task]).await.unwrap();
    let status = until("the record", || async {
        let read = clients.deliveries.get(task.delivery(), Consistency::Strong);
        Some(read.await.unwrap()?.status)
    })
    .await;
    assert_eq!(status, Status::Skipped);
    assert_eq!(receiver.received().len(), 1);
}

pub(crate) async fn task_of(
    world: &World,
    application: &str,
    message: &str,
) -> posthorn_queue::Task {
    let organization = world.organization.parse().unwrap();
    let id = application.parse().unwrap();
    let config = world.aws().await.config;
    let (application, endpoints) = config
        .applications()
        .with_endpoints(AppKey::new(&organization, &id))
        .await
        .unwrap()
        .unwrap();
    posthorn_queue::Task {
        organization,
        application: id,
        endpoint: endpoints[0].id.clone(),
        revision: endpoints[0].revision,
        message: message.parse().unwrap(),
        event_type: "a.b".to_owned().try_into().unwrap(),
        shards: application.shards,
        attempt: 0,
        expires_at: posthorn_runtime::now().plus(std::time::Duration::from_secs(86_400)),
        manual: None,
        hops: 0,
        slot: None,
        trace: None,
        payload: None,
        lane: posthorn_domain::health::Lane::Fast,
    }
}

async fn is_empty(world: &World) -> bool {
    let clients = world.aws().await;
    let all = aws_sdk_sqs::types::QueueAttributeName::All;
    let attributes = clients
        .sqs
        .get_queue_attributes()
        .queue_url(&clients.queue_url)
        .attribute_names(all)
        .send()
        .await;
    let attributes = attributes.unwrap().attributes.unwrap();
    let names = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
    ];
    names.iter().all(|name| {
        attributes
            .iter()
            .any(|(key, value)| key.as_str() == *name && value == "0")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_fails_alone_and_reaches_the_dead_letter_queue() {
    let world = World::with_parameters([("VisibilityTimeoutSeconds", "1")]).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let clients = world.aws().await;
    clients
        .sqs
        .send_message()
        .queue_url(&clients.queue_url)
        .message_body("not a task")
        .send()
        .await
        .unwrap();
    let id = world.send(&application.id, MESSAGE).await;
    assert_eq!(receiver.wait_for(1).await[0].header("webhook-id"), id);
    let dead = until("the record in the dead-letter queue", || async {
        let queues = world.stack.queues();
        queues
            .receive("DeliveriesDeadLetterQueue", 10, std::time::Duration::ZERO)
            .await
            .pop()
    })
    .await;
    assert_eq!(dead.body, "not a task");
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn svix_headers_are_a_parameter_away() {
    let world = World::with_parameters([("SvixHeaders", "true")]).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    world.send(&application.id, MESSAGE).await;
    let request = receiver.wait_for(1).await.remove(0);
    for name in ["id", "timestamp", "signature"] {
        let value = request.header(&format!("webhook-{name}"));
        assert!(!value.is_empty());
        assert_eq!(value, request.header(&format!("svix-{name}")));
    }
}
