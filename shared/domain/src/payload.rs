//! What is delivered: a text, byte for byte as it was posted, and its content type.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

use crate::json_depth::{MAX_DEPTH, is_deeper_than};

const JSON: &str = "application/json";

/// The longest content type, in bytes.
const MAX_CONTENT_TYPE_BYTES: usize = 256;

/// The text of a message. Key order, spaces and escapes of JSON are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    pub(crate) text: String,
    pub(crate) content_type: Option<ContentType>,
}

/// The value of a `content-type` header (RFC 9110, section 8.3): a type, a slash, a subtype, and
/// optional parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentType(String);

/// The text is not a content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a content type such as `text/xml`, of at most {MAX_CONTENT_TYPE_BYTES} bytes")]
pub struct ContentTypeError;

/// The text is not a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a JSON object of at most {MAX_DEPTH} levels")]
pub struct NotAnObject;

impl Payload {
    /// Any text; `application/json` without a content type.
    pub fn raw(text: String, content_type: Option<ContentType>) -> Self {
        Self { text, content_type }
    }

    /// A JSON object.
    ///
    /// # Errors
    /// When the text is not a JSON object.
    pub fn from_text(text: String) -> Result<Self, NotAnObject> {
        let payload = Self::raw(text, None);
        let is_object = payload.as_json_object().is_some();
        is_object.then_some(payload).ok_or(NotAnObject)
    }

    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value of the request's `content-type`.
    pub fn content_type(&self) -> &str {
        self.own_content_type()
            .map_or(JSON, |content_type| &content_type.0)
    }

    /// The content type that its sender set.
    pub fn own_content_type(&self) -> Option<&ContentType> {
        self.content_type.as_ref()
    }

    /// The text, if it is a JSON object that any client can parse.
    pub fn as_json_object(&self) -> Option<Box<RawValue>> {
        let is_readable = self.text.starts_with('{') && !is_deeper_than(&self.text, MAX_DEPTH);
        is_readable.then(|| serde_json::from_str(&self.text).ok())?
    }
}

impl TryFrom<String> for ContentType {
    type Error = ContentTypeError;

    fn try_from(text: String) -> Result<Self, ContentTypeError> {
        let essence = text.split(';').next().unwrap_or_default().trim_end();
        let is_type = essence
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
        let is_value = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let is_valid = is_type && is_value && text.len() <= MAX_CONTENT_TYPE_BYTES;
        is_valid.then_some(Self(text)).ok_or(ContentTypeError)
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_token)
}

impl From<ContentType> for String {
    fn from(content_type: ContentType) -> Self {
        content_type.0
    }
}

/// As it travels in a task: a JSON object unchanged, which is the usual case and costs nothing;
/// anything else as a list of its text and its content type.
impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.content_type.is_none() && self.text.starts_with('{') {
            // White space around it is not part of a JSON value.
            let json: Option<&RawValue> = serde_json::from_str(&self.text).ok();
            if let Some(json) = json.filter(|json| json.get().len() == self.text.len()) {
                return json.serialize(to);
            }
        }
        let raw = (&self.text, &self.content_type);
        let raw = serde_json::value::to_raw_value(&raw).map_err(S::Error::custom)?;
        raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(from)?;
        if json.get().starts_with('{') {
            return Ok(Self::raw(json.get().to_owned(), None));
        }
        let (text, content_type) = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        Ok(Self { text, content_type })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_content_type_is_refused() {
        for good in [
            "text/xml",
            "application/json; charset=utf-8",
            "application/vnd.a.b+json;version=1",
            "a/b; c=\"d e\"",
        ] {
            assert!(ContentType::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "text",
            "/",
            "text/",
            "/xml",
            "te xt/xml",
            "a/b\n",
            "a/b\r\nx: y",
            "a/b; é",
            "a/b\0",
        ] {
            assert!(ContentType::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        let long = format!("a/{}", "b".repeat(MAX_CONTENT_TYPE_BYTES - 2));
        assert!(ContentType::try_from(long.clone()).is_ok());
        assert!(ContentType::try_from(format!("{long}b")).is_err());
    }

    #[test]
    fn a_payload_travels_as_it_is() {
        let xml = ContentType::try_from("text/xml".to_owned()).ok();
        for (payload, wire) in [
            (
                Payload::raw(r#"{ "a" : 1.0 }"#.to_owned(), None),
                r#"{ "a" : 1.0 }"#,
            ),
            (
                Payload::raw("<a/>".to_owned(), xml.clone()),
                r#"["<a/>","text/xml"]"#,
            ),
            (Payload::raw("{}".to_owned(), xml), r#"["{}","text/xml"]"#),
            (
                Payload::raw("{ \"a\" : 1 } ".to_owned(), None),
                r#"["{ \"a\" : 1 } ",null]"#,
            ),
            (Payload::raw("{\n}".to_owned(), None), "{\n}"),
            (
                Payload::raw("{broken".to_owned(), None),
                r#"["{broken",null]"#,
            ),
            (Payload::raw(String::new(), None), r#"["",null]"#),
        ] {
            assert_eq!(serde_json::to_string(&payload).unwrap(), wire);
            assert_eq!(serde_json::from_str::<Payload>(wire).unwrap(), payload);
        }
    }
}
