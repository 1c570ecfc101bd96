//! What a run of the scheduler costs while many attempts are pending.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use posthorn_domain::{
    id::{EndpointId, MessageId},
    timestamp::Timestamp,
};
use posthorn_local::StackOptions;
use posthorn_queue::Task;
use posthorn_runtime::{entropy, now};
use posthorn_store::{
    Audit, Cursor, DueRows, Progress, ScheduleTable, Scheduled, Written, minute_of,
};
use serde_json::json;

use crate::World;

/// What a run costs per minute that it covers.
#[derive(Clone, Debug, PartialEq)]
pub struct RunCost {
    /// Calls of DynamoDB.
    pub calls: Vec<(String, u64)>,
    /// Read units.
    pub read_units: f64,
    /// Write units.
    pub write_units: f64,
}

/// Attempts from a moment on, over so many seconds.
async fn put(table: &DueRows, due: Timestamp, count: usize, seconds: u64) {
    let puts = stream::iter(0..count).map(|n| async move {
        let spread = Duration::from_secs(n as u64 % seconds);
        let (endpoint, message) = (
            EndpointId::new(due, entropy()),
            MessageId::new(due, entropy()),
        );
        let scheduled = Scheduled {
            due: due.plus(spread),
            body: body(&endpoint, &message),
            endpoint,
            message,
        };
        table.put(&scheduled).await.unwrap();
    });
    puts.buffer_unordered(32).collect::<Vec<()>>().await;
}

/// The body of a task as a dispatcher writes it. Its endpoint does not exist.
pub(crate) fn body(endpoint: &EndpointId, message: &MessageId) -> String {
    let organization = "org_2KWPBgLlAfxdpx2AI54pPJ85f4W";
    let task = json!({
        "organization": organization, "application": organization.replace("org_", "app_"), "endpoint": endpoint,
        "revision": 3, "message": message, "event_type": "invoice.paid", "shards": 4, "attempt": 2,
        "expires_at": 1_795_253_400_000_i64,
    });
    Task::from_body(&json!({ "attempt": task }).to_string())
        .unwrap()
        .to_body()
        .unwrap()
}

/// Measures one run with this many attempts due and pending.
pub async fn scheduler_run(due: usize, pending: usize) -> RunCost {
    let options = StackOptions {
        meter: true,
        ..StackOptions::default()
    };
    let world = World::with_options(options).await;
    let schedule = &world.aws().await.schedule;
    let later = now().plus(Duration::from_secs(7200));
    put(&schedule.due_rows(), later, pending, 86_400).await;
    run(&world, due).await
}

/// The next minute that no run has processed yet, and the cursor's version. The local clock invokes
/// the scheduler as well.
async fn coming_minute(schedule: &ScheduleTable) -> (i64, u64) {
    loop {
        let done = schedule.cursor().get().await.unwrap();
        let coming = minute_of(now()) + 1;
        if done.as_ref().is_none_or(|done| done.minute < coming) {
            return (coming, done.map_or(0, |done| done.version));
        }
        // Takes at most a minute.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Measures one run with this many attempts due in its minute, on a metered stack.
pub(crate) async fn run(world: &World, due: usize) -> RunCost {
    let schedule = &world.aws().await.schedule;
    let (coming, version) = coming_minute(schedule).await;
    put(
        &schedule.due_rows(),
        Timestamp::from_millis(coming * 60_000),
        due,
        1,
    )
    .await;
    let cursor = Cursor {
        minute: coming - 1,
        progress: Progress::default(),
        version: version + 1,
        claimed_until: None,
    };
    assert_eq!(schedule.cursor().put(&cursor).await.unwrap(), Written::Yes);
    forgo_audit(schedule).await;
    let meter = world.stack.meter().unwrap();
    meter.reset();
    let report = world
        .stack
        .invoke("SchedulerFunction", &json!({}))
        .await
        .unwrap();
    assert_eq!(report["queued"], due);
    let minutes = report["minutes"].as_u64().unwrap();
    assert!(minutes >= 1, "{report}");
    let cost = meter.report();
    let of_scheduler = |call: &str| call.starts_with("DynamoDB");
    let calls = cost.calls.iter().filter(|(call, _)| of_scheduler(call));
    let per_minute = |count: u64| if count > 1 { count / minutes } else { count };
    let calls = calls
        .map(|(call, count)| (call.clone(), per_minute(*count)))
        .collect();
    let units = minutes as f64;
    RunCost {
        calls,
        read_units: cost.read_units / units,
        write_units: cost.write_units / units,
    }
}

/// No audit is due.
async fn forgo_audit(schedule: &ScheduleTable) {
    let version = schedule
        .audit()
        .get()
        .await
        .unwrap()
        .map_or(0, |it| it.version);
    let audit = Audit {
        version: version + 1,
        started_at: now(),
        from: now(),
        until: now(),
        done: true,
        at: None,
        within: None,
        seen: 0,
        repaired: 0,
    };
    schedule.audit().put(&audit).await.unwrap();
}
