//! A broken rule of a field. Whether it becomes an answer, and which, is decided where requests are
//! answered.

use serde::Serialize;
use utoipa::ToSchema;

/// A broken rule, and where it was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The path to the field, for example `["body", "channels", "0"]`.
    pub loc: Vec<String>,
    /// The rule, for a person.
    pub msg: String,
    /// The class of the rule, for a program.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

impl FieldError {
    /// A field of the request body.
    pub fn body(field: &str, msg: impl Into<String>) -> Self {
        Self::at("body", field, msg)
    }

    /// A field in another part of the request: `path`, `query` or `header`.
    pub fn at(part: &str, field: &str, msg: impl Into<String>) -> Self {
        Self {
            loc: vec![part.to_owned(), field.to_owned()],
            msg: msg.into(),
            kind: "value_error",
        }
    }

    /// A field of the body that is missing.
    pub fn missing(field: &str) -> Self {
        Self {
            kind: "value_error.missing",
            ..Self::body(field, "field required")
        }
    }

    /// The same error, where the field is inside another field or an item of a list.
    pub fn within(mut self, field: &str) -> Self {
        self.loc.insert(1, field.to_owned());
        self
    }
}
