//! The scheduler Lambda: wires [`posthorn_scheduler`] to AWS.

use std::time::Duration;

use lambda_runtime::{LambdaEvent, run, service_fn};
use posthorn_domain::timestamp::Timestamp;
use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::{StartError, aws, deadline, env, init_logs, metrics, now};
use posthorn_scheduler::{Audited, Auditor, Report, RunError, Scheduler};
use posthorn_store::{ConfigTable, Deliveries, MessagesTable, ScheduleTable};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    init_logs();
    let config = aws::config().await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let schedule = ScheduleTable::new(dynamodb.clone(), env::required("SCHEDULE_TABLE")?);
    let url = env::required("DELIVERIES_QUEUE_URL")?;
    let queue = DeliveriesQueue::new(aws_sdk_sqs::Client::new(&config), url);
    let config_table = ConfigTable::new(dynamodb.clone(), env::required("CONFIG_TABLE")?);
    let messages_table = MessagesTable::new(dynamodb.clone(), env::required("MESSAGES_TABLE")?);
    let auditor = &Auditor {
        scan: config_table.application_scan(),
        applications: config_table.applications(),
        messages: messages_table.messages(),
        deliveries: Deliveries::new(dynamodb, env::required("DELIVERIES_TABLE")?),
        every: Duration::from_secs(env::parsed("AUDIT_EVERY_SECONDS")?),
        lost_after: Duration::from_secs(env::parsed("LOST_AFTER_SECONDS")?),
        cursor: schedule.audit(),
        slots: schedule.slots(),
        queue: queue.clone(),
    };
    let scheduler = &Scheduler {
        due: schedule.due_rows(),
        cursor: schedule.cursor(),
        queue,
    };
    run(service_fn(|event: LambdaEvent<Value>| async move {
        let deadline = deadline(event.context.deadline);
        let done = work(scheduler, auditor, deadline).await;
        metrics::flush();
        done.inspect_err(
            |error| tracing::error!(%error, "the run ended early; the next one continues"),
        )
        .map_err(StartError::from)
    }))
    .await
}

/// Due attempts come first; the audit gets the remaining time.
async fn work(
    scheduler: &Scheduler,
    auditor: &Auditor,
    deadline: Timestamp,
) -> Result<Value, RunError> {
    let Report { minutes, queued } = scheduler.run(now(), deadline).await?;
    let Audited { seen, repaired } = auditor.run(deadline).await?;
    Ok(json!({ "minutes": minutes, "queued": queued, "audited": seen, "repaired": repaired }))
}
