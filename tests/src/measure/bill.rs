//! What AWS bills for a message, item by item: from counts of a local stack, assumptions where
//! nothing can be counted here, and list prices.

/// An item of the bill.
#[derive(Clone, Debug)]
pub struct BillItem {
    /// What is billed.
    pub name: &'static str,
    /// How much of it a message needs.
    pub quantity: f64,
    /// The unit of the quantity.
    pub unit: &'static str,
    /// Dollars per message.
    pub dollars: f64,
}

/// What was counted per message; what several messages share is divided among them.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// HTTP requests.
    pub posts: f64,
    /// Messages with an `idempotency-key`, which official clients send.
    pub keys: f64,
    /// Bytes of its payload.
    pub payload: f64,
    /// Endpoints that it goes to.
    pub deliveries: f64,
    /// Requests to endpoints.
    pub attempts: f64,
    /// Invocations of ingest.
    pub ingests: f64,
    /// Invocations of dispatchers.
    pub dispatches: f64,
    /// Write units, including those of keys.
    pub write_units: f64,
    /// Write units of the message itself: its stored KiB, rounded up.
    pub message_units: f64,
    /// Read units.
    pub read_units: f64,
    /// SQS requests that send, receive, or delete.
    pub sqs_requests: f64,
}

/// List prices of us-east-1 in dollars, as of November 2026, without free tiers.
pub(crate) mod prices {
    pub(crate) const DATE: &str = "November 2026";
    const MILLION: f64 = 1e6;
    const GB: f64 = 1e9;
    pub(crate) const HTTP_REQUEST: f64 = 1.00 / MILLION;
    pub(crate) const INVOCATION: f64 = 0.20 / MILLION;
    /// On arm64.
    pub(crate) const GB_SECOND: f64 = 0.000_013_333_4;
    pub(crate) const WRITE_UNIT: f64 = 0.625 / MILLION;
    pub(crate) const READ_UNIT: f64 = 0.125 / MILLION;
    pub(crate) const STORED_BYTE_MONTH: f64 = 0.25 / GB;
    pub(crate) const SQS_REQUEST: f64 = 0.40 / MILLION;
    /// In addition, for a message with a group ("fair queues").
    pub(crate) const FAIR_QUEUE: f64 = 0.10 / MILLION;
    pub(crate) const LOG_BYTE: f64 = 0.50 / GB;
    /// To the internet, after the first 100 GB of a month.
    pub(crate) const BYTE_OUT: f64 = 0.09 / GB;
    /// EventBridge: a custom event, per 64 KB; a delivery to an API destination.
    pub(crate) const EVENT: f64 = 1.00 / MILLION;
    pub(crate) const API_DESTINATION: f64 = 0.20 / MILLION;
    /// SNS: a publish, per 64 KB; an HTTP notification.
    pub(crate) const PUBLISH: f64 = 0.50 / MILLION;
    pub(crate) const NOTIFICATION: f64 = 0.60 / MILLION;
}

/// Assumptions, because nothing ran on AWS: ingest waits for five calls. A dispatcher also opens a
/// TLS connection, waits for the endpoint, and has a seventh of a core for its cryptography: 180 to
/// 250 ms.
pub(crate) const INGEST_SECONDS: f64 = 0.03;
pub(crate) const DISPATCH_SECONDS: f64 = 0.215;
pub(crate) const MEMORY_GB: f64 = 0.25;
/// A key's row is reserved, then finished (`cargo test budget`).
pub(crate) const KEY_WRITE_UNITS: f64 = 2.0;
/// 90 days, the default retention.
const STORED_MONTHS: f64 = 90.0 / 30.4;
/// DynamoDB adds this many bytes to each item.
const ITEM_BYTES: f64 = 100.0;
/// The auditor's four checks of a message with a delivery: 0.63 each (`cargo test a_look`), and the
/// cost of a round.
const AUDIT_READ_UNITS: f64 = 2.7;
/// Bytes of logs: API Gateway's line for a request; Lambda's and the metrics' lines for an
/// invocation; the lines for a message and for an attempt.
const REQUEST_LOG: f64 = 400.0;
const INVOCATION_LOG: f64 = 1000.0;
const MESSAGE_LOG: f64 = 200.0;
const ATTEMPT_LOG: f64 = 400.0;
/// Bytes besides the payload: in the response to a POST, which includes the message; in a request
/// to an endpoint, with its TLS handshake.
const ANSWER_BYTES: f64 = 1000.0;
const ATTEMPT_BYTES: f64 = 1500.0;

/// Dollars per invocation.
pub(crate) fn invocation(seconds: f64) -> f64 {
    prices::INVOCATION + seconds * MEMORY_GB * prices::GB_SECOND
}

/// The assumed seconds of an ingest invocation with this many messages: eight are written
/// concurrently.
fn ingest_seconds(messages: f64) -> f64 {
    INGEST_SECONDS + (messages - 1.0) / 8.0 * 0.005
}

/// Dollars for storing bytes as long as a message.
pub(crate) fn storage(bytes: f64) -> f64 {
    bytes * STORED_MONTHS * prices::STORED_BYTE_MONTH
}

impl Counted {
    fn log_bytes(&self) -> f64 {
        let invocations = self.ingests + self.dispatches;
        self.posts * REQUEST_LOG
            + invocations * INVOCATION_LOG
            + MESSAGE_LOG
            + self.attempts * ATTEMPT_LOG
    }

    fn bytes_out(&self) -> f64 {
        // Only a message that came by HTTP is answered.
        let answer = if self.posts > 0.0 {
            self.payload + ANSWER_BYTES
        } else {
            0.0
        };
        answer + self.attempts * (self.payload + ATTEMPT_BYTES)
    }

    /// An upper bound: items are smaller than the units that they are billed as.
    fn stored_bytes(&self) -> f64 {
        1024.0 * (self.message_units + self.deliveries) + ITEM_BYTES * (1.0 + self.deliveries)
    }

    /// Dollars that any design pays for this message: for its logs, its traffic and its key.
    pub(crate) fn unavoidable(&self) -> f64 {
        self.log_bytes() * prices::LOG_BYTE
            + self.bytes_out() * prices::BYTE_OUT
            + self.keys * KEY_WRITE_UNITS * prices::WRITE_UNIT
    }

    /// Every item of the bill.
    pub fn bill(&self) -> Vec<BillItem> {
        let line = |name, quantity: f64, unit, price: f64| BillItem {
            name,
            quantity,
            unit,
            dollars: quantity * price,
        };
        let key_units = self.keys * KEY_WRITE_UNITS;
        let ingest_time = self.ingests * ingest_seconds(1.0 / self.ingests);
        let dispatch_time = self.dispatches * DISPATCH_SECONDS;
        let gb_seconds = (ingest_time + dispatch_time) * MEMORY_GB;
        vec![
            line("HTTP API", self.posts, "requests", prices::HTTP_REQUEST),
            line(
                "Lambda, requests",
                self.ingests + self.dispatches,
                "requests",
                prices::INVOCATION,
            ),
            line("Lambda, time*", gb_seconds, "GB-s", prices::GB_SECOND),
            line(
                "DynamoDB, writes",
                self.write_units - key_units,
                "units",
                prices::WRITE_UNIT,
            ),
            line(
                "DynamoDB, idempotency key",
                key_units,
                "units",
                prices::WRITE_UNIT,
            ),
            line(
                "DynamoDB, reads",
                self.read_units,
                "units",
                prices::READ_UNIT,
            ),
            line(
                "DynamoDB, 90 days' storage*",
                self.stored_bytes() * STORED_MONTHS / 1e3,
                "KB-months",
                prices::STORED_BYTE_MONTH * 1e3,
            ),
            line(
                "DynamoDB, audits",
                self.deliveries * AUDIT_READ_UNITS,
                "units",
                prices::READ_UNIT,
            ),
            line(
                "SQS, requests",
                self.sqs_requests,
                "requests",
                prices::SQS_REQUEST,
            ),
            line(
                "SQS, fair queues",
                self.attempts,
                "tasks",
                prices::FAIR_QUEUE,
            ),
            line(
                "CloudWatch Logs*",
                self.log_bytes() / 1e3,
                "KB",
                prices::LOG_BYTE * 1e3,
            ),
            line(
                "Traffic to the internet*",
                self.bytes_out() / 1e3,
                "KB",
                prices::BYTE_OUT * 1e3,
            ),
        ]
    }

    /// The total.
    pub fn price(&self) -> f64 {
        self.bill().iter().map(|position| position.dollars).sum()
    }
}

/// A bill as a table, for a million messages.
pub fn table(bill: &[BillItem]) -> String {
    let mut text = String::new();
    for BillItem {
        name,
        quantity,
        unit,
        dollars,
    } in bill
    {
        text += &format!(
            "{name:<28} {quantity:>9.4} {unit:<10} {:>7.2}\n",
            dollars * 1e6
        );
    }
    let sum: f64 = bill.iter().map(|position| position.dollars).sum();
    text + &format!("{:<49} {:>7.2}\n", "a million messages, $", sum * 1e6)
}

/// What an idle stack costs per month, in dollars.
pub const IDLE: [(&str, f64); 6] = [
    (
        "KMS key ($1 more after each of its first two yearly rotations)",
        1.00,
    ),
    ("Secret of the token key", 0.40),
    (
        "Lambda's polls of two empty queues: 1.3 million SQS requests",
        0.52,
    ),
    ("Metric SchedulerLag", 0.30),
    (
        "Scheduler: 43,200 schedules, invocations of 20 ms, 1 WRU and 3.5 RRU each",
        0.10,
    ),
    ("Logs of the scheduler, 1 KB a run", 0.02),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn lone() -> Counted {
        Counted {
            posts: 1.0,
            keys: 1.0,
            payload: 2048.0,
            deliveries: 1.0,
            attempts: 1.0,
            ingests: 1.0,
            dispatches: 1.0,
            write_units: 4.0,
            message_units: 1.0,
            read_units: 2.0,
            sqs_requests: 3.0,
        }
    }

    #[test]
    fn a_bill_names_what_aws_names() {
        let dollars = |name: &str| {
            let bill = lone().bill();
            let position = bill.iter().find(|position| position.name == name);
            position.unwrap().dollars * 1e6
        };
        for (name, least, most) in [
            ("HTTP API", 1.0, 1.0),
            ("Lambda, requests", 0.4, 0.4),
            ("Lambda, time*", 0.7, 0.9),
            ("DynamoDB, writes", 1.25, 1.25),
            ("DynamoDB, idempotency key", 1.25, 1.25),
            ("DynamoDB, reads", 0.25, 0.25),
            ("DynamoDB, 90 days' storage*", 1.2, 1.7),
            ("DynamoDB, audits", 0.3, 0.35),
            ("SQS, requests", 1.2, 1.2),
            ("SQS, fair queues", 0.1, 0.1),
            ("CloudWatch Logs*", 1.45, 1.55),
            ("Traffic to the internet*", 0.5, 0.6),
        ] {
            let dollars = dollars(name);
            let fits = least - 1e-9 <= dollars && dollars <= most + 1e-9;
            assert!(fits, "{name}: {dollars}");
        }
        assert_eq!(lone().bill().len(), 12);
    }

    #[test]
    fn a_message_without_a_key_costs_two_writes_less() {
        let without = Counted {
            keys: 0.0,
            write_units: 2.0,
            ..lone()
        };
        let saved = (lone().price() - without.price()) * 1e6;
        assert!((saved - 1.25).abs() < 1e-9, "{saved}");
    }
}
