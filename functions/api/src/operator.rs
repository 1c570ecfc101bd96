//! What operators do who may invoke the function (IAM): mint and revoke tokens, replace keys.
//!
//! | event | does |
//! |---|---|
//! | `{"mint": {…}}` | makes a token |
//! | `{"revoke": {…}}` | ends tokens |
//! | `{"rotate_token_key": {}}` | replaces the key that signs tokens |
//! | `{"rotate_data_key": {}}` | replaces the key that seals endpoints' secrets |

use std::time::Duration;

use posthorn_domain::{
    id::{ApplicationId, OrganizationId, TokenId},
    name::FeatureFlag,
    timestamp::Timestamp,
    token::{Revocation, Scope, Trust},
};
use posthorn_runtime::{StartError, entropy, now};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::Api;

/// How long a token is valid when the request does not say: ten years, as Svix's.
const LIFETIME_SECONDS: u64 = 10 * 365 * 86_400;

/// `{"mint": {}}` makes a new organization; name the `organization` for another token of it, and an
/// `application` for a token that reaches that one only, with the `feature_flags` that it sees.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MintIn {
    organization: Option<OrganizationId>,
    application: Option<ApplicationId>,
    #[serde(default)]
    feature_flags: Vec<FeatureFlag>,
    #[serde(default = "lifetime")]
    expires_in_seconds: u64,
}

fn lifetime() -> u64 {
    LIFETIME_SECONDS
}

/// A new token, and the id that it can be revoked by.
#[derive(Serialize)]
struct MintOut {
    organization: OrganizationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<ApplicationId>,
    jti: TokenId,
    token: String,
}

/// The token `jti` of an organization, all of one `application` so far, or all of the organization.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeIn {
    organization: OrganizationId,
    application: Option<ApplicationId>,
    jti: Option<TokenId>,
}

/// `end_previous` ends the tokens of the keys so far as well, as after a leak.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateTokenKeyIn {
    #[serde(default)]
    end_previous: bool,
}

/// Answers an operator's event; `None` for any other.
pub(crate) async fn answer(api: &Api, event: &Value) -> Option<Result<Value, StartError>> {
    let answer = if let Some(request) = event.get("mint") {
        mint(api, request, now()).await
    } else if let Some(request) = event.get("revoke") {
        revoke(api, request, now()).await
    } else if let Some(request) = event.get("rotate_token_key") {
        rotate_token_key(api, request).await
    } else if event.get("rotate_data_key").is_some() {
        rotate_data_key(api).await
    } else {
        return None;
    };
    Some(answer)
}

fn read<T: DeserializeOwned>(request: &Value) -> Result<T, StartError> {
    Ok(serde_path_to_error::deserialize(request)?)
}

async fn mint(api: &Api, request: &Value, now: Timestamp) -> Result<Value, StartError> {
    let MintIn {
        organization,
        application,
        feature_flags,
        expires_in_seconds,
    } = read(request)?;
    if application.is_some() && organization.is_none() {
        return Err("mint.organization: an application's token needs its organization".into());
    }
    let scope = Scope {
        organization: organization.unwrap_or_else(|| OrganizationId::new(now, entropy())),
        application,
        feature_flags,
        session: None,
    };
    let (jti, lifetime) = (
        TokenId::new(now, entropy()),
        Duration::from_secs(expires_in_seconds),
    );
    let token = api.signer.mint(&scope, jti.clone(), now, lifetime);
    Ok(serde_json::to_value(MintOut {
        token: token.await?,
        organization: scope.organization,
        application: scope.application,
        jti,
    })?)
}

async fn revoke(api: &Api, request: &Value, now: Timestamp) -> Result<Value, StartError> {
    let RevokeIn {
        organization,
        application,
        jti,
    } = read(request)?;
    let revocation = match (application, jti) {
        (None, None) => Revocation::Organization,
        (Some(application), None) => Revocation::Application(application),
        (None, Some(jti)) => Revocation::Token(jti),
        (Some(_), Some(_)) => return Err("revoke: name an application or a jti, not both".into()),
    };
    let revoke = |trust: Trust| trust.revoke(organization.clone(), revocation.clone(), now);
    api.signer.change_trust(revoke).await?;
    Ok(json!({ "revoked_at": now.to_rfc3339() }))
}

async fn rotate_token_key(api: &Api, request: &Value) -> Result<Value, StartError> {
    let RotateTokenKeyIn { end_previous } = read(request)?;
    let key = api.signer.rotate(end_previous).await?;
    Ok(json!({ "token_key": key }))
}

async fn rotate_data_key(api: &Api) -> Result<Value, StartError> {
    let key = api.vault.rotate().await?;
    let key = key.ok_or("the deployment has no KMS key: there is no data key to rotate")?;
    Ok(json!({ "data_key": key }))
}
