//! The ingest Lambda: wires [`posthorn_ingest`] to AWS.

use lambda_runtime::{LambdaEvent, run, service_fn};
use posthorn_contract::tokens::Tokens;
use posthorn_ingest::{Ingest, handle};
use posthorn_publish::Publisher;
use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::{StartError, aws, env, init_logs, metrics};
use posthorn_store::{ConfigTable, MessagesTable};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    init_logs();
    let config = aws::config().await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let sqs = aws_sdk_sqs::Client::new(&config);
    let config_table = ConfigTable::new(dynamodb.clone(), env::required("CONFIG_TABLE")?);
    let messages_table = MessagesTable::new(dynamodb, env::required("MESSAGES_TABLE")?);
    let publisher = Publisher {
        applications: config_table.applications(),
        messages: messages_table.messages(),
        queue: DeliveriesQueue::new(sqs, env::required("DELIVERIES_QUEUE_URL")?)
            .with_slow_lane(env::required("SLOW_DELIVERIES_QUEUE_URL")?),
    };
    let ingest = &Ingest::new(
        Tokens::new(config_table.trust()),
        messages_table.guards(),
        publisher,
        env::parsed("TRACE_CONTEXT")?,
    );
    run(service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        let answer = handle(ingest, event).await;
        metrics::flush();
        answer
    }))
    .await
}
