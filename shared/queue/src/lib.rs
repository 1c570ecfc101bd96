//! The deliveries queues: what a task looks like on the wire, and how it is sent.
//!
//! Nothing else talks to SQS. Receiving and deleting is up to the event source: Lambda polls the
//! queue, and the dispatcher reports which records failed.

mod send;
mod task;

pub use send::{DeliveriesQueue, QueueError, Unsent};
pub use task::{INLINE_PAYLOAD_BYTES, JobTask, Task, Work};
