//! Event types: the catalogue of what an organization sends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    name::{EventTypeName, FeatureFlag},
    timestamp::Timestamp,
};

/// An event type, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventType {
    /// Its name, unique in the organization.
    pub name: EventTypeName,
    /// What it means, for people.
    pub description: String,
    /// Hidden from lists, still usable.
    #[serde(default)]
    pub archived: bool,
    /// Marked as deprecated.
    #[serde(default)]
    pub deprecated: bool,
    /// JSON Schemas by version, as JSON text: kept byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schemas: Option<String>,
    /// The feature that must be switched on for it to be visible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_flag: Option<FeatureFlag>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl EventType {
    /// The example of the newest schema version that has one: the first of its `examples`, or its
    /// `example` (JSON Schema, "Annotations"). It must be a JSON object.
    pub fn example(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Schema<'a> {
            #[serde(borrow, default)]
            examples: Vec<&'a RawValue>,
            #[serde(borrow)]
            example: Option<&'a RawValue>,
        }
        let schemas: BTreeMap<String, &RawValue> =
            serde_json::from_str(self.schemas.as_deref()?).ok()?;
        let mut versions: Vec<_> = schemas.into_iter().collect();
        // Versions are numbers as text: "10" is newer than "9".
        versions.sort_by_key(|(version, _)| version.parse::<u64>().unwrap_or(0));
        versions.iter().rev().find_map(|(_, schema)| {
            let schema: Schema<'_> = serde_json::from_str(schema.get()).ok()?;
            let example = schema.examples.first().copied().or(schema.example)?;
            example
                .get()
                .starts_with('{')
                .then(|| example.get().to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    fn example(schemas: &str) -> Option<String> {
        let now = Timestamp::from_millis(0);
        let event_type = EventType {
            name: "a".to_owned().try_into().unwrap(),
            description: String::new(),
            archived: false,
            deprecated: false,
            schemas: Some(schemas.to_owned()),
            feature_flag: None,
            created_at: now,
            updated_at: now,
        };
        event_type.example()
    }

    #[test]
    fn the_newest_schema_with_an_example_gives_it() {
        let schemas = r#"{"9":{"examples":[{"n":9}]},"10":{"examples":[{"z":1,"a":10}]},"11":{}}"#;
        assert_eq!(example(schemas).as_deref(), Some(r#"{"z":1,"a":10}"#));
        assert_eq!(
            example(r#"{"1":{"example":{"n":1}}}"#).as_deref(),
            Some(r#"{"n":1}"#)
        );
        assert_eq!(
            example(r#"{"1":{"examples":["text"]}}"#),
            None,
            "not an object"
        );
        assert_eq!(example(r#"{"1":{"type":"object"}}"#), None);
    }
}
