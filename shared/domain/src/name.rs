//! Identifiers that customers choose: letters, digits and a few other characters, up to a length.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, ObjectBuilder, RefOr, Schema, schema::Type},
};

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text has no character.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than the contract allows.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The longest length allowed.
        max: usize,
    },
    /// A character is outside the set.
    #[error("may hold only letters, digits, {others}")]
    Character {
        /// The other characters that are allowed, as a list.
        others: &'static str,
    },
    /// HTTP clients remove such a segment from a path (RFC 3986, section 5.2.4).
    #[error("must not be `.` or `..`, which no path can name")]
    Dots,
}

/// What an identifier may be.
struct Rules {
    max: usize,
    /// Characters allowed besides letters, digits, `-`, `_` and `.`.
    more: &'static [u8],
    /// All allowed characters other than letters and digits, as error texts name them.
    others: &'static str,
    /// The contract's pattern.
    pattern: &'static str,
    /// Whether a path may name it.
    is_in_paths: bool,
}

/// Identifiers that stand in paths.
const fn name(max: usize) -> Rules {
    Rules {
        max,
        more: b"",
        others: "`-`, `_` and `.`",
        pattern: r"^[a-zA-Z0-9\-_.]+$",
        is_in_paths: true,
    }
}

const CHANNEL: Rules = Rules {
    max: 128,
    more: b":+",
    others: "`-`, `_`, `.`, `:` and `+`",
    pattern: r"^[a-zA-Z0-9\-_.:+]+$",
    is_in_paths: false,
};

const TAG: Rules = Rules {
    max: 128,
    more: br"/\#",
    others: r"`-`, `_`, `.`, `/`, `\` and `#`",
    pattern: r"^[a-zA-Z0-9\-_./\\#]+$",
    is_in_paths: false,
};

impl Rules {
    fn check(&self, text: &str) -> Result<(), NameError> {
        let Self { max, others, .. } = *self;
        let is_allowed = |byte: u8| {
            byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) || self.more.contains(&byte)
        };
        match text.len() {
            0 => Err(NameError::Empty),
            length if length > max => Err(NameError::TooLong { max }),
            _ if !text.bytes().all(is_allowed) => Err(NameError::Character { others }),
            _ if self.is_in_paths && matches!(text, "." | "..") => Err(NameError::Dots),
            _ => Ok(()),
        }
    }

    fn schema(&self) -> Object {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(self.max))
            .pattern(Some(self.pattern))
            .build()
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $rules:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                $rules.check(&text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $rules.schema().into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    };
}

name!(
    /// A customer's own id for an application or an endpoint; works wherever Posthorn's id does.
    Uid,
    name(256)
);
name!(
    /// The kind of an event, for example `invoice.paid`.
    EventTypeName,
    name(256)
);
name!(
    /// A topic inside an application; endpoints may listen to only some of them.
    Channel,
    CHANNEL
);
name!(
    /// A free label of a message.
    Tag,
    TAG
);
name!(
    /// The caller's own id of an event; a second message with it is refused.
    EventId,
    name(256)
);
name!(
    /// A feature that must be switched on for an event type to be visible.
    FeatureFlag,
    name(256)
);

/// A name for people: any text that is not blank.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, pattern = r"\S")]
pub struct DisplayName(String);

impl DisplayName {
    /// A name that was checked when it was stored.
    pub fn stored(text: String) -> Self {
        Self(text)
    }
}

impl TryFrom<String> for DisplayName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        if text.trim().is_empty() {
            Err(NameError::Empty)
        } else {
            Ok(Self(text))
        }
    }
}

impl From<DisplayName> for String {
    fn from(name: DisplayName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_the_contract() {
        let name = |text: &str| EventTypeName::try_from(text.to_owned());
        let others = "`-`, `_` and `.`";
        let character = NameError::Character { others };
        assert!(name("invoice.paid-v1_B").is_ok());
        assert_eq!(name(""), Err(NameError::Empty));
        assert_eq!(name("a b"), Err(character.clone()));
        assert_eq!(name("ä"), Err(character));
        for dots in [".", ".."] {
            assert_eq!(name(dots), Err(NameError::Dots));
            assert!(Uid::try_from(dots.to_owned()).is_err());
            assert!(EventId::try_from(dots.to_owned()).is_err());
        }
        for good in ["...", ".a", "a."] {
            assert!(name(good).is_ok(), "{good}");
        }
        let is_channel = |text: &str| Channel::try_from(text.to_owned()).is_ok();
        let is_tag = |text: &str| Tag::try_from(text.to_owned()).is_ok();
        assert!(is_channel("a:b+c") && !is_channel("a/b") && is_channel("."));
        assert!(is_tag(r"a/b\c#d") && !is_tag("a:b") && is_tag(".."));
        assert!(name(&"x".repeat(256)).is_ok());
        assert_eq!(name(&"x".repeat(257)), Err(NameError::TooLong { max: 256 }));
    }
}
