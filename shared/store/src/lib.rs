//! Posthorn's tables: a handle for each concern, and nothing else talks to DynamoDB.
//!
//! [`ConfigTable`], [`MessagesTable`] and [`ScheduleTable`] make the handles of their concerns when a
//! function starts; [`Deliveries`] is the only one of its table. A part of a function can touch what
//! it was given a handle of. Rows that others change at the same time are changed by the handles'
//! `change`, and [`Tries`] says how often.
//!
//! | access | call | units |
//! |---|---|---|
//! | an application with its endpoints (ingest) | [`Applications::with_endpoints`]: one strongly consistent Query | 1 RRU per 4 KB |
//! | an application by its `uid` | [`Applications::by_uid`]: strongly consistent GetItem | 1 RRU |
//! | store a message (ingest) | [`Messages::put`]: one conditional PutItem | 1 WRU per KB |
//! | `eventId`, `idempotency-key` (ingest, only with one of them) | [`Guards::reserve`], [`Guards::settle`] | 1 WRU each |
//! | endpoints, and deliveries before their first attempt (dispatcher) | [`Deliveries::prefetch`]: one eventually consistent BatchGetItem for a batch of tasks | 0.5 RRU per 4 KB each |
//! | an endpoint, when the prefetched one is older than the task (dispatcher) | [`Endpoints::get`]: strongly consistent GetItem | 1 RRU per 4 KB |
//! | a delivery after its first attempt (dispatcher) | [`Deliveries::get`]: strongly consistent GetItem | 1 RRU per 4 KB |
//! | a message's payload (dispatcher, when the task does not carry it) | [`Messages::get`]: strongly consistent | 1 RRU per 4 KB |
//! | an endpoint starts to fail, is paused, becomes slow, or recovers (dispatcher) | [`Endpoints::put`]: only for an attempt that changes something | 1 WRU per KB |
//! | notify operators (all but the scheduler) | [`Applications::with_endpoints`], then a message if somebody subscribed | 1 RRU, as a message |
//! | record an attempt (dispatcher) | [`Deliveries::put`]: PutItem, if still the version that was read | 1 WRU per KB |
//! | a retry later than 15 min (dispatcher) | [`DueRows::put`] | 1 WRU |
//! | due retries (scheduler) | [`DueRows::in_minute`]: one Query per minute, shard and 250 rows; [`CursorRow::get`] | 0.5 RRU per 4 KB |
//! | a slot (dispatcher, only for an endpoint with a rate) | [`SlotRows::reserve`]: one UpdateItem while attempts wait, else two | 1 WRU each |
//! | an audit (scheduler, every 6 hours) | [`ApplicationScan::page`], then [`Messages::heads`] and [`Deliveries::get_many`], four times for each message | 0.5 RRU per 4 KB and per delivery |
//! | lists (api) | one Query of at most 1 MB per shard and page, merged ([`Slice`]) | 1 RRU per 4 KB |
//! | the deliveries of a message, of a page of messages (api, jobs) | [`Deliveries::get_many`]: one BatchGetItem per 100 | 1 RRU per 4 KB each |
//! | a resend (api) | [`Deliveries::put_resend`]; if there was one in the last minutes, also [`Deliveries::get`] and the first call again | 1 WRU, 1 RRU per 4 KB |
//! | a job's step (dispatcher) | [`Jobs::get`], a page of messages and their deliveries, [`Jobs::step`] | 1 RRU, lists as above, 2 WRU |
//! | `idempotency-key` of other requests (api) | [`Answers::reserve`], [`Answers::keep`] | 1 WRU per KB each |
//! | a data key (api, dispatcher; once per process and key) | [`DataKeys::get`], [`DataKeys::newest`] (api, every 5 minutes in use) | 1 RRU, and one KMS call |
//! | the keys that verify tokens, and the revoked tokens (api, ingest; every 10 seconds in use) | [`TrustRow::get`]: strongly consistent GetItem | 1 RRU per 4 KB |
//! | a request with a portal token (api) | [`Sessions::is_ended`]: one BatchGetItem | 2 to 3 RRU |
//! | statistics of an endpoint (api) | [`Deliveries::statuses`], [`Messages::meant_for`]: the whole range | 1 RRU per 4 KB |
//!
//! A first-try delivery of a small message to one endpoint costs 2 WRU and 2 RRU.
//!
//! Keys are in each table's file. Every table has the string keys `pk` and `sk` and the TTL
//! attribute `ttl` (seconds). DynamoDB removes expired items late, so expiry that matters is also
//! checked when reading.

mod change;
mod config;
mod deliveries;
mod dynamo;
mod error;
mod messages;
mod schedule;

pub use change::{Changed, Tries};
pub use config::{
    Answer, Answers, ApplicationScan, Applications, ConfigTable, DataKeys, Endpoints, EventTypes,
    FAILED, Found, Jobs, ScanCursor, Seed, Sessions, TrustRow, WrappedKey,
};
pub use deliveries::{Deliveries, Lookup, Prefetched};
pub use dynamo::{Page, Range, Slice, Written};
pub use error::StoreError;
pub use messages::{
    Guard, Guards, MAX_SLICE_BYTES, MessageHead, Messages, MessagesTable, Put, Reservation,
};
pub use schedule::{
    Audit, AuditRow, Cursor, CursorRow, DueRows, Progress, ScheduleTable, Scheduled, SlotRows,
    Within, minute_of,
};

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
