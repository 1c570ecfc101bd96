//! What the dispatcher is built from.

use std::{sync::Arc, time::Duration};

use posthorn_publish::Publisher;
use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::{StartError, aws, env};
use posthorn_store::{ConfigTable, Deliveries, MessagesTable, ScheduleTable};
use posthorn_vault::Vault;

use crate::{Dispatcher, Memory, Sender, Settings, Slots, SystemLookup};

impl Dispatcher {
    /// From environment variables.
    ///
    /// # Errors
    /// Names the variable that is missing or invalid; when the system's root certificates cannot be
    /// read.
    pub async fn from_env() -> Result<Self, StartError> {
        let config = aws::config().await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&config);
        let sqs = aws_sdk_sqs::Client::new(&config);
        let config_table = ConfigTable::new(dynamodb.clone(), env::required("CONFIG_TABLE")?);
        let messages_table = MessagesTable::new(dynamodb.clone(), env::required("MESSAGES_TABLE")?);
        let schedule_table = ScheduleTable::new(dynamodb.clone(), env::required("SCHEDULE_TABLE")?);
        Ok(Self {
            publisher: Publisher {
                applications: config_table.applications(),
                messages: messages_table.messages(),
                queue: DeliveriesQueue::new(sqs, env::required("DELIVERIES_QUEUE_URL")?)
                    .with_slow_lane(env::required("SLOW_DELIVERIES_QUEUE_URL")?),
            },
            endpoints: config_table.endpoints(),
            jobs: config_table.jobs(),
            deliveries: Deliveries::new(dynamodb, env::required("DELIVERIES_TABLE")?),
            due: schedule_table.due_rows(),
            slot_rows: schedule_table.slots(),
            retries: env::parsed("RETRY_SCHEDULE")?,
            disable_after: Duration::from_secs(env::parsed("DISABLE_AFTER_SECONDS")?),
            slots: Slots::default(),
            memory: Memory::default(),
            vault: Vault::from_env(&config, config_table.data_keys())?,
            sender: Sender::new(settings()?)?,
        })
    }
}

fn settings() -> Result<Settings, StartError> {
    Ok(Settings {
        request_timeout: Duration::from_secs(env::parsed("REQUEST_TIMEOUT_SECONDS")?),
        svix_headers: env::parsed("SVIX_HEADERS")?,
        addresses: env::address_policy()?,
        lookup: Arc::new(SystemLookup),
    })
}
