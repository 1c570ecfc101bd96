//! What the scheduler is built from.

use std::time::Duration;

use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::{StartError, aws, env};
use posthorn_store::{ConfigTable, Deliveries, MessagesTable, ScheduleTable};

use crate::{Auditor, Due, Scheduler};

impl Scheduler {
    /// From environment variables.
    ///
    /// # Errors
    /// Names the variable that is missing or invalid.
    pub async fn from_env() -> Result<Self, StartError> {
        let config = aws::config().await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&config);
        let schedule = ScheduleTable::new(dynamodb.clone(), env::required("SCHEDULE_TABLE")?);
        let url = env::required("DELIVERIES_QUEUE_URL")?;
        let queue = DeliveriesQueue::new(aws_sdk_sqs::Client::new(&config), url);
        let config_table = ConfigTable::new(dynamodb.clone(), env::required("CONFIG_TABLE")?);
        let messages_table = MessagesTable::new(dynamodb.clone(), env::required("MESSAGES_TABLE")?);
        let auditor = Auditor {
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
        let due = Due {
            rows: schedule.due_rows(),
            cursor: schedule.cursor(),
            queue,
        };
        Ok(Self { due, auditor })
    }
}
