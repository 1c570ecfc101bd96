//! What ingest is built from.

use posthorn_contract::tokens::Tokens;
use posthorn_publish::Publisher;
use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::{StartError, aws, env};
use posthorn_store::{ConfigTable, MessagesTable};

use crate::{Ingest, directory::Directory};

impl Ingest {
    /// From environment variables.
    ///
    /// # Errors
    /// Names the variable that is missing or invalid.
    pub async fn from_env() -> Result<Self, StartError> {
        let config = aws::config().await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&config);
        let sqs = aws_sdk_sqs::Client::new(&config);
        let config_table = ConfigTable::new(dynamodb.clone(), env::required("CONFIG_TABLE")?);
        let messages_table = MessagesTable::new(dynamodb, env::required("MESSAGES_TABLE")?);
        Ok(Self {
            tokens: Tokens::new(config_table.trust()),
            directory: Directory::new(config_table.applications()),
            guards: messages_table.guards(),
            publisher: Publisher {
                applications: config_table.applications(),
                messages: messages_table.messages(),
                queue: DeliveriesQueue::new(sqs, env::required("DELIVERIES_QUEUE_URL")?)
                    .with_slow_lane(env::required("SLOW_DELIVERIES_QUEUE_URL")?),
            },
            traces: env::parsed("TRACE_CONTEXT")?,
        })
    }
}
