//! The scheduler Lambda: wires [`posthorn_scheduler`] to AWS.

use lambda_runtime::{LambdaEvent, run, service_fn};
use posthorn_domain::timestamp::Timestamp;
use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::{StartError, aws, env, init_logs, now};
use posthorn_scheduler::Scheduler;
use posthorn_store::ScheduleTable;
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    init_logs();
    let config = aws::config().await;
    let scheduler = &Scheduler {
        schedule: ScheduleTable::new(
            aws_sdk_dynamodb::Client::new(&config),
            env::required("SCHEDULE_TABLE")?,
        ),
        queue: DeliveriesQueue::new(
            aws_sdk_sqs::Client::new(&config),
            env::required("DELIVERIES_QUEUE_URL")?,
        ),
    };
    run(service_fn(|event: LambdaEvent<Value>| async move {
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        let report = scheduler.run(now(), Timestamp::from_millis(deadline)).await;
        report
            .inspect_err(
                |error| tracing::error!(%error, "the run ended early; the next one repeats it"),
            )
            .map_err(StartError::from)
    }))
    .await
}
