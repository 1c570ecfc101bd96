//! The queue.

use std::time::{Duration, Instant};

use posthorn_domain::{
    health::Lane,
    id::{ApplicationId, EndpointId, MessageId, OrganizationId},
    payload::Payload,
};
use posthorn_queue::Task;
use posthorn_runtime::{entropy, now};

use crate::emulators;

const QUEUE: &str = "DeliveriesQueue";
const WAIT: Duration = Duration::from_secs(20);

fn task(attempt: u32) -> Task {
    Task {
        organization: OrganizationId::new(now(), entropy()),
        application: ApplicationId::new(now(), entropy()),
        endpoint: EndpointId::new(now(), entropy()),
        revision: 1,
        message: MessageId::new(now(), entropy()),
        event_type: "a.b".to_owned().try_into().unwrap(),
        shards: 4,
        attempt,
        expires_at: now(),
        manual: None,
        hops: 0,
        slot: None,
        trace: None,
        lane: Lane::Fast,
        payload: Some(Payload::from_text(r#"{ "a" : "ü" }"#.to_owned()).unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_arrive_whole_in_their_endpoints_group() {
    let (aws, clients) = emulators(&[], None).await;
    let tasks: Vec<_> = (0..23).map(task).collect();
    clients.queue.send_all(&tasks).await.unwrap();
    let mut arrived = Vec::new();
    while arrived.len() < tasks.len() {
        for message in aws.queues().receive(QUEUE, 10, WAIT).await {
            let task = Task::from_body(&message.body).unwrap();
            assert_eq!(message.attributes["MessageGroupId"], task.endpoint.as_str());
            assert_eq!(message.attributes["ApproximateReceiveCount"], "1");
            arrived.push(task);
        }
    }
    arrived.sort_by_key(|task| task.attempt);
    assert_eq!(arrived, tasks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_task_waits_and_wakes_a_receiver() {
    let (aws, clients) = emulators(&[], None).await;
    clients.queue.send_after(&task(1), 1).await.unwrap();
    let sent = Instant::now();
    assert!(
        aws.queues()
            .receive(QUEUE, 1, Duration::ZERO)
            .await
            .is_empty()
    );
    assert_eq!(aws.queues().receive(QUEUE, 1, WAIT).await.len(), 1);
    assert!(sent.elapsed() >= Duration::from_millis(900));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_not_deleted_comes_back_and_then_goes_to_the_dead_letter_queue() {
    let (aws, clients) = emulators(&[("VisibilityTimeoutSeconds", "1")], None).await;
    clients.queue.send_all([&task(0)]).await.unwrap();
    for receive in 1..=5 {
        let message = aws.queues().receive(QUEUE, 1, WAIT).await.remove(0);
        assert_eq!(
            message.attributes["ApproximateReceiveCount"],
            receive.to_string()
        );
    }
    // The next receive moves it, like the poller on AWS.
    let dead = posthorn_tests::until("the dead letter", || async {
        aws.queues().receive(QUEUE, 1, Duration::ZERO).await;
        aws.queues()
            .receive("DeliveriesDeadLetterQueue", 1, Duration::ZERO)
            .await
            .pop()
    });
    assert!(Task::from_body(&dead.await.body).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_tasks_survive_the_end_of_the_process() {
    let folder = std::env::temp_dir().join(format!("posthorn-queue-{}", std::process::id()));
    let (aws, clients) = emulators(&[], Some(folder.clone())).await;
    let tasks = [task(0), task(1), task(2)];
    clients.queue.send_all(&tasks).await.unwrap();
    let first = aws.queues().receive(QUEUE, 1, WAIT).await;
    aws.queues().delete(QUEUE, &first).await;
    drop((aws, clients));
    for _ in 0..2 {
        let (aws, _clients) = emulators(&[], Some(folder.clone())).await;
        let mut left = Vec::new();
        while left.len() < 2 {
            left.extend(aws.queues().receive(QUEUE, 10, WAIT).await);
        }
        assert!(left.iter().all(|message| message.body != first[0].body
            && message.attributes.contains_key("MessageGroupId")));
        assert!(
            aws.queues()
                .receive(QUEUE, 10, Duration::ZERO)
                .await
                .is_empty()
        );
    }
    std::fs::remove_dir_all(folder).unwrap();
}
