//! Event types.

use std::{collections::BTreeMap, str::FromStr};

use axum::http::StatusCode;
use posthorn_domain::{
    error::ApiError,
    event_type::EventType,
    name::{EventTypeName, FeatureFlag, NameError},
    timestamp::{Timestamp, rfc3339},
};
use posthorn_runtime::now;
use posthorn_store::Written;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    State,
    extract::{Caller, Json, Operator, Query, path_parameter},
    list::{ListOut, Order, Paging},
    refusal::Refusal,
};

/// JSON Schemas by version.
type Schemas = BTreeMap<String, Box<RawValue>>;

/// `EventTypeIn` of the contract.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventTypeIn {
    name: EventTypeName,
    description: String,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    deprecated: bool,
    schemas: Option<Schemas>,
    feature_flag: Option<FeatureFlag>,
}

/// `EventTypeOut` of the contract.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventTypeOut {
    name: EventTypeName,
    description: String,
    archived: bool,
    deprecated: bool,
    schemas: Option<Box<RawValue>>,
    feature_flag: Option<FeatureFlag>,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
    #[serde(with = "rfc3339")]
    updated_at: Timestamp,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    iterator: Option<String>,
    order: Option<Order>,
    #[serde(default)]
    include_archived: bool,
    #[serde(default)]
    with_content: bool,
}

pub(crate) async fn create(
    api: State,
    Operator(organization): Operator,
    Json(body): Json<EventTypeIn>,
) -> Result<(StatusCode, Json<EventTypeOut>), Refusal> {
    let new = body.into_new();
    let mut written = api.config.create_event_type(&organization, &new).await?;
    if written == Written::Conflict {
        // Creating an archived event type brings it back.
        let before = api.config.event_type(&organization, &new.name).await?;
        if let Some(before) = before.filter(|before| before.archived) {
            let after = EventType {
                created_at: before.created_at,
                ..new.clone()
            };
            written = api
                .config
                .update_event_type(&organization, &before, &after)
                .await?;
        }
    }
    match written {
        Written::Yes => Ok((StatusCode::CREATED, Json(show(new, true)))),
        Written::Conflict => Err(ApiError::Conflict(format!(
            "an event type with the name `{}` exists",
            new.name
        ))
        .into()),
    }
}

pub(crate) async fn list(
    api: State,
    Caller(scope): Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<ListOut<EventTypeOut>>, Refusal> {
    let paging = Paging {
        limit: query.limit,
        iterator: query.iterator,
        order: query.order,
    };
    let plan = paging.plan::<EventTypeName>(Order::Ascending)?;
    let mut page = plan.page.clone();
    let mut found = Vec::new();
    // Archived ones are passed over, so a page may take several reads.
    loop {
        let read = api.config.event_types(&scope.organization, &page).await?;
        let is_end = read.len() < page.limit;
        page.after = read.last().map(|event_type| event_type.name.to_string());
        found.extend(
            read.into_iter()
                .filter(|event_type| query.include_archived || !event_type.archived),
        );
        if is_end || found.len() >= page.limit {
            break;
        }
    }
    let out = plan.respond(found, |event_type| event_type.name.to_string());
    Ok(Json(
        out.map(|event_type| show(event_type, query.with_content)),
    ))
}

pub(crate) async fn get(
    api: State,
    Caller(scope): Caller,
    ThePath(name): ThePath,
) -> Result<Json<EventTypeOut>, Refusal> {
    let found = api.config.event_type(&scope.organization, &name).await?;
    Ok(Json(show(
        found.ok_or(ApiError::NotFound("event type"))?,
        true,
    )))
}

/// The event type that the path names.
pub(crate) struct ThePath(EventTypeName);

struct PathName(EventTypeName);

impl FromStr for PathName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.to_owned().try_into().map(Self)
    }
}

impl<S: Sync> axum::extract::FromRequestParts<S> for ThePath {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Refusal> {
        let PathName(name) = path_parameter(parts, "event_type_name").await?;
        Ok(Self(name))
    }
}

impl EventTypeIn {
    fn into_new(self) -> EventType {
        let now = now();
        EventType {
            name: self.name,
            description: self.description,
            archived: self.archived,
            deprecated: self.deprecated,
            schemas: self
                .schemas
                .and_then(|schemas| serde_json::to_string(&schemas).ok()),
            feature_flag: self.feature_flag,
            created_at: now,
            updated_at: now,
        }
    }
}

fn show(event_type: EventType, with_content: bool) -> EventTypeOut {
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
