//! What the scheduler reads and writes follows what is due, not what is pending.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use posthorn_domain::{
    id::{EndpointId, MessageId},
    timestamp::Timestamp,
};
use posthorn_local::StackOptions;
use posthorn_runtime::{entropy, now};
use posthorn_store::{Cursor, Progress, ScheduleTable, Scheduled, minute_of};
use posthorn_tests::World;
use serde_json::json;

const DUE: usize = 25;

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

/// One run with `DUE` attempts due and so many pending: calls and units for each minute it covered.
async fn run(pending: usize) -> (Vec<(String, u64)>, f64, f64) {
    let options = StackOptions {
        meter: true,
        ..StackOptions::default()
    };
    let world = World::with_options(options).await;
    let schedule = &world.aws().await.schedule;
    put(schedule, now().plus(Duration::from_secs(7200)), pending).await;
    let coming = minute_of(now()) + 1;
    put(schedule, Timestamp::from_millis(coming * 60_000), DUE).await;
    let cursor = Cursor {
        minute: coming - 1,
        progress: Progress::default(),
    };
    schedule.set_cursor(&cursor).await.unwrap();
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
    println!("{DUE} due, {pending} pending, {minutes} minute(s):\n{cost}");
    let units = minutes as f64;
    (calls, cost.read_units / units, cost.write_units / units)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_costs_the_same_with_ten_thousand_attempts_pending() {
    let (few, many) = (run(0).await, run(10_000).await);
    assert_eq!(few.0, many.0, "the same calls");
    // A cursor that is read once for two minutes makes a difference of half a unit.
    assert!(
        (few.1 - many.1).abs() <= 0.5 && few.2 == many.2,
        "{few:?} {many:?}"
    );
    let query = |(call, count): &(String, u64)| call == "DynamoDB Query" && *count == 4;
    assert!(few.0.iter().any(query), "one Query for each shard: {few:?}");
}
