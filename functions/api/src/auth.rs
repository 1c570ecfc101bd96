//! Tokens for the application portal.

use std::time::Duration;

use axum::http::StatusCode;
use base64::{Engine, engine::general_purpose::STANDARD};
use posthorn_domain::{
    application::ApplicationIn,
    error::{ApiError, FieldError},
    id::SessionId,
    list::UniqueList,
    name::{FeatureFlag, Uid},
    token::{Scope, Session},
};
use posthorn_runtime::{entropy, now};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    Routes, State,
    applications::find_or_create,
    extract::{ApplicationReference, Caller, Json, Operator},
    refusal::Refusal,
    routes::routes,
};

/// How long a portal's token is valid when the request does not say: a week, as Svix's.
const LIFETIME_SECONDS: i64 = 7 * 86_400;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(app_portal_access))
        .routes(routes!(logout))
}

/// `AppPortalAccessIn` of the contract, and what newer clients may add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppPortalAccessIn {
    /// Creates the application that the path names, if there is none.
    application: Option<ApplicationIn>,
    /// Event types with one of these flags are visible besides those without a flag.
    #[schema(value_type = Option<Vec<FeatureFlag>>, max_items = 100)]
    feature_flags: Option<UniqueList<FeatureFlag, 0, 100>>,
    /// Seconds that the token is valid: 3600 to 604800, which is the default.
    #[schema(value_type = Option<i64>, minimum = 3600, maximum = 604800)]
    expiry: Option<Expiry>,
    /// Not supported: a token that can read only.
    #[schema(value_type = Option<bool>)]
    read_only: Option<bool>,
    /// Not supported: a token with some rights only.
    #[schema(value_type = Option<Vec<String>>)]
    capabilities: Option<Value>,
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
    #[schema(format = "uri")]
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
    body.refuse_unsupported()?;
    let found = find_or_create(&api, &organization, &reference, body.application).await;
    let (_, application) = found.map_err(|refusal| refusal.within("application"))?;
    let now = now();
    let seconds = body
        .expiry
        .map_or(LIFETIME_SECONDS, |expiry| expiry.0)
        .unsigned_abs();
    let lifetime = Duration::from_secs(seconds);
    let expires_at = now.plus(lifetime);
    let scope = Scope {
        organization,
        application: Some(application.id.clone()),
        feature_flags: body.feature_flags.map(Vec::from).unwrap_or_default(),
        session: Some(Session {
            id: SessionId::new(now, entropy()),
            expires_at,
        }),
    };
    let token = api.tokens.mint(&scope, now, lifetime).await;
    let token = token.map_err(|error| {
        tracing::error!(%error, "a token could not be made");
        ApiError::Unavailable
    })?;
    let key = json!({ "appId": application.id, "token": token }).to_string();
    let url = format!("{}#key={}", api.portal_url, STANDARD.encode(key));
    Ok(Json(AppPortalAccessOut { url, token }))
}

impl AppPortalAccessIn {
    /// A token that can do more than was asked for would be worse than none.
    fn refuse_unsupported(&self) -> Result<(), FieldError> {
        if self.read_only == Some(true) {
            return Err(FieldError::body("readOnly", "is not supported"));
        }
        if self
            .capabilities
            .as_ref()
            .is_some_and(|value| !value.is_null())
        {
            return Err(FieldError::body("capabilities", "is not supported"));
        }
        Ok(())
    }
}

/// Ends the session of the portal's token that makes the request.
#[utoipa::path(post, path = "/api/v1/auth/logout", operation_id = "v1.authentication.logout", tag = "Authentication",
    responses((status = 204)))]
pub(crate) async fn logout(api: State, Caller(scope): Caller) -> Result<StatusCode, Refusal> {
    let session = scope.session.as_ref().ok_or(ApiError::Forbidden)?;
    api.config()
        .end_session(&scope.organization, session)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
