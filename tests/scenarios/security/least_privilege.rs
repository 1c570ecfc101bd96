//! Each function's role allows exactly what the function calls.
//!
//! Every scenario tests that nothing is missing: the local stack denies what the template's
//! policies do not allow, and a world that ends checks for denied calls. Here the functions do
//! everything that they can do, and every permission must have been used.

use std::{sync::Mutex, time::Duration};

use posthorn_domain::{application::OPERATIONAL_UID, health::Health};
use posthorn_local::template::Permission;
use posthorn_runtime::now;
use posthorn_tests::client::{ApplicationOut, EndpointIn};
use posthorn_tests::{Receiver, World, until};
use serde_json::json;

use crate::{
    delivery::{
        audit::{message, put},
        isolation::set_health,
    },
    security::scopes::Matrix,
};

/// What Lambda itself does on the function's behalf: logs, and its SQS event source (AWS Lambda:
/// "Using Lambda with Amazon SQS", execution role permissions). The api function's health check
/// also reads the queue's attributes.
const BY_LAMBDA: [&str; 5] = [
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
];

/// Permissions that were not used yet.
fn unused(world: &World) -> Vec<Permission> {
    let roles = world.stack.aws().roles();
    let unused = roles
        .granted()
        .difference(&roles.used())
        .cloned()
        .collect::<Vec<_>>();
    let by_code = unused.into_iter().filter(|it| {
        let is_api = it.function == "ApiFunction" && it.action.starts_with("sqs:");
        is_api || !BY_LAMBDA.contains(&it.action.as_str())
    });
    by_code.collect()
}

struct Busy {
    application: ApplicationOut,
    messages: Vec<String>,
    _receivers: Vec<Receiver>,
}

/// Sends an application's messages to endpoints of all kinds: one that fails, whose third attempt
/// is minutes away; one with a rate; and one that answers 410, of which operators are notified.
async fn deliver(world: &World, is_slow: bool) -> Busy {
    let application = world.application().await;
    let (mut messages, mut receivers) = (Vec::new(), Vec::new());
    for (status, rate) in [(500, None), (204, Some(1)), (410, None)] {
        let receiver = Receiver::answering([status; 40]).await;
        let endpoint = EndpointIn {
            rate_limit: rate,
            filter_types: Some(vec!["a.b".to_owned()]),
            ..EndpointIn::new(receiver.url().to_owned())
        };
        let endpoints = world.svix.endpoint();
        let created = endpoints
            .create(application.id.clone(), endpoint, None)
            .await;
        let created = created.unwrap();
        receivers.push(receiver);
        if is_slow {
            let health = Health {
                slow_until: Some(now().plus(Duration::from_secs(600))),
                ..Health::default()
            };
            set_health(world, &application, &created, health).await;
        }
    }
    // The large payload does not fit into a task.
    for (id, text) in ["small", &"x".repeat(250_000)].into_iter().enumerate() {
        let body =
            json!({ "eventType": "a.b", "payload": { "text": text }, "eventId": id.to_string() });
        messages.push(world.send(&application.id, &body.to_string()).await);
    }
    Busy {
        application,
        messages,
        _receivers: receivers,
    }
}

/// What operators do with sent messages.
async fn operate(world: &World, application: &ApplicationOut, [message, expunged]: [&str; 2]) {
    let path = format!("/api/v1/app/{}", application.id);
    let endpoints = world
        .expect("GET", &format!("{path}/endpoint?order=ascending"), None)
        .await;
    let failing = endpoints["data"][0]["id"].as_str().unwrap();
    let attempt = world.attempts(application, expunged, 2).await.remove(0).id;
    let resend = format!("{path}/msg/{message}/endpoint/{failing}/resend");
    world.expect("POST", &resend, None).await;
    let attempts = format!("{path}/attempt/endpoint/{failing}?with_content=true&channel=x");
    world.expect("GET", &attempts, None).await;
    let since = json!({ "since": now().minus(Duration::from_secs(600)).to_rfc3339() });
    let recover = format!("{path}/endpoint/{failing}/recover");
    world.expect("POST", &recover, Some(since)).await;
    for content in [
        format!("{path}/msg/{expunged}/attempt/{attempt}/content"),
        format!("{path}/msg/{expunged}/content"),
    ] {
        world.expect("DELETE", &content, None).await;
    }
}

/// A request with an idempotency key, as official clients send it.
async fn create_once(world: &World) {
    let key = [("idempotency-key", "k")];
    let answer = world.post("/api/v1/app", r#"{"name":"Once"}"#, &key).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// A message that creates its application.
async fn create_with_message(world: &World) {
    let body = json!({ "eventType": "a.b", "payload": {}, "application": { "name": "New", "uid": "new" } });
    world.send("new", &body.to_string()).await;
}

/// A message that is stored but was not queued: the auditor queues it.
async fn lose(world: &World) -> Receiver {
    let application = world.application().await;
    let receiver = Receiver::accepting().await;
    world.endpoint(&application, &receiver).await;
    let lost = message(world, &application.id, 600).await;
    put(world, &application.id, &lost, None).await;
    receiver
}

/// The next process of the api function reads the data key.
async fn restart_api(world: &World) {
    world.kill("ApiFunction");
    until("a new process", || async {
        let answer = world.get("/api/v1/health/ping").await;
        (answer.status == 204).then_some(())
    })
    .await;
}

/// Makes the functions do everything, and waits until every permission was used.
async fn use_every_permission(world: &World) {
    let left = Mutex::new(Vec::new());
    let all = until("every permission's use", || async {
        let _report = world.stack.invoke("SchedulerFunction", &json!({})).await;
        *left.lock().unwrap() = unused(world);
        let is_over = left.lock().unwrap().is_empty();
        if !is_over {
            println!("not used yet: {:#?}", left.lock().unwrap());
        }
        is_over.then_some(())
    });
    all.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_permission_is_missing_and_none_is_unused() {
    let parameters = [
        // The second wait is too long for the queue, whatever the jitter.
        ("RetrySchedule", "1,1800"),
        ("AuditEverySeconds", "1"),
        ("LostAfterSeconds", "1"),
        ("MessagesFromQueue", "true"),
    ];
    let world = World::with_parameters(parameters).await;
    let operator = Receiver::accepting().await;
    let path = format!("/api/v1/app/{OPERATIONAL_UID}/endpoint");
    world
        .expect("POST", &path, Some(json!({ "url": operator.url() })))
        .await;
    let event_type = json!({ "name": "a.b", "description": "" });
    world
        .expect("POST", "/api/v1/event-type", Some(event_type))
        .await;
    let busy = [deliver(&world, false).await, deliver(&world, true).await];
    for Busy {
        application,
        messages,
        ..
    } in &busy
    {
        operate(&world, application, [&messages[0], &messages[1]]).await;
    }
    create_with_message(&world).await;
    create_once(&world).await;
    world.operate(json!({ "rotate_token_key": {} })).await;
    let _receiver = lose(&world).await;
    restart_api(&world).await;
    let matrix = Matrix::of(world).await;
    matrix.call_all().await;
    let world = &matrix.world;
    use_every_permission(world).await;
    let roles = world.stack.aws().roles();
    let (granted, used) = (roles.granted().len(), roles.used().len());
    println!("{granted} permissions: {used} used by the functions, the others are Lambda's");
}
