//! What a run of the scheduler costs while many attempts are pending.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use posthorn_domain::{
    id::{EndpointId, MessageId},
    timestamp::Timestamp,
};
use posthorn_local::StackOptions;
use posthorn_runtime::{entropy, now};
use posthorn_store::{Audit, Cursor, Progress, ScheduleTable, Scheduled, minute_of};
use serde_json::json;

use crate::{World, until};

/// Attempts that are due in the run.
pub const DUE: usize = 25;

/// What a run costs, for each minute that it covered.
#[derive(Clone, Debug, PartialEq)]
pub struct RunCost {
    /// Calls of DynamoDB.
    pub calls: Vec<(String, u64)>,
    /// Read units.
    pub read_units: f64,
    /// Write units.
    pub write_units: f64,
}

async fn put(table: &ScheduleTable, due: Timestamp, count: usize) {
    let puts = stream::iter(0..count).map(|n| async move {
        // Spread over a day where they are pending.
        let spread = Duration::from_secs(if count > DUE { n as u64 % 86_400 } else { 0 });
        let scheduled = Scheduled {
            due: due.plus(spread),
            endpoint: EndpointId::new(due, entropy()),
            message: MessageId::new(due, entropy()),
            body: "{}".to_owned(),
        };
        table.put(&scheduled).await.unwrap();
    });
    puts.buffer_unordered(32).collect::<Vec<()>>().await;
}

/// One run with [`DUE`] attempts due and so many pending.
pub async fn scheduler_run(pending: usize) -> RunCost {
    let options = StackOptions {
        meter: true,
        ..StackOptions::default()
    };
    let world = World::with_options(options).await;
    let schedule = &world.aws().await.schedule;
    put(schedule, now().plus(Duration::from_secs(7200)), pending).await;
    // The clock invokes the scheduler as well: not in a minute that it has been through.
    let coming = until("a minute that no run has been through", || async {
        let done = schedule.cursor().await.unwrap();
        let coming = minute_of(now()) + 1;
        done.is_none_or(|done| done.minute < coming)
            .then_some(coming)
    })
    .await;
    put(schedule, Timestamp::from_millis(coming * 60_000), DUE).await;
    let cursor = Cursor {
        minute: coming - 1,
        progress: Progress::default(),
    };
    schedule.set_cursor(&cursor).await.unwrap();
    // No audit is due.
    let audit = Audit {
        version: 1,
        started_at: now(),
        from: now(),
        until: now(),
        done: true,
        at: None,
        within: None,
        seen: 0,
        repaired: 0,
    };
    schedule.set_audit(&audit).await.unwrap();
    let meter = world.stack.meter().unwrap();
    meter.reset();
    let report = world.stack.invoke("scheduler", &json!({})).await.unwrap();
    assert_eq!(report["queued"], DUE);
    let minutes = report["minutes"].as_u64().unwrap();
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
