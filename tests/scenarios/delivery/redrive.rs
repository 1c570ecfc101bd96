//! Tasks that reached the dead-letter queue because Posthorn or AWS failed go back with one
//! command.

use std::time::Duration;

use posthorn_domain::{id::MessageId, payload::Payload};
use posthorn_local::StackOptions;
use posthorn_queue::Task;
use posthorn_runtime::{entropy, now};
use posthorn_tests::{FaultyAws, Plan, Receiver, World, until};

use crate::delivery::tasks::task_of;

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{}}"#;

/// No faults but an outage.
const PLAN: Plan = Plan {
    per_mille: 0,
    storm_every: u64::MAX,
    storm: 0,
};

/// What `aws sqs start-message-move-task --source-arn …` sends.
async fn redrive(world: &World) {
    let arn = "arn:aws:sqs:us-east-1:000000000000:DeliveriesDeadLetterQueue";
    let sqs = world.aws().await.sqs;
    sqs.start_message_move_task()
        .source_arn(arn)
        .send()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_an_outage_left_are_delivered_after_a_redrive() {
    let faults = FaultyAws::start(1, PLAN).await;
    let options = StackOptions {
        parameters: [("VisibilityTimeoutSeconds".to_owned(), "1".to_owned())].into(),
        ..StackOptions::default()
    };
    let world = World::with_options_through(options, &faults).await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    world.attempts(&application, &id, 1).await;
    let payload = Payload::from_text("{}".to_owned()).unwrap();
    let first = task_of(&world, &application.id, &id)
        .await
        .with_payload(&payload);
    let task = || Task {
        message: MessageId::new(now(), entropy()),
        ..first.clone()
    };
    faults.fail_dynamodb();
    let tasks = [task(), task(), task()];
    world.aws().await.queue.send_all(&tasks).await.unwrap();
    until("the tasks in the dead-letter queue", || async {
        (count_dead(&world).await == 3).then_some(())
    })
    .await;
    assert_eq!(
        receiver.received().len(),
        1,
        "nothing was sent that could not be recorded"
    );
    faults.stop();
    redrive(&world).await;
    let requests = receiver.wait_for(4).await;
    for task in &tasks {
        let same = requests
            .iter()
            .filter(|request| request.header("webhook-id") == task.message.as_str());
        // A dispatcher that was still trying when the outage ended may have delivered one as well.
        assert!(same.count() >= 1);
    }
    assert_eq!(count_dead(&world).await, 0);
}

/// Messages in the dead-letter queue.
pub(crate) async fn count_dead(world: &World) -> usize {
    use aws_sdk_sqs::types::QueueAttributeName as Name;
    let sqs = world.aws().await.sqs;
    let url = world.stack.queues().url("DeliveriesDeadLetterQueue");
    let attributes = sqs.get_queue_attributes().queue_url(url);
    let attributes = attributes.attribute_names(Name::ApproximateNumberOfMessages);
    let found = attributes.send().await.unwrap().attributes.unwrap();
    found[&Name::ApproximateNumberOfMessages].parse().unwrap()
}

/// Two attempts that together take longer than the function's timeout: the second is handed back
/// without being started.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_cannot_end_in_time_is_handed_back() {
    let parameters = [
        ("RequestTimeoutSeconds", "5"),
        ("DispatcherTimeoutSeconds", "11"),
        ("VisibilityTimeoutSeconds", "66"),
        ("RetrySchedule", ""),
    ];
    let world = World::with_parameters(parameters).await;
    let receiver = Receiver::answering([204, 0, 0]).await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    world.attempts(&application, &id, 1).await;
    let first = task_of(&world, &application.id, &id).await;
    let again = || Task {
        manual: Some(posthorn_domain::id::JobId::new(now(), entropy())),
        ..first.clone()
    };
    let started = std::time::Instant::now();
    world
        .aws()
        .await
        .queue
        .send_all([&again(), &again()])
        .await
        .unwrap();
    let attempts = world.attempts(&application, &id, 3).await;
    assert_eq!(attempts.len(), 3);
    assert!(
        started.elapsed() < Duration::from_secs(50),
        "nothing waited for its visibility time-out"
    );
    assert_eq!(receiver.received().len(), 3, "each attempt was made once");
    for hanging in &attempts[..2] {
        let took = hanging.response_duration_ms;
        assert!(took >= 4900, "it had its whole time: {took} ms");
    }
    let logs = world.stack.logs();
    assert!(
        !logs.iter().any(|line| line.contains("a task failed")),
        "{logs:?}"
    );
}
