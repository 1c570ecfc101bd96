//! The clock: invokes a function at its rate, as EventBridge Scheduler does.

use std::time::Duration;

use bytes::Bytes;
use posthorn_domain::timestamp::Timestamp;
use posthorn_runtime::{entropy, now};
use serde_json::{Value, json};

use crate::{ACCOUNT, REGION, lambda::Pool};

/// Invokes the function for ever. `name` is the schedule's name in the event.
pub(crate) async fn run(pool: Pool, name: String, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    // The first tick comes at once, but a schedule's first invocation comes after one period.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let event = event(&name, now(), entropy());
        if let Err(error) = pool.invoke(Bytes::from(event.to_string())).await {
            eprintln!("the scheduled invocation failed: {error}");
        }
    }
}

/// The event that EventBridge Scheduler sends to a target without an `Input`.
fn event(name: &str, at: Timestamp, id: [u8; 16]) -> Value {
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "version": "0", "id": id, "detail-type": "Scheduled Event", "source": "aws.scheduler",
        "account": ACCOUNT, "region": REGION, "time": at.to_rfc3339(),
        "resources": [format!("arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{name}")],
        "detail": "{}",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_is_that_of_eventbridge_scheduler() {
        let event = event("SchedulerFunction", Timestamp::from_millis(0), [255; 16]);
        assert_eq!(event["source"], "aws.scheduler");
        assert_eq!(event["time"], "1970-01-01T00:00:00Z");
        assert_eq!(event["id"], "f".repeat(32));
        assert_eq!(event["detail"], "{}", "text, not an object");
        assert_eq!(
            event["resources"][0],
            "arn:aws:scheduler:us-east-1:000000000000:schedule/default/SchedulerFunction"
        );
    }
}
