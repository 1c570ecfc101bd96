//! Counts what deliveries cost: AWS calls, and the capacity that DynamoDB reports for them.
//!
//! A proxy adds `ReturnConsumedCapacity` to every DynamoDB request, so the measured functions are
//! exactly those that are deployed. A conditional write that fails is only counted as a call: AWS
//! bills it, but neither AWS nor dynoxide reports its units.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use axum::body::Bytes;
use serde_json::{Map, Value};

/// The operations that consume read units.
const READS: [&str; 5] = [
    "BatchGetItem",
    "GetItem",
    "Query",
    "Scan",
    "TransactGetItems",
];

/// The operations that consume write units.
const WRITES: [&str; 5] = [
    "BatchWriteItem",
    "DeleteItem",
    "PutItem",
    "TransactWriteItems",
    "UpdateItem",
];

/// The running count.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<MeterReport>>);

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeterReport {
    /// The functions' calls, by `service operation`.
    pub calls: BTreeMap<String, u64>,
    /// The event source's calls, which Lambda makes on AWS.
    pub event_source_calls: BTreeMap<String, u64>,
    /// Requests that SQS bills for the functions' calls: one per 64 KB of a call, at least one.
    pub sqs_units: u64,
    /// The same for the event source's calls, except those that received nothing.
    pub event_source_units: u64,
    /// Messages that the event source deleted.
    pub deleted: u64,
    /// Consumed write request units.
    pub write_units: f64,
    /// Consumed read request units.
    pub read_units: f64,
    /// The same units by operation and table, for example `PutItem MessagesTable`.
    pub by_operation: BTreeMap<String, f64>,
}

impl Meter {
    /// What has been counted so far.
    pub fn report(&self) -> MeterReport {
        self.lock().clone()
    }

    /// Starts counting from zero.
    pub fn reset(&self) {
        *self.lock() = MeterReport::default();
    }

    pub(super) fn count_call(&self, service: &str, operation: &str) {
        *self
            .lock()
            .calls
            .entry(format!("{service} {operation}"))
            .or_default() += 1;
    }

    pub(super) fn count_event_source(&self, operation: &str) {
        *self
            .lock()
            .event_source_calls
            .entry(format!("SQS {operation}"))
            .or_default() += 1;
    }

    /// Adds what SQS bills for a call with this many bytes of messages.
    pub(super) fn add_sqs_units(&self, bytes: usize) {
        self.lock().sqs_units += units(bytes);
    }

    /// The same for a call of the event source; also counts the messages that it deleted.
    pub(super) fn add_event_source_units(&self, bytes: usize, deleted: usize) {
        let mut report = self.lock();
        report.event_source_units += units(bytes);
        report.deleted += deleted as u64;
    }

    pub(super) fn add_capacity(&self, operation: &str, capacity: &Value) {
        let tables = capacity
            .as_array()
            .map_or_else(|| std::slice::from_ref(capacity), Vec::as_slice);
        let mut report = self.lock();
        for table in tables {
            let Some(units) = table["CapacityUnits"].as_f64() else {
                continue;
            };
            let name = table["TableName"].as_str().unwrap_or_default();
            let name = format!("{operation} {name}");
            *report.by_operation.entry(name).or_default() += units;
            if READS.contains(&operation) {
                report.read_units += units;
            } else {
                report.write_units += units;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, MeterReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Amazon SQS pricing: "Every 64 KB chunk of a payload is billed as 1 request".
const SQS_UNIT: usize = 64 * 1024;

fn units(bytes: usize) -> u64 {
    bytes.div_ceil(SQS_UNIT).max(1) as u64
}

impl fmt::Display for MeterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (call, count) in &self.calls {
            writeln!(f, "{call:<32} {count:>6}")?;
        }
        for (call, count) in &self.event_source_calls {
            writeln!(f, "{:<32} {count:>6}", format!("{call} (event source)"))?;
        }
        for (operation, units) in &self.by_operation {
            writeln!(f, "{:<32} {units:>6}", format!("{operation} (units)"))?;
        }
        let sqs = [
            ("SQS requests billed", self.sqs_units),
            (
                "SQS requests billed (event source)",
                self.event_source_units,
            ),
        ];
        for (name, units) in sqs {
            writeln!(f, "{name:<32} {units:>6}")?;
        }
        writeln!(f, "{:<32} {:>6}", "write request units", self.write_units)?;
        write!(f, "{:<32} {:>6}", "read request units", self.read_units)
    }
}

/// The same request, asking DynamoDB to report what it consumed.
pub(super) fn ask_for_capacity(operation: &str, body: Bytes) -> Bytes {
    if !READS.contains(&operation) && !WRITES.contains(&operation) {
        return body;
    }
    let Ok(mut request) = serde_json::from_slice::<Map<String, Value>>(&body) else {
        return body;
    };
    request.insert("ReturnConsumedCapacity".to_owned(), "TOTAL".into());
    Bytes::from(Value::from(request).to_string())
}
