//! Endpoints: create, read, replace, change, delete.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use posthorn_contract::{
    ApiError, Refusal,
    body::{MAX_ENTITY_BYTES, check_size},
};
use posthorn_domain::{
    attempt::Attempt,
    endpoint::{Confidential, Endpoint, EndpointChannels, EndpointEventTypes},
    health::{DisabledReason, Health},
    id::{EndpointId, Reference},
    name::{Channel, EventTypeName, Uid},
    operational::OperationalEvent,
    timestamp::{Timestamp, rfc3339},
};
use posthorn_runtime::now;
use posthorn_store::{Changed, Tries, Written};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Api, Routes, State, TRIES,
    endpoint_bodies::{EndpointIn, EndpointPatch, EndpointUpdate},
    extract::{EndpointReference, Json, Query, TheApplication, TheEndpoint, find_endpoint},
    idempotency::Fresh,
    list::{ListOut, Order, Paging, filter_map},
    notify::notify_operators,
    routes::routes,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, patch, delete))
}

/// `EndpointOut` of the contract, and what official clients before 2.0 read besides: `version`, and
/// two fields under their older names.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointOut {
    id: EndpointId,
    uid: Option<Uid>,
    url: String,
    description: String,
    #[schema(value_type = Option<Vec<EventTypeName>>)]
    filter_types: Option<EndpointEventTypes>,
    #[schema(value_type = Option<Vec<EventTypeName>>)]
    event_types: Option<EndpointEventTypes>,
    #[schema(value_type = Option<Vec<Channel>>)]
    channels: Option<EndpointChannels>,
    disabled: bool,
    /// Why it was disabled, when nobody asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    disabled_reason: Option<DisabledReason>,
    rate_limit: Option<u16>,
    version: u64,
    throttle_rate: Option<u16>,
    metadata: BTreeMap<String, String>,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// The URL of a deleted endpoint that nothing was ever posted to.
const NO_URL: &str = "about:blank";

impl EndpointOut {
    /// What is left of an endpoint that was deleted: its id and the last attempt at it.
    pub(crate) fn deleted(id: EndpointId, last: Option<&Attempt>) -> Self {
        let created_at = id.created_at();
        Self {
            id,
            uid: None,
            url: last.map_or(NO_URL, |last| last.url.as_str()).to_owned(),
            description: "deleted".to_owned(),
            filter_types: None,
            event_types: None,
            channels: None,
            disabled: true,
            disabled_reason: None,
            rate_limit: None,
            version: 1,
            throttle_rate: None,
            metadata: BTreeMap::new(),
            created_at,
            updated_at: last.map_or(created_at, Attempt::ended_at),
        }
    }
}

impl From<Endpoint> for EndpointOut {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.id,
            uid: endpoint.uid,
            url: endpoint.url,
            description: endpoint.description,
            filter_types: endpoint.event_types.clone(),
            event_types: endpoint.event_types,
            channels: endpoint.channels,
            disabled: endpoint.disabled,
            disabled_reason: endpoint.disabled_reason,
            rate_limit: endpoint.throttle_rate,
            version: endpoint.revision,
            throttle_rate: endpoint.throttle_rate,
            metadata: endpoint.metadata,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

type Created = Result<(StatusCode, Json<EndpointOut>), Refusal>;

/// Creates an endpoint. Without a secret it gets a random one.
#[utoipa::path(post, path = "/api/v1/app/{app_id}/endpoint", operation_id = "v1.endpoint.create", tag = "Endpoint",
    params(("app_id" = Uid, Path)), request_body = EndpointIn, responses((status = 201, body = EndpointOut)))]
pub(crate) async fn create(
    api: State,
    owner: TheApplication,
    fresh: Fresh,
    Json(body): Json<EndpointIn>,
) -> Created {
    store_new(&api, &owner, body, fresh).await
}

async fn store_new(api: &Api, owner: &TheApplication, body: EndpointIn, fresh: Fresh) -> Created {
    let new = body.into_new(api, owner, fresh).await?;
    check_room(api, owner).await?;
    match api.endpoints.create(owner.key(), &new).await? {
        Written::Yes => {
            notify_operators(api, owner, &new, OperationalEvent::EndpointCreated).await;
            Ok((StatusCode::CREATED, Json(new.into())))
        }
        Written::Taken => {
            // An earlier try of this request may have made it.
            let own = find_endpoint(api, owner, &Reference::Id(new.id)).await?;
            Ok((StatusCode::CREATED, Json(own.ok_or_else(uid_taken)?.into())))
        }
        Written::Conflict => Err(ApiError::NotFound("application").into()),
    }
}

/// The most endpoints of one application: ingest reads all of them for every message.
const MAX_ENDPOINTS: usize = 500;

async fn check_room(api: &Api, owner: &TheApplication) -> Result<(), Refusal> {
    if api.endpoints.count(owner.key()).await? >= MAX_ENDPOINTS {
        let detail = format!("an application has at most {MAX_ENDPOINTS} endpoints");
        return Err(ApiError::Conflict(detail).into());
    }
    Ok(())
}

fn uid_taken() -> ApiError {
    ApiError::Conflict("an endpoint with this uid exists".to_owned())
}

/// Lists an application's endpoints, newest first.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/endpoint", operation_id = "v1.endpoint.list", tag = "Endpoint",
    params(("app_id" = Uid, Path), Paging), responses((status = 200, body = ListOut<EndpointOut>)))]
pub(crate) async fn list(
    api: State,
    owner: TheApplication,
    Query(paging): Query<Paging>,
) -> Result<Json<ListOut<EndpointOut>>, Refusal> {
    let plan = paging.plan::<EndpointId>(Order::Descending)?;
    let found = api.endpoints.list(owner.key(), &plan.page).await?;
    Ok(Json(plan.respond(filter_map(found, |endpoint| {
        Some(endpoint.into())
    }))))
}

/// Reads an endpoint.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}", operation_id = "v1.endpoint.get", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), responses((status = 200, body = EndpointOut)))]
pub(crate) async fn get(found: TheEndpoint) -> Json<EndpointOut> {
    Json(found.endpoint.into())
}

/// Replaces an endpoint, or creates the one whose uid the path names. Secret and headers stay: they
/// have operations of their own.
#[utoipa::path(put, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}", operation_id = "v1.endpoint.update", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), request_body = EndpointUpdate,
    responses((status = 200, body = EndpointOut), (status = 201, body = EndpointOut)))]
pub(crate) async fn update(
    api: State,
    owner: TheApplication,
    EndpointReference(reference): EndpointReference,
    fresh: Fresh,
    Json(body): Json<EndpointUpdate>,
) -> Created {
    let found = find_endpoint(&api, &owner, &reference).await?;
    let (before, mut body) = match (found, reference) {
        (Some(before), Reference::Id(_)) => (before, body),
        (Some(before), Reference::Uid(uid)) => (before, body.named(&uid)),
        (None, Reference::Id(_)) => return Err(NOT_FOUND.into()),
        (None, Reference::Uid(uid)) => {
            let refused = match store_new(&api, &owner, body.clone().into_in(&uid)?, fresh).await {
                Err(Refusal::Caller(refused @ ApiError::Conflict(_))) => refused,
                created => return created,
            };
            // Where another request was faster, there is something to replace now.
            let made = find_endpoint(&api, &owner, &Reference::Uid(uid.clone())).await?;
            (made.ok_or(refused)?, body.named(&uid))
        }
    };
    body.check(&api, &owner, &before).await?;
    let edit = |before| body.over(before);
    let after = change(&api, &owner, before, Edit::Shown(&edit)).await?;
    Ok((StatusCode::OK, Json(after.into())))
}

/// Changes some fields of an endpoint.
#[utoipa::path(patch, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}", operation_id = "v1.endpoint.patch", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), request_body = EndpointPatch,
    responses((status = 200, body = EndpointOut)))]
pub(crate) async fn patch(
    api: State,
    found: TheEndpoint,
    Json(mut body): Json<EndpointPatch>,
) -> Result<Json<EndpointOut>, Refusal> {
    let TheEndpoint { owner, endpoint } = found;
    body.check(&api, &owner, &endpoint).await?;
    let edit = |before| body.over(before);
    let after = change(&api, &owner, endpoint, Edit::Shown(&edit)).await?;
    Ok(Json(after.into()))
}

/// Makes a change, again when the endpoint changed meanwhile, and tells operators.
pub(crate) async fn change(
    api: &Api,
    owner: &TheApplication,
    before: Endpoint,
    edit: Edit<'_>,
) -> Result<Endpoint, Refusal> {
    let edit = &edit;
    let decide = |before: Endpoint| async move {
        let changed = edit.make(api, owner, before.clone()).await?;
        if changed == before {
            return Ok(None);
        }
        let after = next(&before, changed);
        check_size(&after, MAX_ENTITY_BYTES)?;
        Ok::<_, Refusal>(Some(after))
    };
    let changed = api.endpoints.change(TRIES, owner.key(), before, decide);
    match changed.await? {
        Changed::Stored(after) => {
            notify_operators(api, owner, &after, OperationalEvent::EndpointUpdated).await;
            Ok(after)
        }
        Changed::Left(found) => Ok(found.ok_or(NOT_FOUND)?),
        Changed::Taken => Err(uid_taken().into()),
        Changed::Contended => Err(keeps_changing().into()),
    }
}

/// The revision that a change makes.
fn next(before: &Endpoint, changed: Endpoint) -> Endpoint {
    Endpoint {
        revision: before.revision + 1,
        updated_at: now(),
        disabled_reason: changed.disabled_reason.filter(|_| changed.disabled),
        // Enabled again, or elsewhere, it begins anew.
        health: if changed.disabled == before.disabled && changed.url == before.url {
            changed.health
        } else {
            Health::default()
        },
        ..changed
    }
}

/// A change of an endpoint.
pub(crate) enum Edit<'a> {
    /// Of what everybody may read.
    Shown(&'a (dyn Fn(Endpoint) -> Endpoint + Sync)),
    /// Of what is sealed.
    Sealed(&'a (dyn Fn(Confidential) -> Result<Confidential, Refusal> + Sync)),
}

impl Edit<'_> {
    async fn make(
        &self,
        api: &Api,
        owner: &TheApplication,
        before: Endpoint,
    ) -> Result<Endpoint, Refusal> {
        match self {
            Self::Shown(edit) => Ok(edit(before)),
            Self::Sealed(edit) => {
                let key = owner.key().endpoint(&before.id);
                let opened = api.vault.open(key, &before.sealed).await;
                let opened = opened.map_err(Refusal::fault)?;
                let edited = edit(opened.clone())?;
                if edited == opened {
                    return Ok(before);
                }
                let sealed = api.vault.seal(key, &edited).await;
                let sealed = sealed.map_err(Refusal::fault)?;
                Ok(Endpoint { sealed, ..before })
            }
        }
    }
}

const NOT_FOUND: ApiError = ApiError::NotFound("endpoint");

fn keeps_changing() -> ApiError {
    ApiError::Conflict("the endpoint keeps changing: try again".to_owned())
}

/// Deletes an endpoint; its pending deliveries stop.
#[utoipa::path(delete, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}", operation_id = "v1.endpoint.delete", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), responses((status = 204)))]
pub(crate) async fn delete(api: State, found: TheEndpoint) -> Result<StatusCode, Refusal> {
    let TheEndpoint { owner, endpoint } = found;
    let (owner, id) = (&owner, &Reference::Id(endpoint.id.clone()));
    let mut known = Some(endpoint);
    let deleted = DELETIONS.until(|| try_delete(&api, owner, id, known.take()));
    let endpoint = deleted.await?.ok_or_else(keeps_changing)?;
    notify_operators(&api, owner, &endpoint, OperationalEvent::EndpointDeleted).await;
    Ok(StatusCode::NO_CONTENT)
}

/// How often a deletion that meets changes is tried.
const DELETIONS: Tries = Tries::at_once(5);

/// The endpoint that was deleted; `None` when it changed meanwhile.
async fn try_delete(
    api: &Api,
    owner: &TheApplication,
    id: &Reference<EndpointId>,
    known: Option<Endpoint>,
) -> Result<Option<Endpoint>, Refusal> {
    let endpoint = match known {
        Some(known) => known,
        None => find_endpoint(api, owner, id).await?.ok_or(NOT_FOUND)?,
    };
    let written = api.endpoints.delete(owner.key(), &endpoint).await?;
    Ok((written == Written::Yes).then_some(endpoint))
}
