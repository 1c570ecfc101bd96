//! Reads a JSON request body into a type, and says which field is wrong when it cannot.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};
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
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(way(&path));
    let known = serde_ignored::Deserializer::new(&mut json, &mut note);
    let value = serde_path_to_error::deserialize(known);
    let value = match value {
        Err(error) if error.inner().classify() != Category::Data => {
            // serde_json says so as well of JSON that it cannot keep.
            return Err(match serde_json::from_slice::<IgnoredAny>(body) {
                Ok(_) => locate("body", error.path(), unkept(&error.inner().to_string())),
                Err(error) => not_json(&error),
            });
        }
        value => value,
    };
    refuse_unknown(body, &unknown)?;
    let value =
        value.map_err(|error| locate("body", error.path(), rule(&error.inner().to_string())))?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// The deepest nesting of JSON that is taken and shown, in levels: parsers of many clients give up soon after.
pub const MAX_DEPTH: usize = 100;

/// The rule that [`MAX_DEPTH`] is.
pub const TOO_DEEP: &str = "must not be nested deeper than 100 levels";

/// Whether JSON has more levels of objects and lists than this. Other text may count as well: its brackets do.
pub fn is_deeper_than(json: &str, levels: usize) -> bool {
    let (mut depth, mut is_string, mut is_escaped) = (0_usize, false, false);
    for byte in json.as_bytes() {
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

/// A field that the contract has and Posthorn does not: null says nothing, and any value is refused.
#[derive(Clone, Copy, Debug)]
pub struct Unsupported;

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(from)?;
        Err(D::Error::custom("is not supported"))
    }
}

/// Fields that official clients send and that change nothing here; docs/api.md says why of each.
const HARMLESS: [&str; 5] = ["createdAt", "disabledReason", "id", "updatedAt", "version"];

/// Where those may be: in a body, in a message of the queue, and in an application that one of them brings along.
const HARMLESS_IN: [&[&str]; 4] = [
    &[],
    &["application"],
    &["message"],
    &["message", "application"],
];

/// Refuses the first field that the type does not know. Null is the same as absent.
fn refuse_unknown(body: &[u8], unknown: &[Vec<String>]) -> Result<(), FieldError> {
    let is_null = |way: &[String]| match serde_json::from_slice(body) {
        Ok(body) => values(body, way).iter().all(|text| text.get() == "null"),
        Err(_) => false,
    };
    let refused = unknown
        .iter()
        .find(|way| !is_harmless(way) && !is_null(way));
    refused.map_or(Ok(()), |way| {
        let mut loc = vec!["body".to_owned()];
        loc.extend_from_slice(way);
        Err(unknown_field(loc))
    })
}

fn is_harmless(way: &[String]) -> bool {
    way.split_last().is_some_and(|(name, parents)| {
        HARMLESS.contains(&&**name) && HARMLESS_IN.iter().any(|known| parents == *known)
    })
}

/// All values at the end of a way: more than one where a name is given twice.
fn values<'a>(body: &'a RawValue, way: &[String]) -> Vec<&'a RawValue> {
    let step = |found: Vec<&'a RawValue>, name: &String| {
        let inner = found.into_iter().map(|text| members(text, name));
        inner.collect::<Vec<_>>().concat()
    };
    way.iter().fold(vec![body], step)
}

/// The members of that name of an object, or the item of that index of a list.
fn members<'a>(text: &'a RawValue, name: &str) -> Vec<&'a RawValue> {
    if text.get().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text.get()).unwrap_or_default();
        let index = name.parse().ok();
        return index
            .and_then(|index: usize| items.get(index).copied())
            .into_iter()
            .collect();
    }
    let Members(all) = serde_json::from_str(text.get()).unwrap_or_default();
    let named = all.into_iter().filter(|(own, _)| own == name);
    named.map(|(_, value)| value).collect()
}

/// The members of a JSON object, also those whose name is given twice.
#[derive(Default)]
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(EveryMember)
    }
}

struct EveryMember;

impl<'de> Visitor<'de> for EveryMember {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(member) = map.next_entry()? {
            all.push(member);
        }
        Ok(Members(all))
    }
}

/// The error for a field that an operation does not know.
pub fn unknown_field(loc: Vec<String>) -> FieldError {
    FieldError {
        loc,
        msg: "is not supported".to_owned(),
        kind: "value_error.extra",
    }
}

/// The names on the way to a field.
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

/// A deserializer's message as a rule in our words.
fn in_our_words(text: &str) -> String {
    let is_of_parser = PARSERS_BEGINNINGS.iter().any(|it| text.starts_with(it));
    // The caller's own text stands before what was expected, and may hold these words as well.
    if let Some((_, expected)) = text.rsplit_once(", expected ").filter(|_| is_of_parser) {
        return format!("must be {}", kind_of(expected));
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

/// How serde's messages begin that say what was expected.
const PARSERS_BEGINNINGS: [&str; 4] = [
    "invalid type: ",
    "invalid value: ",
    "invalid length ",
    "unknown variant ",
];

/// What is wrong with JSON that is valid and cannot be kept, by serde_json's message.
fn unkept(text: &str) -> &'static str {
    let is_about = |words: &[&str]| words.iter().any(|it| text.starts_with(it));
    if is_about(&[
        "lone leading surrogate",
        "unexpected end of hex escape",
        "invalid unicode",
    ]) {
        "must be valid Unicode"
    } else if is_about(&["number out of range"]) {
        "must be a smaller number"
    } else {
        "must be of another type"
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

/// Refuses two names of one field that say different things.
///
/// # Errors
/// When both are given and differ; `older` is named.
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
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_position = |text: &str| {
        let numbers = text.split_once(" column ");
        numbers.is_some_and(|(line, column)| is_number(line) && is_number(column))
    };
    match text.rsplit_once(" at line ") {
        Some((rule, position)) if is_position(position) => rule,
        _ => text,
    }
}

/// Turns a deserializer's error at a path into the API's error; `part` is `body` or `query`.
pub fn locate(part: &str, path: &Path, text: &str) -> FieldError {
    let mut loc = vec![part.to_owned()];
    loc.extend(path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }));
    // serde reports these at the field's parent; only the message has the name.
    let named = |beginning: &str| text.strip_prefix(beginning)?.split('`').next();
    let (field, msg, kind) = match (named("missing field `"), named("duplicate field `")) {
        (Some(field), _) => (
            Some(field),
            "field required".to_owned(),
            "value_error.missing",
        ),
        (_, Some(field)) => (
            Some(field),
            "must not be given twice".to_owned(),
            "value_error",
        ),
        _ => (None, in_our_words(text), "value_error"),
    };
    loc.extend(field.map(str::to_owned));
    FieldError { loc, msg, kind }
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
        for more in [
            r#""deliverAt":null"#,
            r#""deliverAt":null,"deliverAt":null"#,
            r#""a/b":null,"c~d":null,"":null"#,
            r#""version":3"#,
        ] {
            let body = format!(r#"{{"eventType":"a",{more}}}"#);
            assert!(parse_body::<Form>(body.as_bytes()).is_ok(), "{body}");
        }
        for doubled in ["5,\"x\":null", "null,\"x\":5", "{\"x\":null}"] {
            let body = format!(r#"{{"eventType":"a","x":{doubled}}}"#);
            assert_eq!(location(&body), ["body", "x"], "{body}");
        }
    }

    #[test]
    fn harmless_fields_are_so_where_things_are_that_can_be_read() {
        let way = |way: &str| way.split('.').map(str::to_owned).collect::<Vec<_>>();
        for harmless in [
            "id",
            "application.id",
            "message.id",
            "message.application.version",
        ] {
            assert!(is_harmless(&way(harmless)), "{harmless}");
        }
        for not in [
            "transformationsParams.id",
            "message.x.id",
            "message",
            "id.id",
        ] {
            assert!(!is_harmless(&way(not)), "{not}");
        }
    }

    #[test]
    fn a_field_given_twice_or_with_what_cannot_be_kept_is_named() {
        for (body, field, msg) in [
            (
                &br#"{"eventType":"a","eventType":"b"}"#[..],
                "eventType",
                "must not be given twice",
            ),
            (
                br#"{"eventType":"a\ud800b"}"#,
                "eventType",
                "must be valid Unicode",
            ),
            (
                br#"{"eventType":"a\ud800"}"#,
                "eventType",
                "must be valid Unicode",
            ),
            (
                b"{\"eventType\":\"\xff\"}",
                "eventType",
                "must be valid Unicode",
            ),
            (
                br#"{"eventType":1e400}"#,
                "eventType",
                "must be a smaller number",
            ),
        ] {
            let error = parse_body::<Form>(body).unwrap_err();
            assert_eq!(
                (error.loc[1..].join("."), &*error.msg),
                (field.to_owned(), msg)
            );
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
            (
                "invalid type: string \"x, expected y\", expected i64",
                "must be a whole number",
            ),
            (
                "unknown variant `x, expected `Secret`, said at line 5`, expected one of `a`, `b`",
                "must be one of `a`, `b`",
            ),
            ("must be unique", "must be unique"),
            (
                "`x, expected y` is not a header name",
                "`x, expected y` is not a header name",
            ),
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
    }

    #[test]
    fn any_depth_is_read_without_a_stack() {
        let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000));
        assert_eq!(location(&format!(r#"{{"x":{deep}}}"#)), ["body", "x"]);
        let wrong = format!(r#"{{"eventType":{deep}}}"#);
        assert_eq!(location(&wrong), ["body", "eventType"]);
    }

    #[test]
    fn only_a_position_is_left_out_of_a_rule() {
        assert_eq!(rule("must be so at line 1 column 20"), "must be so");
        assert_eq!(rule("`x at line 5` is wrong"), "`x at line 5` is wrong");
    }

    #[test]
    fn broken_json_is_named_as_such() {
        let error = parse_body::<Form>(b"{\"eventType\":").unwrap_err();
        assert_eq!(error.kind, "value_error.jsondecode");
        assert!(parse_body::<Form>(b"{\"eventType\":\"a\"} x").is_err());
    }
}
