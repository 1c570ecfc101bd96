//! Applications.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use posthorn_contract::{
    ApiError, Refusal,
    application::{ApplicationIn, ApplicationPatch},
    body::{MAX_ENTITY_BYTES, check_size},
};
use posthorn_domain::{
    application::{Application, OPERATIONAL_UID},
    id::{ApplicationId, OrganizationId, Reference},
    key::AppKey,
    name::Uid,
    timestamp::{Timestamp, rfc3339},
};
use posthorn_runtime::{entropy, now};
use posthorn_store::{Changed, Slice, Tries, Written};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    Api, Routes, State, TRIES,
    extract::{ApplicationReference, Json, Operator, Query, TheApplication, find_application},
    idempotency::Fresh,
    list::{ListOut, Order, Paging, filter_map},
    routes::routes,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, patch, delete))
}

/// `ApplicationOut` of the contract.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplicationOut {
    id: ApplicationId,
    uid: Option<Uid>,
    name: String,
    throttle_rate: Option<u16>,
    /// The name of `throttleRate` in clients before 2.0.
    rate_limit: Option<u16>,
    metadata: BTreeMap<String, String>,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Application> for ApplicationOut {
    fn from(application: Application) -> Self {
        Self {
            id: application.id,
            uid: application.uid,
            name: application.name,
            throttle_rate: application.throttle_rate,
            rate_limit: application.throttle_rate,
            metadata: application.metadata,
            created_at: application.created_at,
            updated_at: application.updated_at,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CreateQuery {
    /// Answer with the application that has this uid instead of refusing to make a second one.
    #[serde(default)]
    get_if_exists: bool,
}

type Created = Result<(StatusCode, Json<ApplicationOut>), Refusal>;

/// Creates an application.
#[utoipa::path(post, path = "/api/v1/app", operation_id = "v1.application.create", tag = "Application",
    params(CreateQuery), request_body = ApplicationIn,
    responses((status = 201, body = ApplicationOut), (status = 200, body = ApplicationOut)))]
pub(crate) async fn create(
    api: State,
    Operator(organization): Operator,
    Query(query): Query<CreateQuery>,
    fresh: Fresh,
    Json(body): Json<ApplicationIn>,
) -> Created {
    body.check()?;
    let reference = body.uid.clone().map(Reference::Uid);
    let new = body.into_new(ApplicationId::new(fresh.now, fresh.entropy), fresh.now);
    check_size(&new, MAX_ENTITY_BYTES)?;
    if api.applications().create(&organization, &new).await? == Written::Yes {
        return Ok((StatusCode::CREATED, Json(new.into())));
    }
    // An earlier try of this request may have made it.
    let app = AppKey::new(&organization, &new.id);
    if let Some(own) = api.applications().get(app).await? {
        return Ok((StatusCode::CREATED, Json(own.into())));
    }
    let existing = match reference.filter(|_| query.get_if_exists) {
        Some(reference) => find_application(&api, &organization, &reference).await?,
        None => None,
    };
    Ok((StatusCode::OK, Json(existing.ok_or_else(uid_taken)?.into())))
}

/// How often an application that another request makes at the same time is looked for.
const FASTER_OTHERS: Tries = Tries::at_once(5);

/// The application that a path names, or a new one under that uid when a body is given for it.
pub(crate) async fn find_or_create(
    api: &Api,
    organization: &OrganizationId,
    reference: &Reference<ApplicationId>,
    body: Option<ApplicationIn>,
) -> Result<(StatusCode, Application), Refusal> {
    let found = FASTER_OTHERS.until(|| try_find_or_create(api, organization, reference, &body));
    found.await?.ok_or_else(|| uid_taken().into())
}

/// `None` where another request was faster: its application is found now.
async fn try_find_or_create(
    api: &Api,
    organization: &OrganizationId,
    reference: &Reference<ApplicationId>,
    body: &Option<ApplicationIn>,
) -> Result<Option<(StatusCode, Application)>, Refusal> {
    if let Some(found) = find_application(api, organization, reference).await? {
        return Ok(Some((StatusCode::OK, found)));
    }
    let (Reference::Uid(uid), Some(body)) = (reference, body.clone()) else {
        return Err(ApiError::NotFound("application").into());
    };
    let now = now();
    let new = body.under(uid.clone(), ApplicationId::new(now, entropy()), now)?;
    let written = api.applications().create(organization, &new).await?;
    Ok((written == Written::Yes).then_some((StatusCode::CREATED, new)))
}

/// Lists applications, oldest first.
#[utoipa::path(get, path = "/api/v1/app", operation_id = "v1.application.list", tag = "Application",
    params(Paging), responses((status = 200, body = ListOut<ApplicationOut>)))]
pub(crate) async fn list(
    api: State,
    Operator(organization): Operator,
    Query(paging): Query<Paging>,
) -> Result<Json<ListOut<ApplicationOut>>, Refusal> {
    let plan = paging.plan::<ApplicationId>(Order::Ascending)?;
    let found: Slice<Application> = api.applications().list(&organization, &plan.page).await?;
    Ok(Json(plan.respond(filter_map(found, |application| {
        Some(application.into())
    }))))
}

/// Reads an application.
#[utoipa::path(get, path = "/api/v1/app/{app_id}", operation_id = "v1.application.get", tag = "Application",
    params(("app_id" = Uid, Path)), responses((status = 200, body = ApplicationOut)))]
pub(crate) async fn get(found: TheApplication) -> Json<ApplicationOut> {
    Json(found.application.into())
}

/// Replaces an application, or creates the one whose uid the path names.
#[utoipa::path(put, path = "/api/v1/app/{app_id}", operation_id = "v1.application.update", tag = "Application",
    params(("app_id" = Uid, Path)), request_body = ApplicationIn,
    responses((status = 200, body = ApplicationOut), (status = 201, body = ApplicationOut)))]
pub(crate) async fn update(
    api: State,
    Operator(organization): Operator,
    ApplicationReference(reference): ApplicationReference,
    Json(body): Json<ApplicationIn>,
) -> Created {
    body.check()?;
    let created = find_or_create(&api, &organization, &reference, Some(body.clone())).await?;
    let (StatusCode::OK, before) = created else {
        let (status, new) = created;
        return Ok((status, Json(new.into())));
    };
    // Who names an application by its uid does not have to repeat it.
    let body = match reference {
        Reference::Uid(uid) => ApplicationIn {
            uid: body.uid.or(Some(uid)),
            ..body
        },
        Reference::Id(_) => body,
    };
    let replace = |before: &Application| body.clone().over(before, now());
    Ok((
        StatusCode::OK,
        change(&api, &organization, before, replace).await?,
    ))
}

/// Changes some fields of an application.
#[utoipa::path(patch, path = "/api/v1/app/{app_id}", operation_id = "v1.application.patch", tag = "Application",
    params(("app_id" = Uid, Path)), request_body = ApplicationPatch,
    responses((status = 200, body = ApplicationOut)))]
pub(crate) async fn patch(
    api: State,
    Operator(organization): Operator,
    found: TheApplication,
    Json(body): Json<ApplicationPatch>,
) -> Result<Json<ApplicationOut>, Refusal> {
    body.check()?;
    let patch = |before: &Application| body.clone().over(before.clone(), now());
    change(&api, &organization, found.application, patch).await
}

/// Makes a change, again when the application changed meanwhile.
async fn change(
    api: &Api,
    organization: &OrganizationId,
    before: Application,
    change: impl Fn(&Application) -> Application,
) -> Result<Json<ApplicationOut>, Refusal> {
    let id = before.id.clone();
    let app = AppKey::new(organization, &id);
    require_own(app)?;
    let decide = |before: &Application| {
        let after = change(before);
        let (updated_at, same) = (before.updated_at, after.clone());
        if *before == (Application { updated_at, ..same }) {
            return Ok(None);
        }
        check_size(&after, MAX_ENTITY_BYTES)?;
        Ok::<_, Refusal>(Some(after))
    };
    let changed = api.applications().change(TRIES, app, before, decide);
    match changed.await? {
        Changed::Stored(stands) | Changed::Left(Some(stands)) => Ok(Json(stands.into())),
        Changed::Left(None) => Err(ApiError::NotFound("application").into()),
        Changed::Taken => Err(uid_taken().into()),
        Changed::Contended => Err(keeps_changing().into()),
    }
}

/// Deletes an application with its endpoints; its pending deliveries stop.
#[utoipa::path(delete, path = "/api/v1/app/{app_id}", operation_id = "v1.application.delete", tag = "Application",
    params(("app_id" = Uid, Path)), responses((status = 204)))]
pub(crate) async fn delete(
    api: State,
    Operator(organization): Operator,
    ApplicationReference(reference): ApplicationReference,
) -> Result<StatusCode, Refusal> {
    // Not `find_application`: a deletion that was interrupted is taken up again.
    let id = match reference {
        Reference::Id(id) => Some(id),
        Reference::Uid(uid) if uid.as_str() == OPERATIONAL_UID => {
            Some(ApplicationId::operational(&organization))
        }
        Reference::Uid(uid) => api.applications().by_uid(&organization, &uid).await?,
    };
    let id = id.ok_or(ApiError::NotFound("application"))?;
    let app = AppKey::new(&organization, &id);
    require_own(app)?;
    match api.applications().delete(app).await? {
        Some(Written::Yes) => Ok(StatusCode::NO_CONTENT),
        Some(_) => Err(keeps_changing().into()),
        None => Err(ApiError::NotFound("application").into()),
    }
}

fn require_own(app: AppKey<'_>) -> Result<(), ApiError> {
    if app.is_operational() {
        return Err(ApiError::Conflict(
            "the built-in application cannot be changed".to_owned(),
        ));
    }
    Ok(())
}

fn keeps_changing() -> ApiError {
    ApiError::Conflict("the application keeps changing: try again".to_owned())
}

fn uid_taken() -> ApiError {
    ApiError::Conflict("an application with this uid exists".to_owned())
}
