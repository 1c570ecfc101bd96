//! Lists of unique items with a least and a greatest length.

use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::change::Change;

/// A list breaks its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Fewer items than allowed.
    #[error("must have at least {0} item(s)")]
    TooShort(usize),
    /// More items than allowed.
    #[error("must have at most {0} items")]
    TooLong(usize),
    /// The same item twice.
    #[error("items must be unique")]
    Duplicate,
}

/// `MIN` to `MAX` items, each once, in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "Vec<T>",
    into = "Vec<T>",
    bound(deserialize = "T: Deserialize<'de> + Ord")
)]
#[serde(bound(serialize = "T: Serialize + Clone"))]
pub struct UniqueList<T, const MIN: usize, const MAX: usize>(Vec<T>);

impl<T, const MIN: usize, const MAX: usize> Deref for UniqueList<T, MIN, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Ord, const MIN: usize, const MAX: usize> TryFrom<Vec<T>> for UniqueList<T, MIN, MAX> {
    type Error = ListError;

    fn try_from(items: Vec<T>) -> Result<Self, ListError> {
        match items.len() {
            length if length < MIN => Err(ListError::TooShort(MIN)),
            length if length > MAX => Err(ListError::TooLong(MAX)),
            _ if has_duplicate(&items) => Err(ListError::Duplicate),
            _ => Ok(Self(items)),
        }
    }
}

impl<T, const MIN: usize, const MAX: usize> From<UniqueList<T, MIN, MAX>> for Vec<T> {
    fn from(list: UniqueList<T, MIN, MAX>) -> Self {
        list.0
    }
}

/// Reads a list that may also be empty or null, which says the same as absent.
///
/// # Errors
/// As [`UniqueList`], save that an empty list is none.
pub fn empty_as_none<'de, T, const MIN: usize, const MAX: usize, D>(
    from: D,
) -> Result<Option<UniqueList<T, MIN, MAX>>, D::Error>
where
    T: Deserialize<'de> + Ord,
    D: Deserializer<'de>,
{
    let items: Option<Vec<T>> = Option::deserialize(from)?;
    let items = items.filter(|items| !items.is_empty());
    let list = items.map(UniqueList::try_from).transpose();
    list.map_err(D::Error::custom)
}

/// The same for a field of a PATCH: an empty list empties it, as null does.
///
/// # Errors
/// As [`empty_as_none`].
pub fn empty_empties<'de, T, const MIN: usize, const MAX: usize, D>(
    from: D,
) -> Result<Change<Option<UniqueList<T, MIN, MAX>>>, D::Error>
where
    T: Deserialize<'de> + Ord,
    D: Deserializer<'de>,
{
    empty_as_none(from).map(Change::Set)
}

fn has_duplicate<T: Ord>(items: &[T]) -> bool {
    let mut sorted: Vec<&T> = items.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_uniqueness_hold() {
        type List = UniqueList<u8, 1, 3>;
        assert_eq!(List::try_from(vec![]), Err(ListError::TooShort(1)));
        assert_eq!(List::try_from(vec![1, 2, 3, 4]), Err(ListError::TooLong(3)));
        assert_eq!(List::try_from(vec![1, 2, 1]), Err(ListError::Duplicate));
        assert_eq!(&*List::try_from(vec![2, 1]).unwrap(), [2, 1]);
    }
}
