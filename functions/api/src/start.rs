//! What the function is built from.

use posthorn_contract::tokens::Tokens;
use posthorn_publish::Publisher;
use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::{StartError, aws, env};
use posthorn_store::{ConfigTable, Deliveries, MessagesTable};
use posthorn_vault::Vault;

use crate::{Api, Service, Signer, router};

impl Service {
    /// From environment variables.
    ///
    /// # Errors
    /// Names the variable that is missing or invalid.
    pub async fn from_env() -> Result<Self, StartError> {
        let config = aws::config().await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&config);
        let sqs = aws_sdk_sqs::Client::new(&config);
        let config_table = ConfigTable::new(dynamodb.clone(), env::required("CONFIG_TABLE")?);
        let messages_table = MessagesTable::new(dynamodb.clone(), env::required("MESSAGES_TABLE")?);
        let api = Api {
            tokens: Tokens::new(config_table.trust()),
            signer: Signer::from_env(&config, config_table.trust())?,
            vault: Vault::from_env(&config, config_table.data_keys())?,
            publisher: Publisher {
                applications: config_table.applications(),
                messages: messages_table.messages(),
                queue: DeliveriesQueue::new(sqs, env::required("DELIVERIES_QUEUE_URL")?)
                    .with_slow_lane(env::required("SLOW_DELIVERIES_QUEUE_URL")?),
            },
            endpoints: config_table.endpoints(),
            event_types: config_table.event_types(),
            jobs: config_table.jobs(),
            sessions: config_table.sessions(),
            answers: config_table.answers(),
            guards: messages_table.guards(),
            deliveries: Deliveries::new(dynamodb, env::required("DELIVERIES_TABLE")?),
            addresses: env::address_policy()?,
            portal_url: env::required("PORTAL_URL")?,
        };
        Ok(router(api.into()))
    }
}
