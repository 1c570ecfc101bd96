//! Posthorn's tables: one struct per DynamoDB table, and nothing else talks to DynamoDB.
//!
//! | access | call | units |
//! |---|---|---|
//! | an application with its endpoints (ingest) | [`ConfigTable::application_with_endpoints`]: one strongly consistent Query | 1 RRU per 4 KB |
//! | an application by its `uid` | [`ConfigTable::application_by_uid`]: strongly consistent GetItem | 1 RRU |
//! | store a message (ingest) | [`MessagesTable::put`]: one conditional PutItem | 1 WRU per KB |
//! | `eventId`, `idempotency-key` (ingest, only with one of them) | [`MessagesTable::reserve`], [`MessagesTable::settle`] | 1 WRU each |
//! | endpoints, and deliveries before their first attempt (dispatcher) | [`DeliveriesTable::prefetch`]: one eventually consistent BatchGetItem for a batch of tasks | 0.5 RRU per 4 KB each |
//! | an endpoint, when the prefetched one is older than the task (dispatcher) | [`ConfigTable::endpoint`]: strongly consistent GetItem | 1 RRU per 4 KB |
//! | a delivery after its first attempt (dispatcher) | [`DeliveriesTable::get`]: strongly consistent GetItem | 1 RRU per 4 KB |
//! | a message's payload (dispatcher, when the task does not carry it) | [`MessagesTable::get`]: strongly consistent | 1 RRU per 4 KB |
//! | an endpoint starts to fail, is paused, becomes slow, or recovers (dispatcher) | [`ConfigTable::put_endpoint`]: only for an attempt that changes something | 1 WRU per KB |
//! | notify operators (all but the scheduler) | [`ConfigTable::application_with_endpoints`], then a message if somebody subscribed | 1 RRU, as a message |
//! | record an attempt (dispatcher) | [`DeliveriesTable::put`]: PutItem, if still the version that was read | 1 WRU per KB |
//! | a retry later than 15 min (dispatcher) | [`ScheduleTable::put`] | 1 WRU |
//! | due retries (scheduler) | [`ScheduleTable::due_in`]: one Query per minute, shard and 250 rows; [`ScheduleTable::cursor`] | 0.5 RRU per 4 KB |
//! | a slot (dispatcher, only for an endpoint with a rate) | [`ScheduleTable::reserve`]: one UpdateItem while attempts wait, else two | 1 WRU each |
//! | an audit (scheduler, every 6 hours) | [`ConfigTable::all_applications`], then [`MessagesTable::heads`] and [`DeliveriesTable::get_many`], four times for each message | 0.5 RRU per 4 KB and per delivery |
//! | lists (api) | one Query of at most 1 MB per shard and page, merged ([`Slice`]) | 1 RRU per 4 KB |
//! | the deliveries of a message, of a page of messages (api, jobs) | [`DeliveriesTable::get_many`]: one BatchGetItem per 100 | 1 RRU per 4 KB each |
//! | a resend (api) | [`DeliveriesTable::put_resend`]; if there was one in the last minutes, also [`DeliveriesTable::get`] and the first call again | 1 WRU, 1 RRU per 4 KB |
//! | a job's step (dispatcher) | [`ConfigTable::job`], a page of messages and their deliveries, [`ConfigTable::step_job`] | 1 RRU, lists as above, 2 WRU |
//! | `idempotency-key` of other requests (api) | [`ConfigTable::reserve_answer`], [`ConfigTable::keep_answer`] | 1 WRU per KB each |
//! | a data key (api, dispatcher; once per process and key) | [`ConfigTable::data_key`], [`ConfigTable::newest_data_key`] (api, every 5 minutes in use) | 1 RRU, and one KMS call |
//! | the keys that verify tokens, and the revoked tokens (api, ingest; every 10 seconds in use) | [`ConfigTable::trust`]: strongly consistent GetItem | 1 RRU per 4 KB |
//! | a request with a portal token (api) | [`ConfigTable::is_session_ended`]: one BatchGetItem | 2 to 3 RRU |
//! | statistics of an endpoint (api) | [`DeliveriesTable::statuses`], [`MessagesTable::meant_for`]: the whole range | 1 RRU per 4 KB |
//!
//! A first-try delivery of a small message to one endpoint costs 2 WRU and 2 RRU.
//!
//! Keys are in each table's file. Every table has the string keys `pk` and `sk` and the TTL
//! attribute `ttl` (seconds). DynamoDB removes expired items late, so expiry that matters is also
//! checked when reading.

mod answers;
mod applications;
mod audit;
mod config;
mod data_keys;
mod deliveries;
mod endpoints;
mod error;
mod event_types;
mod guards;
mod item;
mod jobs;
mod messages;
mod page;
mod prefetch;
mod read;
mod schedule;
mod sessions;
mod transact;
mod trust;

pub use answers::{Answer, FAILED, Seed};
pub use audit::{Audit, Found, ScanCursor, Within};
pub use config::ConfigTable;
pub use data_keys::WrappedKey;
pub use deliveries::DeliveriesTable;
pub use error::StoreError;
pub use guards::{Guard, Reservation};
pub use messages::{MAX_SLICE_BYTES, MessageHead, MessagesTable, Put};
pub use page::{Page, Range, Slice};
pub use prefetch::{Lookup, Prefetched};
pub use schedule::{Cursor, Progress, ScheduleTable, Scheduled, minute_of};
pub use transact::Written;

/// Whether a read sees every write that was acknowledged before it. Strong reads cost twice as
/// much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// May miss the most recent writes.
    Eventual,
    /// Sees every acknowledged write.
    Strong,
}

impl Consistency {
    fn is_strong(self) -> bool {
        self == Self::Strong
    }
}
