//! Fields of a PATCH body: absent, null and a value are three different things.

use serde::{Deserialize, Deserializer};

/// What a PATCH does to a field. For a field that may be empty, `Change<Option<T>>` distinguishes
/// null (empty it) from absent (keep it); for any other field null is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// The field is absent: it stays as it is.
    #[default]
    Keep,
    /// The field has a new value.
    Set(T),
}

impl<T> Change<T> {
    /// The new value, if there is one.
    pub fn new_value(&self) -> Option<&T> {
        match self {
            Self::Keep => None,
            Self::Set(value) => Some(value),
        }
    }

    /// The value after the change.
    pub fn over(self, before: T) -> T {
        match self {
            Self::Keep => before,
            Self::Set(value) => value,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::deserialize(from).map(Self::Set)
    }
}

/// Reads null as the empty value, for fields that cannot be null but that older clients send as
/// null.
///
/// # Errors
/// When the value is neither null nor a `T`.
pub fn null_as_empty<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The same for a field of a PATCH: null empties it.
///
/// # Errors
/// When the value is neither null nor a `T`.
pub fn null_empties<'de, T, D>(from: D) -> Result<Change<T>, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    null_as_empty(from).map(Change::Set)
}
