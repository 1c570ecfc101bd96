//! Lambda events: records of the messages queue, or HTTP requests.

use lambda_runtime::LambdaEvent;
use posthorn_contract::gateway;
use posthorn_runtime::{StartError, deadline};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::{RawValue, to_raw_value};

use crate::{Ingest, requests::answer};

/// The field that distinguishes the two kinds of events.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "Records")]
    records: Option<IgnoredAny>,
}

impl Ingest {
    /// Answers one invocation.
    ///
    /// # Errors
    /// When the event is neither an HTTP API request nor a batch of SQS records.
    pub async fn handle(
        &self,
        event: LambdaEvent<Box<RawValue>>,
    ) -> Result<Box<RawValue>, StartError> {
        let (event, context) = event.into_parts();
        let deadline = deadline(context.deadline);
        let kind: Kind = serde_json::from_str(event.get())?;
        if kind.records.is_some() {
            let records = serde_json::from_str(event.get())?;
            let answer = self.handle_records(records, deadline).await;
            return Ok(to_raw_value(&answer)?);
        }
        let event = serde_json::from_str(event.get())?;
        let reply = gateway::answer(event, async |request| {
            // Boxed because of the compiler's limit on nested types.
            Box::pin(answer(self, request, deadline)).await
        });
        Ok(to_raw_value(&reply.await)?)
    }
}
