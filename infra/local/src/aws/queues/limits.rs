//! Limits of SQS that rustack does not enforce.

use rustack_sqs_model::error::SqsError;
use serde_json::{Value, json};

/// The longest delay of a message.
pub(super) const MAX_DELAY_SECONDS: i64 = 900;

/// Refuses a message that SQS would refuse.
pub(super) fn check(entry: &Value) -> Result<(), SqsError> {
    match entry["DelaySeconds"].as_i64() {
        Some(delay) if !(0..=MAX_DELAY_SECONDS).contains(&delay) => {
            Err(SqsError::invalid_parameter_value(format!(
                "Value {delay} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be \
                 >= 0 and <= {MAX_DELAY_SECONDS}."
            )))
        }
        _ => Ok(()),
    }
}

/// Removes such messages from a batch and returns their results; the others are sent.
pub(super) fn take_refused(request: &mut Value) -> Vec<Value> {
    let Some(entries) = request["Entries"].as_array_mut() else {
        return Vec::new();
    };
    let refused = entries.extract_if(.., |entry| check(entry).is_err());
    refused
        .filter_map(|entry| check(&entry).err().map(|error| result(&entry, &error)))
        .collect()
}

fn result(entry: &Value, error: &SqsError) -> Value {
    json!({
        "Id": entry["Id"], "SenderFault": true, "Code": error.code.error_type(),
        "Message": error.message,
    })
}

/// Adds those results to the batch's.
pub(super) fn add_refused(answer: &mut Value, refused: Vec<Value>) {
    match answer["Failed"].as_array_mut() {
        Some(failed) => failed.extend(refused),
        None if refused.is_empty() => {}
        None => answer["Failed"] = refused.into(),
    }
}
