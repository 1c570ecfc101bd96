//! Reads a JSON request body into a type, and says which field is wrong when it cannot.

use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::error::FieldError;

/// Parses a request body; the type's own conversions (`TryFrom`) are the rules.
///
/// # Errors
/// A [`FieldError`] whose `loc` names the first wrong or missing field.
pub fn parse_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, FieldError> {
    // serde would take an array for a struct, field by field.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    if !is_object && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        return Err(FieldError {
            loc: vec!["body".to_owned()],
            msg: "must be a JSON object".to_owned(),
            kind: "value_error",
        });
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        match error.inner().classify() {
            Category::Data => locate("body", error.path(), rule(&error.inner().to_string())),
            _ => not_json(error.inner()),
        }
    })?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// Bytes of what is stored of one application or endpoint: ingest reads an application with all its
/// endpoints for every message.
pub const MAX_ENTITY_BYTES: usize = 64 * 1024;

/// Refuses what would make every message expensive, or not fit an item of the table (400 KB).
///
/// # Errors
/// When the entity as JSON is longer than `max` bytes.
pub fn check_size(entity: &impl Serialize, max: usize) -> Result<(), FieldError> {
    let bytes = serde_json::to_string(entity).map_or(0, |text| text.len());
    if bytes > max {
        return Err(FieldError {
            loc: vec!["body".to_owned()],
            msg: format!("all fields must have at most {max} bytes together"),
            kind: "value_error",
        });
    }
    Ok(())
}

/// The rule without the position that serde_json adds: the field's name says more.
fn rule(text: &str) -> &str {
    text.rsplit_once(" at line ").map_or(text, |(rule, _)| rule)
}

/// Turns a deserializer's error at a path into the API's error; `part` is `body` or `query`.
pub fn locate(part: &str, path: &Path, text: &str) -> FieldError {
    let mut loc = vec![part.to_owned()];
    loc.extend(path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }));
    // serde reports a missing field at its parent; only the message has the name.
    let missing = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next());
    let (msg, kind) = match missing {
        Some(field) => {
            loc.push(field.to_owned());
            ("field required", "value_error.missing")
        }
        None => (text, "value_error"),
    };
    FieldError {
        loc,
        msg: msg.to_owned(),
        kind,
    }
}

fn not_json(error: &serde_json::Error) -> FieldError {
    FieldError {
        loc: vec!["body".to_owned()],
        msg: format!("not valid JSON: {error}"),
        kind: "value_error.jsondecode",
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::name::Channel;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Form {
        #[expect(dead_code, reason = "only parsing is tested")]
        event_type: String,
        #[expect(dead_code, reason = "only parsing is tested")]
        channels: Option<Vec<Channel>>,
    }

    fn location(body: &str) -> Vec<String> {
        parse_body::<Form>(body.as_bytes()).unwrap_err().loc
    }

    #[test]
    fn the_wrong_field_is_named() {
        assert_eq!(location(r#"{"channels":[]}"#), ["body", "eventType"]);
        assert_eq!(location(r#"{"eventType":5}"#), ["body", "eventType"]);
        assert_eq!(
            location(r#"{"eventType":"a","channels":["x","a b"]}"#),
            ["body", "channels", "1"]
        );
    }

    #[test]
    fn a_body_is_an_object() {
        for body in ["[\"a\", null]", "null", "5", "\"a\""] {
            let error = parse_body::<Form>(body.as_bytes()).unwrap_err();
            assert_eq!(
                (error.loc, error.msg.as_str()),
                (vec!["body".to_owned()], "must be a JSON object")
            );
        }
    }

    #[test]
    fn broken_json_is_named_as_such() {
        let error = parse_body::<Form>(b"{\"eventType\":").unwrap_err();
        assert_eq!(error.kind, "value_error.jsondecode");
        assert!(parse_body::<Form>(b"{\"eventType\":\"a\"} x").is_err());
    }
}
