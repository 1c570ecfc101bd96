//! Reads a JSON request body into a type, and says which field is wrong when it cannot.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, IgnoredAny},
};
use serde_json::{Value, error::Category, value::RawValue};
use serde_path_to_error::{Path, Segment};

use crate::error::FieldError;

/// Parses a request body; the type's own conversions (`TryFrom`) are the rules.
///
/// # Errors
/// A [`FieldError`] whose `loc` names the first wrong or missing field.
pub fn parse_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, FieldError> {
    if is_deeper(body, MAX_DEPTH + OUTER_DEPTH) {
        return Err(too_deep(body));
    }
    // serde would accept an array as a struct, field by field.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    if !is_object && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        return Err(FieldError {
            loc: vec!["body".to_owned()],
            msg: "must be a JSON object".to_owned(),
            kind: "value_error",
        });
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(way(&path));
    let known = serde_ignored::Deserializer::new(&mut json, &mut note);
    let value = serde_path_to_error::deserialize(known);
    let value = match value {
        Err(error) if error.inner().classify() != Category::Data => {
            // serde_json reports the same for valid JSON where it expects a string.
            return Err(match serde_json::from_slice::<IgnoredAny>(body) {
                Ok(_) => locate("body", error.path(), "must be of another type"),
                Err(error) => not_json(&error),
            });
        }
        value => value,
    };
    refuse_unknown(body, unknown)?;
    let value =
        value.map_err(|error| locate("body", error.path(), rule(&error.inner().to_string())))?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// The deepest nesting of JSON that is accepted and shown, in levels: many clients' parsers give up
/// soon after.
pub const MAX_DEPTH: usize = 100;

/// The levels around a payload or a schema in a body.
const OUTER_DEPTH: usize = 4;

/// The message for JSON deeper than [`MAX_DEPTH`].
pub const TOO_DEEP: &str = "must not be nested deeper than 100 levels";

/// Whether JSON has more levels of objects and lists than this. For text that is not JSON, its
/// brackets count.
pub fn is_deeper_than(json: &str, levels: usize) -> bool {
    is_deeper(json.as_bytes(), levels)
}

fn is_deeper(json: &[u8], levels: usize) -> bool {
    let (mut depth, mut is_string, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b'{' | b'[' if !is_string => depth += 1,
            b'}' | b']' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > levels {
            return true;
        }
    }
    false
}

/// The error for the field of the body that is nested too deeply.
fn too_deep(body: &[u8]) -> FieldError {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).unwrap_or_default();
    let is_deep = |text: &RawValue| is_deeper_than(text.get(), MAX_DEPTH);
    let deep = fields.into_iter().find(|(_, text)| is_deep(text));
    let names = deep.map(|(name, _)| name);
    FieldError {
        loc: std::iter::once("body".to_owned()).chain(names).collect(),
        msg: TOO_DEEP.to_owned(),
        kind: "value_error",
    }
}

/// A field of the contract that Posthorn does not support: null is ignored, and any value is
/// refused.
#[derive(Clone, Copy, Debug)]
pub struct Unsupported;

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(from)?;
        Err(D::Error::custom("is not supported"))
    }
}

/// Fields that official clients send and that have no effect here; docs/api.md says why for each.
const HARMLESS: [&str; 4] = ["createdAt", "id", "updatedAt", "version"];

/// Refuses the first field that the type does not know. Null counts as absent.
fn refuse_unknown(body: &[u8], unknown: Vec<Vec<String>>) -> Result<(), FieldError> {
    if unknown.is_empty() {
        return Ok(());
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    for way in unknown {
        let is_null = body.pointer(&format!("/{}", way.join("/"))) == Some(&Value::Null);
        let is_harmless = matches!(&*way, [name] if HARMLESS.contains(&&**name));
        if !is_null && !is_harmless {
            let mut loc = vec!["body".to_owned()];
            loc.extend(way);
            return Err(unknown_field(loc));
        }
    }
    Ok(())
}

/// The error for a field that an operation does not know.
pub fn unknown_field(loc: Vec<String>) -> FieldError {
    FieldError {
        loc,
        msg: "is not supported".to_owned(),
        kind: "value_error.extra",
    }
}

/// The names on the path to a field.
fn way(path: &serde_ignored::Path<'_>) -> Vec<String> {
    use serde_ignored::Path;
    match path {
        Path::Root => Vec::new(),
        Path::Seq { parent, index } => [way(parent), vec![index.to_string()]].concat(),
        Path::Map { parent, key } => [way(parent), vec![key.clone()]].concat(),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => way(parent),
    }
}

/// Turns a deserializer's message into a rule in the API's own words.
fn in_our_words(text: &str) -> String {
    if let Some((_, expected)) = text.split_once(", expected ") {
        return format!("must be {}", kind_of(expected));
    }
    if text.starts_with("duplicate field") {
        return "must not be given twice".to_owned();
    }
    match text {
        "provided string was not `true` or `false`" => "must be true or false".to_owned(),
        "invalid digit found in string"
        | "cannot parse integer from empty string"
        | "number too large to fit in target type"
        | "number too small to fit in target type" => "must be a whole number".to_owned(),
        rule => rule.to_owned(),
    }
}

/// What a value must be, for people who do not know Rust.
fn kind_of(expected: &str) -> &str {
    match expected {
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "unit" => "null",
        "a map" => "a JSON object",
        of if of.starts_with("struct ") || of.starts_with("internally tagged") => "a JSON object",
        of if of.starts_with("any valid JSON") || of.starts_with("any value") => "any JSON value",
        of => of,
    }
}

/// Refuses two names of one field with different values.
///
/// # Errors
/// When both are given and differ; the error names `older`.
pub fn check_same<T: PartialEq>(
    (newer, value): (&str, Option<&T>),
    (older, other): (&str, Option<&T>),
) -> Result<(), FieldError> {
    match (value, other) {
        (Some(value), Some(other)) if value != other => Err(FieldError::body(
            older,
            format!("must be the same as {newer}, its newer name"),
        )),
        _ => Ok(()),
    }
}

/// The most bytes of a stored application or endpoint: ingest reads an application with all its
/// endpoints for every message.
pub const MAX_ENTITY_BYTES: usize = 64 * 1024;

/// Refuses an entity that would make every message expensive, or would not fit an item of the table
/// (400 KB).
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

/// The rule without the position that serde_json appends: the field's name says more.
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
        None => (&*in_our_words(text), "value_error"),
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
        msg: format!(
            "not valid JSON at line {}, column {}",
            error.line(),
            error.column()
        ),
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
    fn an_unknown_field_is_refused_unless_it_is_null_or_harmless() {
        for body in [
            r#"{"eventType":"a","deliverAt":"x"}"#,
            r#"{"deliverAt":{"a":[1]}}"#,
        ] {
            assert_eq!(location(body), ["body", "deliverAt"], "{body}");
        }
        for more in [r#""deliverAt":null"#, r#""version":3"#] {
            let body = format!(r#"{{"eventType":"a",{more}}}"#);
            assert!(parse_body::<Form>(body.as_bytes()).is_ok(), "{body}");
        }
    }

    #[test]
    fn a_rule_is_told_in_our_words() {
        for (text, rule) in [
            ("invalid digit found in string", "must be a whole number"),
            (
                "invalid type: string \"x\", expected u16",
                "must be a whole number, not negative",
            ),
            (
                "unknown variant `x`, expected `ascending` or `descending`",
                "must be `ascending` or `descending`",
            ),
            (
                "invalid type: integer `5`, expected a map",
                "must be a JSON object",
            ),
            (
                "invalid type: sequence, expected struct RecoverIn",
                "must be a JSON object",
            ),
            ("must be unique", "must be unique"),
        ] {
            assert_eq!(in_our_words(text), rule);
        }
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
    fn nesting_is_counted_outside_of_strings() {
        for (json, depth) in [
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[1,{"b":[]}]}"#, 4),
            (r#"["[[[[","\"[[","\\"]"#, 1),
            (r#"[[],[],[[]]]"#, 3),
        ] {
            assert!(!is_deeper_than(json, depth), "{json}");
            assert!(depth == 0 || is_deeper_than(json, depth - 1), "{json}");
        }
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(60_000), "]".repeat(60_000));
        let error = parse_body::<Form>(deep.as_bytes()).unwrap_err();
        assert_eq!(
            (error.loc, error.msg.as_str()),
            (vec!["body".to_owned(), "x".to_owned()], TOO_DEEP)
        );
    }

    #[test]
    fn broken_json_is_named_as_such() {
        let error = parse_body::<Form>(b"{\"eventType\":").unwrap_err();
        assert_eq!(error.kind, "value_error.jsondecode");
        assert!(parse_body::<Form>(b"{\"eventType\":\"a\"} x").is_err());
    }
}
