//! Applications.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use posthorn_domain::{
    application::Application,
    error::{ApiError, FieldError},
    id::{ApplicationId, Reference},
    name::Uid,
    shard::DEFAULT_SHARDS,
    timestamp::{Timestamp, rfc3339},
};
use posthorn_runtime::{entropy, now};
use posthorn_store::Written;
use serde::{Deserialize, Serialize};

use crate::{
    Api, State,
    extract::{Json, Operator, Query, TheApplication, find_application},
    list::{ListOut, Order, Paging},
    refusal::Refusal,
};

/// `ApplicationIn` of the contract.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplicationIn {
    name: Name,
    uid: Option<Uid>,
    #[serde(alias = "rateLimit")]
    throttle_rate: Option<Rate>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// A name that is not empty.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.trim().is_empty() {
            Err("must not be empty")
        } else {
            Ok(Self(text))
        }
    }
}

/// Requests a second: 1 to 65535.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub(crate) struct Rate(pub(crate) u16);

impl TryFrom<i64> for Rate {
    type Error = &'static str;

    fn try_from(rate: i64) -> Result<Self, Self::Error> {
        match u16::try_from(rate) {
            Ok(rate @ 1..) => Ok(Self(rate)),
            _ => Err("must be from 1 to 65535"),
        }
    }
}

/// `ApplicationOut` of the contract.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplicationOut {
    id: ApplicationId,
    uid: Option<Uid>,
    name: String,
    throttle_rate: Option<u16>,
    metadata: BTreeMap<String, String>,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
    #[serde(with = "rfc3339")]
    updated_at: Timestamp,
}

impl From<Application> for ApplicationOut {
    fn from(application: Application) -> Self {
        let Application {
            id,
            uid,
            name,
            throttle_rate,
            metadata,
            created_at,
            updated_at,
            ..
        } = application;
        Self {
            id,
            uid,
            name,
            throttle_rate,
            metadata,
            created_at,
            updated_at,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct CreateQuery {
    #[serde(default)]
    get_if_exists: bool,
}

pub(crate) async fn create(
    api: State,
    Operator(organization): Operator,
    Query(query): Query<CreateQuery>,
    Json(body): Json<ApplicationIn>,
) -> Result<(StatusCode, Json<ApplicationOut>), Refusal> {
    let reference = body.uid.clone().map(Reference::Uid);
    let application = body.into_new();
    if api
        .config
        .create_application(&organization, &application)
        .await?
        == Written::Yes
    {
        return Ok((StatusCode::CREATED, Json(application.into())));
    }
    let existing = match reference.filter(|_| query.get_if_exists) {
        Some(reference) => find_application(&api, &organization, &reference).await?,
        None => None,
    };
    let existing = existing.ok_or_else(uid_taken)?;
    Ok((StatusCode::OK, Json(existing.into())))
}

pub(crate) async fn list(
    api: State,
    Operator(organization): Operator,
    Query(paging): Query<Paging>,
) -> Result<Json<ListOut<ApplicationOut>>, Refusal> {
    let plan = paging.plan::<ApplicationId>(Order::Ascending)?;
    let found = api.config.applications(&organization, &plan.page).await?;
    Ok(Json(
        plan.respond(found, |application| application.id.to_string())
            .map(ApplicationOut::from),
    ))
}

pub(crate) async fn get(found: TheApplication) -> Json<ApplicationOut> {
    Json(found.application.into())
}

/// Replaces an application, or creates the one whose uid the path names.
pub(crate) async fn update(
    api: State,
    Operator(organization): Operator,
    axum::extract::Path(name): axum::extract::Path<String>,
    Json(body): Json<ApplicationIn>,
) -> Result<(StatusCode, Json<ApplicationOut>), Refusal> {
    let reference: Reference<ApplicationId> = name
        .parse()
        .map_err(|error| FieldError::at("path", "app_id", format!("{error}")))?;
    let Some(before) = find_application(&api, &organization, &reference).await? else {
        return create_under(&api, organization, reference, body).await;
    };
    let after = body.over(&before);
    match api
        .config
        .update_application(&organization, &before, &after)
        .await?
    {
        Written::Yes => Ok((StatusCode::OK, Json(after.into()))),
        Written::Conflict => Err(changed_or_taken()),
    }
}

async fn create_under(
    api: &Api,
    organization: posthorn_domain::id::OrganizationId,
    reference: Reference<ApplicationId>,
    body: ApplicationIn,
) -> Result<(StatusCode, Json<ApplicationOut>), Refusal> {
    let Reference::Uid(uid) = reference else {
        return Err(ApiError::NotFound("application").into());
    };
    let new = ApplicationIn {
        uid: body.uid.or(Some(uid)),
        ..body
    }
    .into_new();
    match api.config.create_application(&organization, &new).await? {
        Written::Yes => Ok((StatusCode::CREATED, Json(new.into()))),
        Written::Conflict => Err(uid_taken().into()),
    }
}

pub(crate) async fn delete(
    api: State,
    Operator(organization): Operator,
    found: TheApplication,
) -> Result<StatusCode, Refusal> {
    api.config
        .delete_application(&organization, &found.application)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn uid_taken() -> ApiError {
    ApiError::Conflict("an application with this uid exists".to_owned())
}

fn changed_or_taken() -> Refusal {
    ApiError::Conflict("the application changed meanwhile, or the uid is taken".to_owned()).into()
}

impl ApplicationIn {
    fn into_new(self) -> Application {
        let now = now();
        Application {
            id: ApplicationId::new(now, entropy()),
            uid: self.uid,
            name: self.name.0,
            throttle_rate: self.throttle_rate.map(|rate| rate.0),
            metadata: self.metadata,
            shards: DEFAULT_SHARDS,
            created_at: now,
            updated_at: now,
        }
    }

    fn over(self, before: &Application) -> Application {
        let Application {
            id,
            shards,
            created_at,
            ..
        } = before.clone();
        // The version that a write is conditional on, so it must move even within a millisecond.
        let updated_at = now().max(before.updated_at.plus(std::time::Duration::from_millis(1)));
        Application {
            id,
            shards,
            created_at,
            updated_at,
            ..self.into_new()
        }
    }
}
