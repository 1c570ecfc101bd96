//! Metrics: CloudWatch reads them from a line of the log (Amazon CloudWatch: "Embedded metric format
//! specification"), so a metric costs no call.

use serde_json::{Map, Value, json};

use crate::now;

/// The namespace of all metrics.
const NAMESPACE: &str = "Posthorn";

/// Prints counts as one line. Their only dimension is the function: a metric per endpoint or
/// application would be billed for each.
pub fn emit(counts: &[(&str, u64)]) {
    let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    println!("{}", line(counts, &function, now().as_millis()));
}

fn line(counts: &[(&str, u64)], function: &str, at_millis: i64) -> Value {
    let metric = |(name, _): &(&str, u64)| json!({ "Name": name, "Unit": "Count" });
    let directive = json!({
        "Namespace": NAMESPACE,
        "Dimensions": [["Function"]],
        "Metrics": counts.iter().map(metric).collect::<Vec<_>>(),
    });
    let values = counts
        .iter()
        .map(|(name, count)| ((*name).to_owned(), json!(count)));
    let mut line: Map<String, Value> = values.collect();
    line.insert("Function".to_owned(), json!(function));
    line.insert(
        "_aws".to_owned(),
        json!({ "Timestamp": at_millis, "CloudWatchMetrics": [directive] }),
    );
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_metrics() {
        let line = line(&[("A", 1), ("B", 0)], "F", 5);
        let metrics = json!([{ "Name": "A", "Unit": "Count" }, { "Name": "B", "Unit": "Count" }]);
        let directive =
            json!({ "Namespace": "Posthorn", "Dimensions": [["Function"]], "Metrics": metrics });
        let aws = json!({ "Timestamp": 5, "CloudWatchMetrics": [directive] });
        assert_eq!(
            line,
            json!({ "A": 1, "B": 0, "Function": "F", "_aws": aws })
        );
    }
}
