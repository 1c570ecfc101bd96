//! Event types.

use std::str::FromStr;

use axum::http::StatusCode;
use posthorn_domain::{
    error::ApiError,
    event_type::EventType,
    form::check_size,
    id::OrganizationId,
    name::{EventTypeName, NameError},
    token::Scope,
};
use posthorn_runtime::now;
use posthorn_store::{Page, Slice, Written};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    Api, MAX_TRIES, Routes, State,
    event_type_bodies::{EventTypeIn, EventTypeOut, EventTypePatch, EventTypeUpdate, show},
    extract::{Caller, Json, Operator, Query, path_parameter},
    list::{Limit, ListOut, Order, Paging, filter_map},
    pause,
    refusal::Refusal,
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
    if api.config().create_event_type(&organization, &new).await? == Written::Yes {
        return Ok((StatusCode::CREATED, Json(show(new, true))));
    }
    let before = api.config().event_type(&organization, &new.name).await?;
    let Some(before) = before.filter(|before| before.archived) else {
        let detail = format!("an event type with the name `{}` exists", new.name);
        return Err(ApiError::Conflict(detail).into());
    };
    let name = before.name;
    let renew = |_| new.clone();
    Ok((
        StatusCode::CREATED,
        change(&api, &organization, &name, renew).await?,
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
    let slice = api.config().event_types(&scope.organization, &page).await?;
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
    let found = api.config().event_type(&scope.organization, &name).await?;
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
    for tries in 0..MAX_TRIES {
        let Some(before) = api.config().event_type(&organization, &new.name).await? else {
            if api.config().create_event_type(&organization, &new).await? == Written::Yes {
                return Ok((StatusCode::CREATED, Json(show(new, true))));
            }
            continue;
        };
        let after = over(new.clone(), &before);
        if is_same(&before, &after) {
            return Ok((StatusCode::OK, Json(show(before, true))));
        }
        if api
            .config()
            .update_event_type(&organization, &before, &after)
            .await?
            == Written::Yes
        {
            return Ok((StatusCode::OK, Json(show(after, true))));
        }
        pause(tries).await;
    }
    Err(keeps_changing())
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
    change(&api, &organization, &name, |before| {
        body.clone().over(before)
    })
    .await
}

/// Makes a change, again when the event type changed meanwhile.
async fn change(
    api: &Api,
    organization: &OrganizationId,
    name: &EventTypeName,
    change: impl Fn(EventType) -> EventType,
) -> Result<Json<EventTypeOut>, Refusal> {
    for tries in 0..MAX_TRIES {
        let found = api.config().event_type(organization, name).await?;
        let before = found.ok_or(NOT_FOUND)?;
        let after = over(change(before.clone()), &before);
        if is_same(&before, &after) {
            return Ok(Json(show(before, true)));
        }
        check_size(&after, MAX_EVENT_TYPE_BYTES)?;
        if api
            .config()
            .update_event_type(organization, &before, &after)
            .await?
            == Written::Yes
        {
            return Ok(Json(show(after, true)));
        }
        pause(tries).await;
    }
    Err(keeps_changing())
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
        api.config()
            .event_type(&organization, &name)
            .await?
            .ok_or(NOT_FOUND)?;
        api.config().delete_event_type(&organization, &name).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let archive = |before| EventType {
        archived: true,
        updated_at: now(),
        ..before
    };
    change(&api, &organization, &name, archive).await?;
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
