//! The dispatcher Lambda: wires [`posthorn_dispatcher`] to AWS.

use std::{sync::Arc, time::Duration};

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, run, service_fn};
use posthorn_dispatcher::{Dispatcher, Memory, Sender, Settings, Slots, SystemLookup};
use posthorn_publish::Publisher;
use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::{StartError, aws, deadline, env, init_logs, metrics};
use posthorn_store::{ConfigTable, Deliveries, MessagesTable, ScheduleTable};
use posthorn_vault::Vault;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    init_logs();
    let config = aws::config().await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let sqs = aws_sdk_sqs::Client::new(&config);
    let config_table = ConfigTable::new(dynamodb.clone(), env::required("CONFIG_TABLE")?);
    let messages_table = MessagesTable::new(dynamodb.clone(), env::required("MESSAGES_TABLE")?);
    let schedule_table = ScheduleTable::new(dynamodb.clone(), env::required("SCHEDULE_TABLE")?);
    let dispatcher = &Dispatcher {
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
    };
    run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let deadline = deadline(event.context.deadline);
        // Boxed, because the compiler follows nested futures only so deep.
        let answer = Box::pin(dispatcher.handle(event.payload, deadline)).await;
        metrics::flush();
        Ok::<_, StartError>(answer)
    }))
    .await
}

fn settings() -> Result<Settings, StartError> {
    Ok(Settings {
        request_timeout: Duration::from_secs(env::parsed("REQUEST_TIMEOUT_SECONDS")?),
        svix_headers: env::parsed("SVIX_HEADERS")?,
        addresses: env::address_policy()?,
        lookup: Arc::new(SystemLookup),
    })
}
