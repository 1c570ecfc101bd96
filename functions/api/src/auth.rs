//! Tokens for the application portal.

use std::{collections::BTreeSet, time::Duration};

use axum::http::StatusCode;
use base64::{Engine, engine::general_purpose::STANDARD};
use posthorn_contract::{ApiError, Refusal, application::ApplicationIn, tokens::refuse};
use posthorn_domain::{
    error::FieldError,
    id::TokenId,
    list::UniqueList,
    name::{FeatureFlag, Uid},
    token::{Capability, Scope, Session, SessionTag},
};
use posthorn_runtime::{entropy, now};
use posthorn_store::Written;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    Routes, State,
    applications::find_or_create,
    extract::{ApplicationReference, Caller, Json, Operator, TheApplication, require_open},
    routes::routes,
};

/// How long a portal's token is valid when the request does not say: a week, as Svix's.
const LIFETIME_SECONDS: i64 = 7 * 86_400;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(app_portal_access))
        .routes(routes!(logout))
        .routes(routes!(expire_all))
        .routes(routes!(exchange))
}

/// `AppPortalAccessIn` of the contract, and what newer clients may add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppPortalAccessIn {
    /// Creates the application that the path names, if there is none; its uid must be the path's.
    application: Option<ApplicationIn>,
    /// Event types with one of these flags are visible besides those without a flag.
    #[schema(value_type = Option<Vec<FeatureFlag>>, max_items = 25)]
    feature_flags: Option<UniqueList<FeatureFlag, 0, 25>>,
    /// Seconds that the token is valid: 3600 to 604800, which is the default.
    #[schema(value_type = Option<i64>, minimum = 3600, maximum = 604800)]
    expiry: Option<Expiry>,
    /// A token that sees everything but secrets, and changes nothing: the capability `ViewBase` alone.
    read_only: Option<bool>,
    /// What the token may do; all when it is left out. `ViewBase` must be among them.
    #[schema(value_type = Option<Vec<Capability>>, min_items = 1)]
    capabilities: Option<UniqueList<Capability, 1, 6>>,
    /// The caller's own name for the session, to end it by.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[a-zA-Z0-9@_-]+$")]
    session_id: Option<SessionTag>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
struct Expiry(i64);

impl TryFrom<i64> for Expiry {
    type Error = &'static str;

    fn try_from(seconds: i64) -> Result<Self, Self::Error> {
        match seconds {
            3600..=LIFETIME_SECONDS => Ok(Self(seconds)),
            _ => Err("must be from 3600 to 604800"),
        }
    }
}

/// `AppPortalAccessOut` of the contract.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppPortalAccessOut {
    /// The portal's address with the token in its fragment, which browsers do not send.
    #[schema(format = "uri-reference")]
    url: String,
    /// The token: it reaches this application only.
    token: String,
}

/// Makes a token for a customer: it reaches one application, and logout ends it.
#[utoipa::path(post, path = "/api/v1/auth/app-portal-access/{app_id}", operation_id = "v1.authentication.app-portal-access", tag = "Authentication",
    params(("app_id" = Uid, Path)), request_body = AppPortalAccessIn, responses((status = 200, body = AppPortalAccessOut)))]
pub(crate) async fn app_portal_access(
    api: State,
    Operator(organization): Operator,
    ApplicationReference(reference): ApplicationReference,
    Json(body): Json<AppPortalAccessIn>,
) -> Result<Json<AppPortalAccessOut>, Refusal> {
    let capabilities = body.capabilities()?;
    if let Some(brought) = &body.application {
        let checked = brought.check_brought(&reference.to_string());
        checked.map_err(|error| error.within("application"))?;
    }
    let found = find_or_create(&api, &organization, &reference, body.application).await;
    let (_, application) = found.map_err(|refusal| refusal.within("application"))?;
    let now = now();
    let seconds = body.expiry.map_or(LIFETIME_SECONDS, |expiry| expiry.0);
    let scope = Scope {
        organization,
        application: Some(application.id.clone()),
        feature_flags: body.feature_flags.map(Vec::from).unwrap_or_default(),
        session: Some(Session {
            id: TokenId::new(now, entropy()),
            granted_at: now,
            expires_at: now.plus(Duration::from_secs(seconds.unsigned_abs())),
            capabilities,
            tag: body.session_id,
        }),
    };
    let token = session_token(&api, &scope).await?;
    let key = json!({ "appId": application.id, "token": token }).to_string();
    let url = format!("{}#key={}", api.portal_url, STANDARD.encode(key));
    Ok(Json(AppPortalAccessOut { url, token }))
}

impl AppPortalAccessIn {
    /// A token that can do more than was asked for would be worse than none.
    fn capabilities(&self) -> Result<BTreeSet<Capability>, FieldError> {
        let all = || BTreeSet::from(Capability::ALL);
        let named = self.capabilities.as_ref();
        let named = named.map(|list| list.iter().copied().collect::<BTreeSet<_>>());
        if named
            .as_ref()
            .is_some_and(|it| !it.contains(&Capability::ViewBase))
        {
            return Err(FieldError::body("capabilities", "must contain `ViewBase`"));
        }
        if self.read_only != Some(true) {
            return Ok(named.unwrap_or_else(all));
        }
        let reading = BTreeSet::from([Capability::ViewBase]);
        if named.is_some_and(|named| named != reading) {
            let msg = "is true, but `capabilities` names more than `ViewBase`";
            return Err(FieldError::body("readOnly", msg));
        }
        Ok(reading)
    }
}

/// The token of a session, valid until the session ends.
async fn session_token(api: &State, scope: &Scope) -> Result<String, ApiError> {
    let session = scope.session.as_ref().ok_or(ApiError::Forbidden)?;
    let now = now();
    let left = session.expires_at.as_millis() - now.as_millis();
    let lifetime = Duration::from_millis(u64::try_from(left).unwrap_or_default());
    let id = session.id.clone();
    let token = api.signer.mint(scope, id, now, lifetime);
    token.await.map_err(|error| {
        tracing::error!(%error, "a token could not be made");
        ApiError::Unavailable
    })
}

/// Ends the session of the portal's token that makes the request.
#[utoipa::path(post, path = "/api/v1/auth/logout", operation_id = "v1.authentication.logout", tag = "Authentication",
    responses((status = 204)))]
pub(crate) async fn logout(api: State, Caller(scope): Caller) -> Result<StatusCode, Refusal> {
    let session = scope.session.as_ref().ok_or(ApiError::Forbidden)?;
    api.sessions.end(&scope.organization, session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `ApplicationTokenExpireIn` of the contract.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplicationTokenExpireIn {
    /// Seconds until the sessions end: 0, the default, to 259200.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 259200)]
    expiry: Option<Grace>,
    /// Ends those sessions only that were granted with one of these `sessionId`s; none means all.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, max_items = 1000)]
    session_ids: Option<UniqueList<SessionTag, 0, 1000>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
struct Grace(u64);

impl TryFrom<i64> for Grace {
    type Error = &'static str;

    fn try_from(seconds: i64) -> Result<Self, Self::Error> {
        match seconds {
            0..=259_200 => Ok(Self(seconds.unsigned_abs())),
            _ => Err("must be from 0 to 259200"),
        }
    }
}

/// Ends the portal's sessions of an application that were granted so far.
#[utoipa::path(post, path = "/api/v1/auth/app/{app_id}/expire-all", operation_id = "v1.authentication.expire-all", tag = "Authentication",
    params(("app_id" = Uid, Path)), request_body = ApplicationTokenExpireIn, responses((status = 204)))]
pub(crate) async fn expire_all(
    api: State,
    _: Operator,
    found: TheApplication,
    Json(body): Json<ApplicationTokenExpireIn>,
) -> Result<StatusCode, Refusal> {
    let grace = Duration::from_secs(body.expiry.map_or(0, |grace| grace.0));
    let tags = body.session_ids.map(Vec::from).unwrap_or_default();
    let ended = api.sessions.end_all(found.key(), &tags, now(), grace);
    if ended.await? != Written::Yes {
        let msg = "others end the same sessions at the same time: try again";
        return Err(ApiError::Conflict(msg.to_owned()).into());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `OneTimeTokenIn` of the contract.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OneTimeTokenIn {
    /// The token of a portal's link.
    one_time_token: String,
}

/// `OneTimeTokenOut` of the contract.
#[derive(Serialize, ToSchema)]
pub(crate) struct OneTimeTokenOut {
    /// What the token may do.
    capabilities: Vec<Capability>,
    /// The token that takes the other one's place.
    token: String,
}

/// Exchanges the token of a portal's link for another of the same reach and end; the link's token is
/// worth nothing afterwards. The token in the body is what authorises the request.
#[utoipa::path(post, path = "/api/v1/auth/one-time-token", operation_id = "v1.authentication.exchange-one-time-token", tag = "Authentication",
    security(()), request_body = OneTimeTokenIn, responses((status = 200, body = OneTimeTokenOut)))]
pub(crate) async fn exchange(
    api: State,
    Json(body): Json<OneTimeTokenIn>,
) -> Result<Json<OneTimeTokenOut>, Refusal> {
    let mut scope = api.tokens.authenticate_bare(&body.one_time_token).await?;
    require_open(&api, &scope).await?;
    let organization = scope.organization.clone();
    let session = scope.session.as_mut().ok_or(ApiError::Forbidden)?;
    if api.sessions.end(&organization, session).await? != Written::Yes {
        return Err(refuse("the token was used before").into());
    }
    session.id = TokenId::new(now(), entropy());
    let capabilities = session.capabilities.iter().copied().collect();
    let token = session_token(&api, &scope).await?;
    Ok(Json(OneTimeTokenOut {
        capabilities,
        token,
    }))
}
