//! Metrics: CloudWatch reads them from a log line (Amazon CloudWatch: "Embedded metric format
//! specification"), so a metric costs no call. What an invocation records is printed as one line at
//! its end.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value, json};

use crate::now;

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Posthorn";

/// Their only dimension, the function's name: metrics per endpoint or application would be billed
/// one by one.
pub const DIMENSION: &str = "Function";

/// A second dimension of [`BY_VERSION`]: the function's version.
pub const VERSION: &str = "Version";

/// Metrics that also exist per version, so that the alarm of a gradual deployment sees only the new
/// version. They are rare, and cost nothing while they are not printed.
pub const BY_VERSION: [Metric; 2] = [Metric::RequestFaults, Metric::TaskFaults];

/// The most values of one metric that a line may hold (Embedded metric format specification:
/// "Target members"), as many as a batch may have records.
const MAX_VALUES: usize = 100;

macro_rules! metrics {
    ($($(#[$doc:meta])+ $name:ident: $unit:ident,)+) => {
        /// A quantity that is counted or measured.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric {
            $($(#[$doc])+ $name,)+
        }

        impl Metric {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its name in CloudWatch.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// Its unit in CloudWatch.
            pub fn unit(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($unit),)+
                }
            }
        }
    };
}

metrics! {
    /// Messages that were answered with 202.
    MessagesAccepted: Count,
    /// Requests that a function answered with 5xx.
    RequestFaults: Count,
    /// Requests without a valid token.
    TokensRefused: Count,
    /// Requests made to endpoints.
    Attempts: Count,
    /// Attempts that were answered with 2xx.
    Attempts2xx: Count,
    /// Attempts that were answered with 1xx or 3xx: redirects are not followed.
    Attempts3xx: Count,
    /// Attempts that were answered with 4xx.
    Attempts4xx: Count,
    /// Attempts that were answered with 5xx.
    Attempts5xx: Count,
    /// Attempts without a response: timeouts, resets, names that do not resolve.
    AttemptsUnanswered: Count,
    /// Attempts that were answered with 429: the endpoint has too many requests.
    AttemptsThrottled: Count,
    /// The time from a message's request to its first attempt at an endpoint, for customers'
    /// messages whose payload travels in the task and which no pause or rate delayed.
    FirstAttemptLatency: Milliseconds,
    /// Deliveries that were accepted.
    DeliveriesSucceeded: Count,
    /// Deliveries whose last attempt failed.
    DeliveriesExhausted: Count,
    /// Deliveries that end without another attempt: the endpoint is disabled, the message expired or was
    /// expunged, or the endpoint's secrets cannot be opened.
    DeliveriesSkipped: Count,
    /// Endpoints that were disabled because they kept failing, or answered that they are gone.
    EndpointsDisabled: Count,
    /// Tasks that were put back into the queue because of a pause, a rate or lack of time.
    TasksPutBack: Count,
    /// Tasks that failed because of an error in Posthorn or AWS; after five failures a task goes to
    /// the dead-letter queue.
    TaskFaults: Count,
    /// Attempts that the scheduler queued.
    TasksScheduled: Count,
    /// How overdue the oldest attempt was when a run of the scheduler queued it; 0 while the
    /// scheduler keeps up.
    SchedulerLag: Seconds,
    /// Messages that the auditor checked.
    MessagesAudited: Count,
    /// Lost tasks that the auditor queued again.
    TasksRepaired: Count,
}

/// What the current invocation has recorded. A process handles one invocation at a time.
static RECORDED: Mutex<BTreeMap<Metric, Vec<u64>>> = Mutex::new(BTreeMap::new());

fn recorded() -> MutexGuard<'static, BTreeMap<Metric, Vec<u64>>> {
    RECORDED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds to a count.
pub fn count(metric: Metric, n: u64) {
    let mut recorded = recorded();
    let values = recorded.entry(metric).or_insert_with(|| vec![0]);
    values[0] += n;
}

/// Records a value, in the metric's unit.
pub fn measure(metric: Metric, value: u64) {
    let mut recorded = recorded();
    let values = recorded.entry(metric).or_default();
    if values.len() < MAX_VALUES {
        values.push(value);
    }
}

/// Does the work of an invocation, then prints what it recorded, if anything, as one line.
pub async fn flushed<T>(work: impl Future<Output = T>) -> T {
    let done = work.await;
    flush();
    done
}

fn flush() {
    let recorded = std::mem::take(&mut *recorded());
    if recorded.is_empty() {
        return;
    }
    let variable = |name| std::env::var(name).unwrap_or_default();
    let function = variable("AWS_LAMBDA_FUNCTION_NAME");
    let version = variable("AWS_LAMBDA_FUNCTION_VERSION");
    println!(
        "{}",
        line(&recorded, &function, &version, now().as_millis())
    );
}

/// Tells CloudWatch to extract some metrics under these dimensions.
fn directive<'a>(dimensions: &[&str], metrics: impl Iterator<Item = &'a Metric>) -> Value {
    let metrics: Vec<_> = metrics
        .map(|metric| json!({ "Name": metric.name(), "Unit": metric.unit() }))
        .collect();
    json!({ "Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics })
}

fn line(
    recorded: &BTreeMap<Metric, Vec<u64>>,
    function: &str,
    version: &str,
    at_millis: i64,
) -> Value {
    let mut directives = vec![directive(&[DIMENSION], recorded.keys())];
    let by_version = || recorded.keys().filter(|metric| BY_VERSION.contains(metric));
    let is_by_version = by_version().next().is_some();
    if is_by_version {
        directives.push(directive(&[DIMENSION, VERSION], by_version()));
    }
    let value = |values: &[u64]| match values {
        [one] => json!(one),
        many => json!(many),
    };
    let values = recorded.iter();
    let mut line: Map<String, Value> = values
        .map(|(metric, values)| (metric.name().to_owned(), value(values)))
        .collect();
    line.insert(DIMENSION.to_owned(), json!(function));
    if is_by_version {
        line.insert(VERSION.to_owned(), json!(version));
    }
    line.insert(
        "_aws".to_owned(),
        json!({ "Timestamp": at_millis, "CloudWatchMetrics": directives }),
    );
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_metrics() {
        let recorded = BTreeMap::from([
            (Metric::Attempts, vec![3]),
            (Metric::FirstAttemptLatency, vec![12, 40]),
        ]);
        let line = line(&recorded, "F", "7", 5);
        let metrics = json!([
            { "Name": "Attempts", "Unit": "Count" },
            { "Name": "FirstAttemptLatency", "Unit": "Milliseconds" },
        ]);
        let directive =
            json!({ "Namespace": "Posthorn", "Dimensions": [["Function"]], "Metrics": metrics });
        let aws = json!({ "Timestamp": 5, "CloudWatchMetrics": [directive] });
        assert_eq!(
            line,
            json!({ "Attempts": 3, "FirstAttemptLatency": [12, 40], "Function": "F", "_aws": aws })
        );
    }

    #[test]
    fn faults_are_counted_for_each_version_as_well() {
        let recorded = BTreeMap::from([(Metric::Attempts, vec![3]), (Metric::TaskFaults, vec![2])]);
        let line = line(&recorded, "F", "7", 5);
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        let [all, by_version] = directives.as_slice() else {
            panic!("{line}")
        };
        assert_eq!(all["Dimensions"], json!([["Function"]]));
        assert_eq!(all["Metrics"].as_array().unwrap().len(), 2);
        assert_eq!(by_version["Dimensions"], json!([["Function", "Version"]]));
        assert_eq!(
            by_version["Metrics"],
            json!([{ "Name": "TaskFaults", "Unit": "Count" }])
        );
        assert_eq!(
            (&line["Function"], &line["Version"]),
            (&json!("F"), &json!("7"))
        );
    }

    #[test]
    fn a_line_holds_a_hundred_values_of_a_metric() {
        for value in 0..200 {
            measure(Metric::SchedulerLag, value);
        }
        count(Metric::TasksRepaired, 2);
        count(Metric::TasksRepaired, 3);
        let recorded = std::mem::take(&mut *recorded());
        assert_eq!(recorded[&Metric::SchedulerLag].len(), MAX_VALUES);
        assert_eq!(recorded[&Metric::TasksRepaired], [5]);
    }
}
