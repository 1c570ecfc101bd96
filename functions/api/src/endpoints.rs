//! Endpoints.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use posthorn_domain::{
    endpoint::{Endpoint, EndpointChannels, EndpointEventTypes},
    error::{ApiError, FieldError},
    id::{EndpointId, OrganizationId, Reference},
    name::Uid,
    signing::EndpointSecret,
    timestamp::{Timestamp, rfc3339},
};
use posthorn_runtime::{entropy, now};
use posthorn_store::Written;
use serde::{Deserialize, Serialize};

use crate::{
    Api, State,
    applications::Rate,
    extract::{Json, Query, TheApplication, TheEndpoint, find_endpoint},
    list::{ListOut, Order, Paging},
    refusal::Refusal,
};

/// `EndpointIn` of the contract; `EndpointUpdate` is the same without the secret.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointIn {
    url: String,
    #[serde(default)]
    description: String,
    uid: Option<Uid>,
    // Official clients before 2.0 say `filterTypes` and `rateLimit`.
    #[serde(alias = "filterTypes")]
    event_types: Option<EndpointEventTypes>,
    channels: Option<EndpointChannels>,
    #[serde(default)]
    disabled: bool,
    #[serde(alias = "rateLimit")]
    throttle_rate: Option<Rate>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    secret: Option<EndpointSecret>,
}

/// `EndpointOut` of the contract, and what official clients before 2.0 read besides: `version`, and
/// two fields under their older names.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointOut {
    id: EndpointId,
    uid: Option<Uid>,
    url: String,
    description: String,
    filter_types: Option<EndpointEventTypes>,
    event_types: Option<EndpointEventTypes>,
    channels: Option<EndpointChannels>,
    disabled: bool,
    rate_limit: Option<u16>,
    version: u64,
    throttle_rate: Option<u16>,
    metadata: BTreeMap<String, String>,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
    #[serde(with = "rfc3339")]
    updated_at: Timestamp,
}

/// `EndpointSecretOut` of the contract.
#[derive(Debug, Serialize)]
pub(crate) struct SecretOut {
    key: String,
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
            rate_limit: endpoint.throttle_rate,
            version: endpoint.revision,
            throttle_rate: endpoint.throttle_rate,
            metadata: endpoint.metadata,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

pub(crate) async fn create(
    api: State,
    owner: TheApplication,
    Json(body): Json<EndpointIn>,
) -> Result<(StatusCode, Json<EndpointOut>), Refusal> {
    store_new(&api, &owner, body).await
}

async fn store_new(
    api: &Api,
    owner: &TheApplication,
    body: EndpointIn,
) -> Result<(StatusCode, Json<EndpointOut>), Refusal> {
    body.check(api, &owner.organization).await?;
    let new = body.into_new();
    match api
        .config
        .create_endpoint(&owner.organization, &owner.application.id, &new)
        .await?
    {
        Written::Yes => Ok((StatusCode::CREATED, Json(new.into()))),
        Written::Conflict => {
            Err(ApiError::Conflict("an endpoint with this uid exists".to_owned()).into())
        }
    }
}

pub(crate) async fn list(
    api: State,
    owner: TheApplication,
    Query(paging): Query<Paging>,
) -> Result<Json<ListOut<EndpointOut>>, Refusal> {
    let plan = paging.plan::<EndpointId>(Order::Ascending)?;
    let found = api
        .config
        .endpoints(&owner.organization, &owner.application.id, &plan.page)
        .await?;
    Ok(Json(
        plan.respond(found, |endpoint| endpoint.id.to_string())
            .map(EndpointOut::from),
    ))
}

pub(crate) async fn get(found: TheEndpoint) -> Json<EndpointOut> {
    Json(found.endpoint.into())
}

pub(crate) async fn secret(found: TheEndpoint) -> Json<SecretOut> {
    Json(SecretOut {
        key: found.endpoint.secret.expose(),
    })
}

/// Replaces an endpoint, or creates the one whose uid the path names. The secret stays: it has an
/// operation of its own.
pub(crate) async fn update(
    api: State,
    owner: TheApplication,
    axum::extract::Path((_, name)): axum::extract::Path<(String, String)>,
    Json(body): Json<EndpointIn>,
) -> Result<(StatusCode, Json<EndpointOut>), Refusal> {
    let reference: Reference<EndpointId> = name
        .parse()
        .map_err(|error| FieldError::at("path", "endpoint_id", format!("{error}")))?;
    let before = match (find_endpoint(&api, &owner, &reference).await?, reference) {
        (Some(before), _) => before,
        (None, Reference::Id(_)) => return Err(ApiError::NotFound("endpoint").into()),
        (None, Reference::Uid(uid)) => {
            return store_new(
                &api,
                &owner,
                EndpointIn {
                    uid: body.uid.or(Some(uid)),
                    ..body
                },
            )
            .await;
        }
    };
    body.check(&api, &owner.organization).await?;
    let after = body.over(&before);
    match api
        .config
        .update_endpoint(&owner.organization, &owner.application.id, &before, &after)
        .await?
    {
        Written::Yes => Ok((StatusCode::OK, Json(after.into()))),
        Written::Conflict => Err(ApiError::Conflict(
            "the endpoint changed meanwhile, or the uid is taken".to_owned(),
        )
        .into()),
    }
}

pub(crate) async fn delete(api: State, found: TheEndpoint) -> Result<StatusCode, Refusal> {
    let TheEndpoint { owner, endpoint } = found;
    api.config
        .delete_endpoint(&owner.organization, &owner.application.id, &endpoint)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

impl EndpointIn {
    /// Checks what a type cannot: where the URL leads, and that the event types exist.
    async fn check(&self, api: &Api, organization: &OrganizationId) -> Result<(), Refusal> {
        api.addresses
            .check(&self.url)
            .map_err(|error| FieldError::body("url", error.to_string()))?;
        for name in self.event_types.iter().flat_map(|types| types.iter()) {
            if api.config.event_type(organization, name).await?.is_none() {
                let msg = format!("the event type `{name}` does not exist");
                return Err(FieldError::body("eventTypes", msg).into());
            }
        }
        Ok(())
    }

    fn into_new(self) -> Endpoint {
        let now = now();
        Endpoint {
            id: EndpointId::new(now, entropy()),
            uid: self.uid,
            url: self.url,
            description: self.description,
            event_types: self.event_types,
            channels: self.channels,
            disabled: self.disabled,
            throttle_rate: self.throttle_rate.map(|rate| rate.0),
            metadata: self.metadata,
            secret: self
                .secret
                .unwrap_or_else(|| EndpointSecret::generate(entropy())),
            revision: 1,
            created_at: now,
            updated_at: now,
        }
    }

    fn over(self, before: &Endpoint) -> Endpoint {
        let Endpoint {
            id,
            secret,
            created_at,
            revision,
            ..
        } = before.clone();
        Endpoint {
            id,
            secret,
            created_at,
            revision: revision + 1,
            ..self.into_new()
        }
    }
}
