//! Sending again: one message, all failed ones, all that were never sent.

use posthorn_domain::{
    job::{Job, JobStatus},
    timestamp::Timestamp,
};
use posthorn_queue::JobTask;
use posthorn_tests::client::{ApplicationOut, EndpointOut};
use posthorn_tests::{Receiver, World, until};
use serde_json::{Value, json};

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{"n":1}}"#;
const COUNT: usize = 300;

fn ago(hours: i64) -> String {
    let millis = posthorn_runtime::now().as_millis() - hours * 3_600_000;
    Timestamp::from_millis(millis).to_rfc3339()
}

async fn finished(world: &World, id: &str) -> Value {
    until("the end of the job", || async {
        let job = world
            .expect("GET", &format!("/api/v1/background-task/{id}"), None)
            .await;
        (job["status"] == "finished").then_some(job)
    })
    .await
}

/// A world with one attempt per delivery, and an endpoint at which `COUNT` messages failed and one
/// succeeded.
struct Failed {
    world: World,
    application: ApplicationOut,
    endpoint: EndpointOut,
    receiver: Receiver,
}

impl Failed {
    async fn start(visibility_seconds: &str) -> Self {
        let parameters = [
            ("RetrySchedule", ""),
            ("VisibilityTimeoutSeconds", visibility_seconds),
        ];
        let world = World::with_parameters(parameters).await;
        let receiver = Receiver::answering([500; COUNT]).await;
        let application = world.application().await;
        let endpoint = world.endpoint(&application, &receiver).await;
        let sends = (0..COUNT).map(|_| world.send(&application.id, MESSAGE));
        futures_util::future::join_all(sends).await;
        receiver.wait_for(COUNT).await;
        world.send(&application.id, MESSAGE).await;
        let failed = Self {
            world,
            application,
            endpoint,
            receiver,
        };
        failed.wait_for(1, COUNT).await;
        failed
    }

    fn path(&self, rest: &str) -> String {
        format!(
            "/api/v1/app/{}/endpoint/{}{rest}",
            self.application.id, self.endpoint.id
        )
    }

    async fn wait_for(&self, success: usize, fail: usize) {
        until(
            &format!("{success} successes and {fail} failures"),
            || async {
                let stats = self.world.expect("GET", &self.path("/stats"), None).await;
                (stats["success"] == success && stats["fail"] == fail).then_some(())
            },
        )
        .await;
    }

    async fn recover(&self) -> String {
        let body = json!({ "since": ago(1) });
        let answer = self
            .world
            .call("POST", &self.path("/recover"), Some(body))
            .await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.body["status"], "running");
        assert_eq!(answer.body["task"], "endpoint.recover");
        answer.body["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_sent_again_once_each_and_counted() {
    let failed = Failed::start("360").await;
    let job = failed.recover().await;
    let report = finished(&failed.world, &job).await;
    assert_eq!(report["data"]["messagesSent"], COUNT);
    assert_eq!(report["data"]["messagesSeen"], COUNT + 1);
    failed.wait_for(COUNT + 1, 0).await;
    assert_eq!(failed.receiver.received().len(), 2 * COUNT + 1);
    let again = failed.recover().await;
    let report = finished(&failed.world, &again).await;
    assert_eq!(report["data"]["messagesSent"], 0, "nothing is left");
    let listed = failed
        .world
        .expect("GET", "/api/v1/background-task", None)
        .await;
    assert_eq!(
        [&listed["data"][0]["id"], &listed["data"][1]["id"]],
        [&json!(again), &json!(job)]
    );
}

/// A step that crashed after queueing its messages and before moving its cursor is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_whose_steps_are_repeated_sends_nothing_twice() {
    let failed = Failed::start("360").await;
    let clients = failed.world.aws().await;
    let id = failed.recover().await;
    finished(&failed.world, &id).await;
    failed.wait_for(COUNT + 1, 0).await;
    let organization = failed.world.organization.parse().unwrap();
    let job = clients
        .config
        .jobs()
        .get(&organization, &id.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let again = Job {
        status: JobStatus::Running,
        cursor: None,
        steps: job.steps + 1,
        ..job.clone()
    };
    clients
        .config
        .jobs()
        .step(&organization, &again)
        .await
        .unwrap();
    let (endpoint, job) = (job.endpoint, job.id);
    clients
        .queue
        .send_job(&JobTask {
            organization,
            endpoint,
            job,
        })
        .await
        .unwrap();
    finished(&failed.world, &id).await;
    // The queue is empty once a later message has arrived.
    failed.world.send(&failed.application.id, MESSAGE).await;
    failed.wait_for(COUNT + 2, 0).await;
    assert_eq!(
        failed.receiver.received().len(),
        2 * COUNT + 2,
        "sent once each"
    );
}

/// The repeated tasks are on the queue before the first attempts are recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_two_dispatchers_make_at_the_same_time_is_counted_once() {
    let failed = Failed::start("360").await;
    let clients = failed.world.aws().await;
    let job = failed.recover().await;
    let task = JobTask {
        organization: failed.world.organization.parse().unwrap(),
        endpoint: failed.endpoint.id.parse().unwrap(),
        job: job.parse().unwrap(),
    };
    for _ in 0..3 {
        clients.queue.send_job(&task).await.unwrap();
    }
    let report = finished(&failed.world, &job).await;
    assert_eq!(report["data"]["messagesSent"], COUNT);
    failed.wait_for(COUNT + 1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_whose_dispatchers_are_killed_loses_nothing() {
    let failed = Failed::start("5").await;
    let job = failed.recover().await;
    failed.world.kill("DispatcherFunction");
    let report = finished(&failed.world, &job).await;
    assert_eq!(report["data"]["messagesSent"], COUNT, "counted once");
    failed.wait_for(COUNT + 1, 0).await;
    // A dispatcher that was killed between the response and the record sends its message again.
    assert!(failed.receiver.received().len() > 2 * COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn recover_reaches_back_14_days_and_needs_an_enabled_endpoint() {
    let world = World::start().await;
    let application = world.application().await;
    let endpoint = world
        .endpoint(&application, &Receiver::accepting().await)
        .await;
    let path = format!("/api/v1/app/{}/endpoint/{}", application.id, endpoint.id);
    for rest in ["recover", "replay-missing"] {
        let path = format!("{path}/{rest}");
        let call = |body| world.call("POST", &path, Some(body));
        assert_eq!(call(json!({ "since": ago(14 * 24 - 1) })).await.status, 202);
        for (field, body) in [
            ("since", json!({ "since": ago(14 * 24 + 1) })),
            ("since", json!({ "since": ago(-1) })),
            ("since", json!({ "since": "yesterday" })),
            ("since", json!({})),
            ("until", json!({ "since": ago(1), "until": ago(2) })),
        ] {
            let refused = call(body).await;
            let loc = &refused.body["detail"][0]["loc"];
            assert_eq!(
                (refused.status, loc),
                (422, &json!(["body", field])),
                "{refused:?}"
            );
        }
    }
    world
        .expect("PATCH", &path, Some(json!({ "disabled": true })))
        .await;
    let recover = format!("{path}/recover");
    let refused = world
        .call("POST", &recover, Some(json!({ "since": ago(1) })))
        .await;
    assert_eq!(refused.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_disabled_endpoint_missed_is_recovered() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let path = format!("/api/v1/app/{}/endpoint/{}", application.id, endpoint.id);
    world
        .expect("PATCH", &path, Some(json!({ "disabled": true })))
        .await;
    let id = world.send(&application.id, MESSAGE).await;
    world
        .expect("PATCH", &path, Some(json!({ "disabled": false })))
        .await;
    world
        .expect(
            "POST",
            &format!("{path}/recover"),
            Some(json!({ "since": ago(1) })),
        )
        .await;
    assert_eq!(receiver.wait_for(1).await[0].header("webhook-id"), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_from_before_an_endpoint_are_replayed_to_it() {
    let world = World::start().await;
    let (early, late) = (Receiver::accepting().await, Receiver::accepting().await);
    let application = world.application().await;
    world.endpoint(&application, &early).await;
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(world.send(&application.id, MESSAGE).await);
    }
    early.wait_for(5).await;
    let endpoint = world.endpoint(&application, &late).await;
    let path = format!(
        "/api/v1/app/{}/endpoint/{}/replay-missing",
        application.id, endpoint.id
    );
    let job = world
        .expect("POST", &path, Some(json!({ "since": ago(1) })))
        .await;
    assert_eq!(job["task"], "endpoint.replay");
    let report = finished(&world, job["id"].as_str().unwrap()).await;
    assert_eq!(report["data"]["messagesSent"], 5);
    let arrived = late.wait_for(5).await;
    let mut arrived: Vec<_> = arrived
        .iter()
        .map(|request| request.header("webhook-id"))
        .collect();
    arrived.sort();
    sent.sort();
    assert_eq!(arrived, sent);
    for id in &sent {
        world.attempts(&application, id, 2).await;
    }
    let again = world
        .expect("POST", &path, Some(json!({ "since": ago(1) })))
        .await;
    let report = finished(&world, again["id"].as_str().unwrap()).await;
    assert_eq!(report["data"]["messagesSent"], 0, "they were sent");
    assert_eq!(early.received().len(), 5, "only to the new endpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_again_whether_it_failed_or_succeeded() {
    let world = World::with_parameters([("RetrySchedule", "")]).await;
    let receiver = Receiver::answering([500, 200]).await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    let path = format!(
        "/api/v1/app/{}/msg/{id}/endpoint/{}/resend",
        application.id, endpoint.id
    );
    for count in 1..=3 {
        let attempts = world.attempts(&application, &id, count).await;
        let manual = attempts
            .iter()
            .filter(|attempt| attempt.trigger_type == 1)
            .count();
        assert_eq!(manual, count - 1, "one request, one attempt");
        if count < 3 {
            let answer = world.call("POST", &path, None).await;
            assert_eq!((answer.status, answer.body), (202, json!({})));
        }
    }
    let received = receiver.received();
    assert_eq!(received.len(), 3);
    let secret = world.secret(&application, &endpoint).await;
    for request in received {
        request.verify(&secret).unwrap();
        assert_eq!(request.header("webhook-id"), id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_endpoint_stays_among_the_destinations_of_its_messages() {
    let world = World::start().await;
    let (receiver, other) = (Receiver::accepting().await, Receiver::accepting().await);
    let application = world.application().await;
    let deleted = world.endpoint(&application, &receiver).await;
    let kept = world.endpoint(&application, &other).await;
    let id = world.send(&application.id, MESSAGE).await;
    world.attempts(&application, &id, 2).await;
    let app = format!("/api/v1/app/{}", application.id);
    let path = format!("{app}/endpoint/{}", deleted.id);
    assert_eq!(world.call("DELETE", &path, None).await.status, 204);
    let list = format!("{app}/msg/{id}/endpoint");
    for limit in [1, 50] {
        let (found, _) = world.pages(&list, limit).await;
        assert_eq!(found.len(), 2);
        let of = |id: &String| found.iter().find(|one| one["id"] == **id).unwrap();
        let (gone, kept) = (of(&deleted.id), of(&kept.id));
        assert_eq!(
            (&gone["deleted"], &kept["deleted"]),
            (&json!(true), &Value::Null)
        );
        assert_eq!(
            [&gone["status"], &gone["statusText"]],
            [&json!(0), &json!("success")]
        );
        assert_eq!(gone["url"], receiver.url());
        assert_eq!(gone["nextAttempt"], Value::Null);
        assert!(gone["createdAt"].is_string() && gone["updatedAt"].is_string());
    }
}
