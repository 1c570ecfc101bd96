//! What handlers take from a request: the caller, path parameters, query and body. Each refuses with
//! the contract's error and names the field.

use std::{str::FromStr, sync::Arc};

use axum::{
    RequestPartsExt,
    body::{Body, to_bytes},
    extract::{FromRequest, FromRequestParts, Path as AxumPath, Request},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use posthorn_contract::{
    ApiError, Refusal,
    body::{locate, parse_body},
    tokens::refuse,
};
use posthorn_domain::{
    application::{Application, OPERATIONAL_UID},
    endpoint::{Confidential, Endpoint},
    error::FieldError,
    id::{ApplicationId, EndpointId, OrganizationId, Reference},
    key::{AppKey, EndpointKey},
    token::Scope,
};
use posthorn_runtime::now;
use posthorn_store::Consistency;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Api, access, query::pairs};

/// The largest request body: what it holds becomes one item, and DynamoDB's limit for one is 400 KB.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;

/// Who is calling; any valid token.
pub(crate) struct Caller(pub(crate) Scope);

/// A caller whose token reaches the whole organization.
pub(crate) struct Operator(pub(crate) OrganizationId);

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Refusal> {
        let scope = api.tokens.authenticate(&parts.headers).await?;
        require_open(api, &scope).await?;
        access::check(&scope, parts)?;
        Ok(Self(scope))
    }
}

/// Refuses a session of the portal that was ended. Those cost a read; other tokens do not.
pub(crate) async fn require_open(api: &Api, scope: &Scope) -> Result<(), Refusal> {
    let (Some(session), Some(application)) = (&scope.session, &scope.application) else {
        return Ok(());
    };
    let app = AppKey::new(&scope.organization, application);
    let ended = api.sessions.is_ended(app, session, now());
    if ended.await? {
        return Err(refuse("the session was ended").into());
    }
    Ok(())
}

impl FromRequestParts<Arc<Api>> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Refusal> {
        let Caller(scope) = Caller::from_request_parts(parts, api).await?;
        scope.require_organization()?;
        Ok(Self(scope.organization))
    }
}

/// The application that the path names, of the caller's organization and within the token's reach.
pub(crate) struct TheApplication {
    pub(crate) scope: Scope,
    pub(crate) application: Application,
}

impl TheApplication {
    pub(crate) fn organization(&self) -> &OrganizationId {
        &self.scope.organization
    }

    pub(crate) fn key(&self) -> AppKey<'_> {
        AppKey::new(self.organization(), &self.application.id)
    }
}

impl FromRequestParts<Arc<Api>> for TheApplication {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Refusal> {
        let Caller(scope) = Caller::from_request_parts(parts, api).await?;
        let ApplicationReference(reference) = parts.extract_with_state(api).await?;
        if scope.application.is_some() && is_operational(&reference) {
            return Err(ApiError::NotFound("application").into());
        }
        let application = find_application(api, &scope.organization, &reference).await?;
        let application = application.ok_or(ApiError::NotFound("application"))?;
        scope.require_application(&application.id)?;
        Ok(Self { scope, application })
    }
}

fn is_operational(reference: &Reference<ApplicationId>) -> bool {
    matches!(reference, Reference::Uid(uid) if uid.as_str() == OPERATIONAL_UID)
}

/// How the path names an application.
pub(crate) struct ApplicationReference(pub(crate) Reference<ApplicationId>);

/// How the path names an endpoint.
pub(crate) struct EndpointReference(pub(crate) Reference<EndpointId>);

impl FromRequestParts<Arc<Api>> for ApplicationReference {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Refusal> {
        path_parameter(parts, "app_id").await.map(Self)
    }
}

impl FromRequestParts<Arc<Api>> for EndpointReference {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Refusal> {
        path_parameter(parts, "endpoint_id").await.map(Self)
    }
}

/// An application by id or uid. The built-in one is made when it is first asked for.
pub(crate) async fn find_application(
    api: &Api,
    organization: &OrganizationId,
    reference: &Reference<ApplicationId>,
) -> Result<Option<Application>, Refusal> {
    let id = match reference {
        reference if is_operational(reference) => {
            let built_in = api.applications().ensure_operational(organization);
            return Ok(Some(built_in.await?));
        }
        Reference::Id(id) => Some(id.clone()),
        Reference::Uid(uid) => api.applications().by_uid(organization, uid).await?,
    };
    let Some(id) = id else { return Ok(None) };
    let app = AppKey::new(organization, &id);
    Ok(api.applications().get(app).await?)
}

/// The endpoint that the path names, with its application.
pub(crate) struct TheEndpoint {
    pub(crate) owner: TheApplication,
    pub(crate) endpoint: Endpoint,
}

impl TheEndpoint {
    pub(crate) fn key(&self) -> EndpointKey<'_> {
        self.owner.key().endpoint(&self.endpoint.id)
    }

    /// What is sealed of it.
    pub(crate) async fn confidential(&self, api: &Api) -> Result<Confidential, Refusal> {
        let opened = api.vault.open(self.key(), &self.endpoint.sealed).await;
        opened.map_err(Refusal::fault)
    }

    /// Nothing is sent to an endpoint that its owner switched off.
    pub(crate) fn require_enabled(&self) -> Result<(), ApiError> {
        if self.endpoint.disabled {
            return Err(ApiError::Conflict(
                "the endpoint is disabled: enable it first".to_owned(),
            ));
        }
        Ok(())
    }
}

impl FromRequestParts<Arc<Api>> for TheEndpoint {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Refusal> {
        let owner = TheApplication::from_request_parts(parts, api).await?;
        let EndpointReference(reference) = parts.extract_with_state(api).await?;
        let endpoint = find_endpoint(api, &owner, &reference).await?;
        let endpoint = endpoint.ok_or(ApiError::NotFound("endpoint"))?;
        Ok(Self { owner, endpoint })
    }
}

/// An endpoint of an application by id or uid.
pub(crate) async fn find_endpoint(
    api: &Api,
    owner: &TheApplication,
    reference: &Reference<EndpointId>,
) -> Result<Option<Endpoint>, Refusal> {
    let app = owner.key();
    let id = match reference {
        Reference::Id(id) => Some(id.clone()),
        Reference::Uid(uid) => api.endpoints.by_uid(app, uid).await?,
    };
    let Some(id) = id else { return Ok(None) };
    let endpoint = api.endpoints.get(app.endpoint(&id), Consistency::Strong);
    Ok(endpoint.await?)
}

/// A parameter of the path, as a type.
pub(crate) async fn path_parameter<T: FromStr<Err: std::fmt::Display>>(
    parts: &mut Parts,
    name: &'static str,
) -> Result<T, Refusal> {
    let invalid = |reason: String| Refusal::from(FieldError::at("path", name, reason));
    let AxumPath(parameters) = AxumPath::<Vec<(String, String)>>::from_request_parts(parts, &())
        .await
        .map_err(|error| invalid(error.body_text()))?;
    let value = parameters.into_iter().find(|(key, _)| key == name);
    let value = value.map(|(_, value)| value).unwrap_or_default();
    value
        .parse()
        .map_err(|error: T::Err| invalid(error.to_string()))
}

/// The query string as a type. Its router has refused names that the operation does not know.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let query = pairs(parts.uri.query().unwrap_or_default())?;
        let text = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(query)
            .finish();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
        serde_path_to_error::deserialize(pairs)
            .map(Self)
            .map_err(|error| locate("query", error.path(), &error.inner().to_string()).into())
    }
}

/// The JSON body as a type.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        Ok(Self(parse_body(&read_body(request.into_body()).await?)?))
    }
}

/// The bytes of a request body.
pub(crate) async fn read_body(body: Body) -> Result<axum::body::Bytes, ApiError> {
    to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        ApiError::TooLarge(format!(
            "the request body must have at most {MAX_BODY_BYTES} bytes"
        ))
    })
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_string(&self.0) {
            Ok(body) => ([("content-type", "application/json")], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "a response could not be written");
                Refusal::from(ApiError::Unavailable).into_response()
            }
        }
    }
}
