//! Queued messages across restarts. Each restart drops the services without stopping them, like
//! kill -9.

use std::io::Write;

use serde_json::json;

use crate::{Folder, QUEUE, Services, bodies};

/// The bodies that a restart brings back.
async fn after_restart(folder: &Folder) -> Vec<String> {
    let services = Services::in_folder(folder).await;
    let mut found: Vec<String> = Vec::new();
    loop {
        let received = services.receive(0).await;
        if received.is_empty() {
            found.sort();
            return found;
        }
        found.extend(bodies(&received).into_iter().map(str::to_owned));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_message_keeps_its_group_and_the_rest_of_its_delay() {
    let folder = Folder::new("delay");
    let services = Services::in_folder(&folder).await;
    let delayed = json!({ "MessageBody": "a", "MessageGroupId": "ep_1", "DelaySeconds": 2 });
    services.send(delayed).await;
    drop(services);
    let services = Services::in_folder(&folder).await;
    assert!(services.receive(0).await.is_empty());
    let received = services.receive(10).await;
    assert_eq!(received[0]["Attributes"]["MessageGroupId"], "ep_1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_deleted_stays_deleted() {
    let folder = Folder::new("deleted");
    let services = Services::in_folder(&folder).await;
    for body in ["a", "b", "c"] {
        services.send(json!({ "MessageBody": body })).await;
    }
    let mut received = Vec::new();
    while received.len() < 3 {
        received.extend(services.receive(5).await);
    }
    let handle = |body: &str| {
        let message = received.iter().find(|message| message["Body"] == body);
        message.unwrap()["ReceiptHandle"].clone()
    };
    services
        .sqs("DeleteMessage", json!({ "ReceiptHandle": handle("a") }))
        .await;
    let entries = json!([{ "Id": "1", "ReceiptHandle": handle("b") }]);
    services
        .sqs("DeleteMessageBatch", json!({ "Entries": entries }))
        .await;
    drop(services);
    assert_eq!(after_restart(&folder).await, ["c"]);
    let services = Services::in_folder(&folder).await;
    assert_eq!(services.sqs("PurgeQueue", json!({})).await.0, 200);
    services.send(json!({ "MessageBody": "d" })).await;
    drop(services);
    assert_eq!(after_restart(&folder).await, ["d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_cut_off_by_a_crash_costs_only_itself() {
    let folder = Folder::new("torn");
    let services = Services::in_folder(&folder).await;
    services.send(json!({ "MessageBody": "whole" })).await;
    drop(services);
    let journal = folder.0.join("queues.jsonl");
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(journal)
        .unwrap();
    // Cut between the two bytes of `ü`.
    let line =
        b"\n{\"sent\":{\"id\":\"1\",\"message\":{\"queue\":\"DeliveriesQueue\",\"body\":\"\xc3";
    file.write_all(line).unwrap();
    assert_eq!(after_restart(&folder).await, ["whole"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_queued_again_is_kept() {
    let folder = Folder::new("kept");
    let line = |queue: &str, due: i64| {
        let message = json!({ "queue": queue, "body": queue, "group": null, "due": due });
        format!(
            "{}\n",
            json!({ "sent": { "id": queue, "message": message } })
        )
    };
    // A queue that the template no longer has, and a due time that a wrong clock wrote.
    let far = 32_503_680_000_000;
    let text = line("OldQueue", 0) + &line(QUEUE, far);
    std::fs::write(folder.0.join("queues.jsonl"), text).unwrap();
    for _ in 0..2 {
        drop(Services::in_folder(&folder).await);
        let journal = std::fs::read_to_string(folder.0.join("queues.jsonl")).unwrap();
        assert_eq!(
            journal.lines().filter(|line| !line.is_empty()).count(),
            2,
            "{journal}"
        );
        assert!(
            journal.contains("OldQueue") && journal.contains(QUEUE),
            "{journal}"
        );
    }
}
