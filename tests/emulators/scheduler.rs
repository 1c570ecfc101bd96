//! Runs of the scheduler that overlap, run twice or die.

use std::time::Duration;

use aws_sdk_sqs::config::{Credentials, Region};
use posthorn_domain::{
    id::{EndpointId, MessageId},
    timestamp::Timestamp,
};
use posthorn_local::aws::Aws;
use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::{entropy, now};
use posthorn_scheduler::Due;
use posthorn_store::{Cursor, Progress, Scheduled, minute_of};
use posthorn_tests::{Clients, until};
use tokio::net::TcpListener;

use crate::emulators;

/// How many tasks are due: as many as are queued together, in all shards.
const DUE: usize = 40;

/// Emulators with tasks that are due now, none of which was queued.
async fn with_due() -> (Aws, Clients) {
    let (aws, clients) = emulators(&[], None).await;
    let due = now();
    for n in 0..DUE {
        let scheduled = Scheduled {
            due,
            endpoint: EndpointId::new(due, entropy()),
            message: MessageId::new(due, entropy()),
            body: n.to_string(),
        };
        clients.schedule.due_rows().put(&scheduled).await.unwrap();
    }
    let cursor = Cursor {
        minute: minute_of(due) - 1,
        progress: Progress::default(),
        version: 1,
        claimed_until: None,
    };
    clients.schedule.cursor().put(&cursor).await.unwrap();
    (aws, clients)
}

fn scheduler(clients: &Clients) -> Due {
    Due {
        rows: clients.schedule.due_rows(),
        cursor: clients.schedule.cursor(),
        queue: clients.queue.clone(),
    }
}

/// A scheduler whose queue never answers.
async fn silent(clients: &Clients) -> (Due, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = posthorn_runtime::aws::settings()
        .endpoint_url(&url)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .load()
        .await;
    let queue = DeliveriesQueue::new(aws_sdk_sqs::Client::new(&config), &url);
    let scheduler = Due {
        queue,
        ..scheduler(clients)
    };
    (scheduler, listener)
}

/// All bodies on the queue, in order.
async fn queued(aws: &Aws) -> Vec<usize> {
    let (queues, mut bodies) = (aws.queues(), Vec::new());
    loop {
        let some = queues.receive("DeliveriesQueue", 10, Duration::ZERO).await;
        if some.is_empty() {
            bodies.sort_unstable();
            return bodies;
        }
        bodies.extend(some.iter().map(|it| it.body.parse::<usize>().unwrap()));
    }
}

fn deadline(from: Timestamp) -> Timestamp {
    from.plus(Duration::from_secs(55))
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_at_the_same_time_queue_each_task_once() {
    let (aws, clients) = with_due().await;
    let (a, b, at) = (scheduler(&clients), scheduler(&clients), now());
    let (a, b) = tokio::join!(a.run(at, deadline(at)), b.run(at, deadline(at)));
    assert_eq!(a.unwrap().queued + b.unwrap().queued, DUE);
    let again = scheduler(&clients).run(at, deadline(at)).await.unwrap();
    assert_eq!(again.queued, 0, "the same invocation, again");
    assert_eq!(queued(&aws).await, (0..DUE).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_dies_between_claim_and_queue_loses_nothing() {
    let (aws, clients) = with_due().await;
    let (dying, _listener) = silent(&clients).await;
    let at = now();
    let run = tokio::spawn(async move { dying.run(at, deadline(at)).await });
    until("the claim", || async {
        let cursor = clients.schedule.cursor().get().await.unwrap();
        cursor.is_some_and(|it| it.is_claimed(at)).then_some(())
    })
    .await;
    run.abort();
    let meanwhile = scheduler(&clients).run(at, deadline(at)).await.unwrap();
    assert_eq!(meanwhile.queued, 0, "it may still be at work");
    let next = deadline(at);
    let report = scheduler(&clients).run(next, deadline(next)).await.unwrap();
    assert_eq!(report.queued, DUE);
    assert_eq!(queued(&aws).await, (0..DUE).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_queue_fails_gives_its_claim_back() {
    let (aws, clients) = with_due().await;
    let (failing, listener) = silent(&clients).await;
    drop(listener);
    let at = now();
    assert!(failing.run(at, deadline(at)).await.is_err());
    let report = scheduler(&clients).run(at, deadline(at)).await.unwrap();
    assert_eq!(report.queued, DUE);
    assert_eq!(queued(&aws).await, (0..DUE).collect::<Vec<_>>());
}
