//! Event types.

use std::str::FromStr;

use axum::http::StatusCode;
use posthorn_contract::{ApiError, Refusal, body::check_size};
use posthorn_domain::{
    event_type::EventType,
    id::OrganizationId,
    name::{EventTypeName, NameError},
    token::Scope,
};
use posthorn_runtime::now;
use posthorn_store::{Changed, Page, Slice, Written};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    Api, Routes, State, TRIES,
    event_type_bodies::{EventTypeIn, EventTypeOut, EventTypePatch, EventTypeUpdate, show},
    extract::{Caller, Json, Operator, Query, path_parameter},
    list::{Limit, ListOut, Order, Paging, filter_map},
    routes::routes,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, patch, delete))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Items of the page.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 250)]
    limit: Option<Limit>,
    /// Where to go on: `iterator` or `prevIterator` of another page.
    iterator: Option<String>,
    /// The direction of the list.
    #[param(inline)]
    order: Option<Order>,
    #[serde(default)]
    include_archived: bool,
    /// Whether to show schemas.
    #[serde(default)]
    with_content: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteQuery {
    /// Remove it for good instead of archiving it.
    #[serde(default)]
    expunge: bool,
}

/// Creates an event type, or brings an archived one back.
#[utoipa::path(post, path = "/api/v1/event-type", operation_id = "v1.event-type.create", tag = "Event Type",
    request_body = EventTypeIn, responses((status = 201, body = EventTypeOut)))]
pub(crate) async fn create(
    api: State,
    Operator(organization): Operator,
    Json(body): Json<EventTypeIn>,
) -> Result<(StatusCode, Json<EventTypeOut>), Refusal> {
    let new = body.into_new();
    check_size(&new, MAX_EVENT_TYPE_BYTES)?;
    if api.event_types.create(&organization, &new).await? == Written::Yes {
        return Ok((StatusCode::CREATED, Json(show(new, true))));
    }
    let before = api.event_types.get(&organization, &new.name).await?;
    let Some(before) = before.filter(|before| before.archived) else {
        let detail = format!("an event type with the name `{}` exists", new.name);
        return Err(ApiError::Conflict(detail).into());
    };
    let name = before.name;
    let renew = |_| new.clone();
    Ok((
        StatusCode::CREATED,
        edit(&api, &organization, &name, renew).await?,
    ))
}

/// Lists event types by name.
#[utoipa::path(get, path = "/api/v1/event-type", operation_id = "v1.event-type.list", tag = "Event Type",
    params(ListQuery), responses((status = 200, body = ListOut<EventTypeOut>)))]
pub(crate) async fn list(
    api: State,
    Caller(scope): Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<ListOut<EventTypeOut>>, Refusal> {
    let (limit, order) = (query.limit, query.order);
    let paging = Paging {
        limit,
        iterator: query.iterator.clone(),
        order,
    };
    let plan = paging.plan::<EventTypeName>(Order::Ascending)?;
    let plan = plan.searching(true);
    Ok(Json(
        plan.fill(|page| slice(&api, &scope, &query, page)).await?,
    ))
}

async fn slice(
    api: &Api,
    scope: &Scope,
    query: &ListQuery,
    page: Page,
) -> Result<Slice<EventTypeOut>, Refusal> {
    let slice = api.event_types.list(&scope.organization, &page).await?;
    let is_shown = |event_type: &EventType| {
        let is_visible = scope.sees(event_type.feature_flag.as_ref());
        is_visible && (query.include_archived || !event_type.archived)
    };
    Ok(filter_map(slice, |found| {
        is_shown(&found).then(|| show(found, query.with_content))
    }))
}

/// Reads an event type.
#[utoipa::path(get, path = "/api/v1/event-type/{event_type_name}", operation_id = "v1.event-type.get", tag = "Event Type",
    params(("event_type_name" = EventTypeName, Path)), responses((status = 200, body = EventTypeOut)))]
pub(crate) async fn get(
    api: State,
    Caller(scope): Caller,
    ThePath(name): ThePath,
) -> Result<Json<EventTypeOut>, Refusal> {
    let found = api.event_types.get(&scope.organization, &name).await?;
    let found = found.filter(|found| scope.sees(found.feature_flag.as_ref()));
    Ok(Json(show(found.ok_or(NOT_FOUND)?, true)))
}

/// Replaces an event type, or creates it.
#[utoipa::path(put, path = "/api/v1/event-type/{event_type_name}", operation_id = "v1.event-type.update", tag = "Event Type",
    params(("event_type_name" = EventTypeName, Path)), request_body = EventTypeUpdate,
    responses((status = 200, body = EventTypeOut), (status = 201, body = EventTypeOut)))]
pub(crate) async fn update(
    api: State,
    Operator(organization): Operator,
    ThePath(name): ThePath,
    Json(body): Json<EventTypeUpdate>,
) -> Result<(StatusCode, Json<EventTypeOut>), Refusal> {
    body.check(&name)?;
    let new = body.into_new(name);
    check_size(&new, MAX_EVENT_TYPE_BYTES)?;
    let name = new.name.clone();
    let mut is_new = false;
    let decide = |before: Option<&EventType>| {
        is_new = before.is_none();
        let after = before.map_or_else(|| new.clone(), |before| over(new.clone(), before));
        Ok((!before.is_some_and(|before| is_same(before, &after))).then_some(after))
    };
    let shown = change(&api, &organization, &name, decide).await?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, shown))
}

/// Changes some fields of an event type.
#[utoipa::path(patch, path = "/api/v1/event-type/{event_type_name}", operation_id = "v1.event-type.patch", tag = "Event Type",
    params(("event_type_name" = EventTypeName, Path)), request_body = EventTypePatch,
    responses((status = 200, body = EventTypeOut)))]
pub(crate) async fn patch(
    api: State,
    Operator(organization): Operator,
    ThePath(name): ThePath,
    Json(body): Json<EventTypePatch>,
) -> Result<Json<EventTypeOut>, Refusal> {
    body.check(&name)?;
    edit(&api, &organization, &name, |before| {
        body.clone().over(before)
    })
    .await
}

/// Changes an event type that is there.
async fn edit(
    api: &Api,
    organization: &OrganizationId,
    name: &EventTypeName,
    edit: impl Fn(EventType) -> EventType,
) -> Result<Json<EventTypeOut>, Refusal> {
    let decide = |before: Option<&EventType>| {
        let before = before.ok_or(NOT_FOUND)?;
        let after = over(edit(before.clone()), before);
        if is_same(before, &after) {
            return Ok(None);
        }
        check_size(&after, MAX_EVENT_TYPE_BYTES)?;
        Ok(Some(after))
    };
    change(api, organization, name, decide).await
}

/// Makes a change, again when the event type changed meanwhile.
async fn change(
    api: &Api,
    organization: &OrganizationId,
    name: &EventTypeName,
    decide: impl FnMut(Option<&EventType>) -> Result<Option<EventType>, Refusal>,
) -> Result<Json<EventTypeOut>, Refusal> {
    let changed = api.event_types.change(TRIES, organization, name, decide);
    match changed.await? {
        Changed::Stored(stands) | Changed::Left(Some(stands)) => Ok(Json(show(stands, true))),
        Changed::Left(None) => Err(NOT_FOUND.into()),
        Changed::Taken | Changed::Contended => Err(keeps_changing()),
    }
}

/// Archives an event type: it is not listed, and endpoints cannot newly filter on it.
#[utoipa::path(delete, path = "/api/v1/event-type/{event_type_name}", operation_id = "v1.event-type.delete", tag = "Event Type",
    params(("event_type_name" = EventTypeName, Path), DeleteQuery), responses((status = 204)))]
pub(crate) async fn delete(
    api: State,
    Operator(organization): Operator,
    ThePath(name): ThePath,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Refusal> {
    if query.expunge {
        api.event_types
            .get(&organization, &name)
            .await?
            .ok_or(NOT_FOUND)?;
        api.event_types.delete(&organization, &name).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let archive = |before| EventType {
        archived: true,
        updated_at: now(),
        ..before
    };
    edit(&api, &organization, &name, archive).await?;
    Ok(StatusCode::NO_CONTENT)
}

const NOT_FOUND: ApiError = ApiError::NotFound("event type");

/// Bytes of what is stored of an event type: an item of the table has at most 400 KB.
const MAX_EVENT_TYPE_BYTES: usize = 320 * 1024;

fn keeps_changing() -> Refusal {
    ApiError::Conflict("the event type keeps changing: try again".to_owned()).into()
}

/// The event type that takes another one's place.
fn over(after: EventType, before: &EventType) -> EventType {
    // The version that a write is conditional on, so it must move even within a millisecond.
    let next = before.updated_at.plus(std::time::Duration::from_millis(1));
    EventType {
        created_at: before.created_at,
        updated_at: after.updated_at.max(next),
        ..after
    }
}

/// Whether a change changes nothing.
fn is_same(before: &EventType, after: &EventType) -> bool {
    let updated_at = before.updated_at;
    let after = after.clone();
    *before
        == EventType {
            updated_at,
            ..after
        }
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
