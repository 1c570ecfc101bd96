//! The dispatcher: task → signed request → outcome → record → done or next attempt.
//!
//! [`batch`](Dispatcher::handle) answers SQS, `deliver` is the sequence of steps for one task,
//! `send` makes the request. What an endpoint does is never an error here: only faults of our own
//! make SQS deliver a task again.

mod batch;
mod classify;
mod deliver;
mod resolve;
mod send;

use posthorn_domain::retry::RetrySchedule;
use posthorn_queue::DeliveriesQueue;
use posthorn_store::{ConfigTable, DeliveriesTable, MessagesTable, ScheduleTable};

pub use send::{Sender, Settings};

/// What the function works with; built once per process.
#[derive(Debug)]
pub struct Dispatcher {
    /// Endpoints.
    pub config: ConfigTable,
    /// Payloads that a task does not carry.
    pub messages: MessagesTable,
    /// Records.
    pub deliveries: DeliveriesTable,
    /// Attempts later than the queue can delay.
    pub schedule: ScheduleTable,
    /// Attempts soon.
    pub queue: DeliveriesQueue,
    /// The waits between attempts.
    pub retries: RetrySchedule,
    /// Makes requests.
    pub sender: Sender,
}
