//! Bodies that create, replace and change event types, and how one is shown.

use std::collections::BTreeMap;

use posthorn_domain::{
    change::{Change, null_as_empty},
    error::FieldError,
    event_type::EventType,
    json_depth::{MAX_DEPTH, TOO_DEEP, is_deeper_than},
    json_schema,
    name::{EventTypeName, FeatureFlag},
    timestamp::{Timestamp, rfc3339},
};
use posthorn_runtime::now;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// JSON Schemas by version, kept as they were sent.
type Schemas = BTreeMap<String, Schema>;

/// A JSON Schema as it was sent: an object.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct Schema(Box<RawValue>);

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        if !raw.get().starts_with('{') {
            return Err(D::Error::custom("must be a JSON object"));
        }
        if is_deeper_than(raw.get(), MAX_DEPTH) {
            return Err(D::Error::custom(TOO_DEEP));
        }
        let schema = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        json_schema::check(&schema).map_err(D::Error::custom)?;
        Ok(Self(raw))
    }
}

/// `EventTypeIn` of the contract.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventTypeIn {
    pub(crate) name: EventTypeName,
    description: String,
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(value_type = Option<bool>)]
    archived: bool,
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(value_type = Option<bool>)]
    deprecated: bool,
    #[schema(value_type = Option<BTreeMap<String, BTreeMap<String, serde_json::Value>>>)]
    schemas: Option<Schemas>,
    feature_flag: Option<FeatureFlag>,
}

/// `EventTypeUpdate` of the contract.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventTypeUpdate {
    /// The path's, where it is given: what was read can be put.
    name: Option<EventTypeName>,
    description: String,
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(value_type = Option<bool>)]
    archived: bool,
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(value_type = Option<bool>)]
    deprecated: bool,
    #[schema(value_type = Option<BTreeMap<String, BTreeMap<String, serde_json::Value>>>)]
    schemas: Option<Schemas>,
    feature_flag: Option<FeatureFlag>,
}

/// `EventTypePatch` of the contract.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventTypePatch {
    /// The path's, where it is given.
    name: Option<EventTypeName>,
    #[serde(default)]
    #[schema(value_type = String)]
    description: Change<String>,
    #[serde(default)]
    #[schema(value_type = bool)]
    archived: Change<bool>,
    #[serde(default)]
    #[schema(value_type = bool)]
    deprecated: Change<bool>,
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, BTreeMap<String, serde_json::Value>>>)]
    schemas: Change<Option<Schemas>>,
    #[serde(default)]
    #[schema(value_type = Option<FeatureFlag>)]
    feature_flag: Change<Option<FeatureFlag>>,
}

/// `EventTypeOut` of the contract.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventTypeOut {
    name: EventTypeName,
    description: String,
    archived: bool,
    deprecated: bool,
    #[schema(value_type = Option<BTreeMap<String, BTreeMap<String, serde_json::Value>>>)]
    schemas: Option<Box<RawValue>>,
    feature_flag: Option<FeatureFlag>,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

fn to_text(schemas: Option<Schemas>) -> Option<String> {
    schemas.and_then(|schemas| serde_json::to_string(&schemas).ok())
}

impl EventTypeIn {
    pub(crate) fn into_new(self) -> EventType {
        let body = EventTypeUpdate {
            name: None,
            description: self.description,
            archived: self.archived,
            deprecated: self.deprecated,
            schemas: self.schemas,
            feature_flag: self.feature_flag,
        };
        body.into_new(self.name)
    }
}

/// An event type keeps its name.
fn check_name(own: Option<&EventTypeName>, path: &EventTypeName) -> Result<(), FieldError> {
    match own.is_none_or(|own| own == path) {
        true => Ok(()),
        false => Err(FieldError::body("name", "must be the path's")),
    }
}

impl EventTypeUpdate {
    pub(crate) fn check(&self, path: &EventTypeName) -> Result<(), FieldError> {
        check_name(self.name.as_ref(), path)
    }

    pub(crate) fn into_new(self, name: EventTypeName) -> EventType {
        let now = now();
        EventType {
            name,
            description: self.description,
            archived: self.archived,
            deprecated: self.deprecated,
            schemas: to_text(self.schemas),
            feature_flag: self.feature_flag,
            created_at: now,
            updated_at: now,
        }
    }
}

impl EventTypePatch {
    pub(crate) fn check(&self, path: &EventTypeName) -> Result<(), FieldError> {
        check_name(self.name.as_ref(), path)
    }

    pub(crate) fn over(self, before: EventType) -> EventType {
        EventType {
            description: self.description.over(before.description),
            archived: self.archived.over(before.archived),
            deprecated: self.deprecated.over(before.deprecated),
            schemas: match self.schemas {
                Change::Keep => before.schemas,
                Change::Set(schemas) => to_text(schemas),
            },
            feature_flag: self.feature_flag.over(before.feature_flag),
            updated_at: now(),
            ..before
        }
    }
}

pub(crate) fn show(event_type: EventType, with_content: bool) -> EventTypeOut {
    let schemas = event_type.schemas.filter(|_| with_content);
    EventTypeOut {
        name: event_type.name,
        description: event_type.description,
        archived: event_type.archived,
        deprecated: event_type.deprecated,
        schemas: schemas.and_then(|text| RawValue::from_string(text).ok()),
        feature_flag: event_type.feature_flag,
        created_at: event_type.created_at,
        updated_at: event_type.updated_at,
    }
}
