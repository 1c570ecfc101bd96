//! The dispatcher: task → signed request → outcome → record → done or next attempt.
//!
//! `batch` answers SQS, `deliver` is the sequence of steps for one task: `admit`
//! says whether its attempt may be made now, `send` signs the request, `exchange` makes it over connections
//! of `connect` that `wire` counts with `meter`, `watch` notes how the endpoint fares. `job` makes a step of a job over many messages. What an endpoint does is never an error
//! here: only faults of our own make SQS deliver a task again.

mod admit;
mod batch;
mod classify;
mod connect;
mod deliver;
mod exchange;
mod head;
mod job;
mod memory;
mod meter;
mod resolve;
mod send;
mod slots;
mod start;
mod watch;
mod wire;

use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::LambdaEvent;
use posthorn_domain::retry::RetrySchedule;
use posthorn_publish::Publisher;
use posthorn_queue::DeliveriesQueue;
use posthorn_runtime::{StartError, deadline};
use posthorn_store::{Applications, Deliveries, DueRows, Endpoints, Jobs, Messages, SlotRows};
use posthorn_vault::Vault;

pub use memory::Memory;
pub use resolve::{Lookup, SystemLookup};
pub use send::{Sender, Settings, Signed};
pub use slots::Slots;

/// What the function works with; built once per process.
#[derive(Debug)]
pub struct Dispatcher {
    /// Applications, payloads that a task does not carry, attempts soon, and news for operators.
    pub publisher: Publisher,
    /// Endpoints.
    pub endpoints: Endpoints,
    /// Jobs over many messages.
    pub jobs: Jobs,
    /// Records.
    pub deliveries: Deliveries,
    /// Attempts later than the queue can delay.
    pub due: DueRows,
    /// Slots at endpoints with a rate, of all processes.
    pub slot_rows: SlotRows,
    /// The waits between attempts.
    pub retries: RetrySchedule,
    /// How long an endpoint may fail without a success in between.
    pub disable_after: Duration,
    /// Slots that this process reserved.
    pub slots: Slots,
    /// What need not be written.
    pub memory: Memory,
    /// Opens endpoints' secrets.
    pub vault: Vault,
    /// Makes requests.
    pub sender: Sender,
}

impl Dispatcher {
    /// Answers one invocation: names the records that SQS must deliver again.
    ///
    /// # Errors
    /// Never: a record that cannot be handled fails alone.
    pub async fn handle(
        &self,
        event: LambdaEvent<SqsEvent>,
    ) -> Result<SqsBatchResponse, StartError> {
        let deadline = deadline(event.context.deadline);
        // Boxed, because the compiler follows nested futures only so deep.
        Ok(Box::pin(self.handle_batch(event.payload, deadline)).await)
    }

    fn applications(&self) -> &Applications {
        &self.publisher.applications
    }

    fn messages(&self) -> &Messages {
        &self.publisher.messages
    }

    fn queue(&self) -> &DeliveriesQueue {
        &self.publisher.queue
    }
}
