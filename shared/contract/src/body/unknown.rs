//! Fields of a body that no operation knows.

use std::fmt;

use posthorn_domain::error::FieldError;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The error for a field that an operation does not know.
pub fn unknown_field(loc: Vec<String>) -> FieldError {
    FieldError {
        loc,
        msg: "is not supported".to_owned(),
        kind: "value_error.extra",
    }
}

/// Fields that official clients send and that have no effect here; docs/api.md says why for each.
const HARMLESS: [&str; 5] = ["createdAt", "disabledReason", "id", "updatedAt", "version"];

/// Where those may be: in a body, in a message of the queue, and in an application that one of them brings along.
const HARMLESS_IN: [&[&str]; 4] = [
    &[],
    &["application"],
    &["message"],
    &["message", "application"],
];

/// Refuses the first field that the type does not know. Null counts as absent.
pub(super) fn refuse_unknown(body: &[u8], unknown: &[Vec<String>]) -> Result<(), FieldError> {
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

pub(super) fn is_harmless(way: &[String]) -> bool {
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

/// The names on the path to a field.
pub(super) fn way(path: &serde_ignored::Path<'_>) -> Vec<String> {
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
