//! Reads a JSON request body into a type, and says which field is wrong when it cannot.

mod unknown;
mod words;

use posthorn_domain::error::FieldError;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, IgnoredAny},
};
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

pub use unknown::unknown_field;

use self::{
    unknown::{refuse_unknown, way},
    words::{in_our_words, rule, unkept},
};

/// Parses a request body; the type's own conversions (`TryFrom`) are the rules.
///
/// # Errors
/// A [`FieldError`] whose `loc` names the first wrong or missing field.
pub fn parse_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, FieldError> {
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
            // serde_json reports the same for valid JSON that it cannot represent.
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
mod tests;
