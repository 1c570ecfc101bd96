//! Mints bearer tokens for operators who may invoke the function (IAM).

use std::time::Duration;

use posthorn_domain::{
    id::{ApplicationId, OrganizationId},
    name::FeatureFlag,
    timestamp::Timestamp,
    token::Scope,
};
use posthorn_runtime::{StartError, Tokens, entropy};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// A new token.
#[derive(Serialize)]
pub(crate) struct MintOut {
    organization: OrganizationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<ApplicationId>,
    token: String,
}

pub(crate) async fn mint(
    tokens: &Tokens,
    request: &Value,
    now: Timestamp,
) -> Result<MintOut, StartError> {
    let request: MintIn = serde_path_to_error::deserialize(request)?;
    let MintIn {
        organization,
        application,
        feature_flags,
        expires_in_seconds,
    } = request;
    if application.is_some() && organization.is_none() {
        return Err("mint.organization: an application's token needs its organization".into());
    }
    let organization = organization.unwrap_or_else(|| OrganizationId::new(now, entropy()));
    let scope = Scope {
        organization,
        application,
        feature_flags,
        session: None,
    };
    let lifetime = Duration::from_secs(expires_in_seconds);
    let token = tokens.mint(&scope, now, lifetime).await?;
    Ok(MintOut {
        organization: scope.organization,
        application: scope.application,
        token,
    })
}
