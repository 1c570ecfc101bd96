//! Bodies that create, replace and change endpoints, and the checks that their types cannot make.

use std::collections::BTreeMap;

use posthorn_domain::{
    change::Change,
    endpoint::{Endpoint, EndpointChannels, EndpointEventTypes},
    error::FieldError,
    headers::CustomHeaders,
    id::EndpointId,
    name::{Channel, EventTypeName, Uid},
    operational::EVENT_TYPES,
    rate::Rate,
    signing::EndpointSecret,
};
use posthorn_runtime::{entropy, now};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{Api, extract::TheApplication, refusal::Refusal};

/// `EndpointIn` of the contract. Official clients before 2.0 say `filterTypes` and `rateLimit`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointIn {
    #[schema(format = "uri", min_length = 1, max_length = 65536)]
    url: String,
    #[serde(default)]
    description: String,
    uid: Option<Uid>,
    #[serde(alias = "filterTypes")]
    #[schema(value_type = Option<Vec<EventTypeName>>, min_items = 1, max_items = 500)]
    event_types: Option<EndpointEventTypes>,
    #[schema(value_type = Option<Vec<Channel>>, min_items = 1, max_items = 10)]
    channels: Option<EndpointChannels>,
    #[serde(default)]
    disabled: bool,
    #[serde(alias = "rateLimit")]
    throttle_rate: Option<Rate>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    secret: Option<EndpointSecret>,
    /// Headers that attempts carry; newer official clients set them here.
    headers: Option<CustomHeaders>,
}

/// `EndpointUpdate` of the contract.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointUpdate {
    #[schema(format = "uri", min_length = 1, max_length = 65536)]
    url: String,
    #[serde(default)]
    description: String,
    uid: Option<Uid>,
    #[serde(alias = "filterTypes")]
    #[schema(value_type = Option<Vec<EventTypeName>>, min_items = 1, max_items = 500)]
    event_types: Option<EndpointEventTypes>,
    #[schema(value_type = Option<Vec<Channel>>, min_items = 1, max_items = 10)]
    channels: Option<EndpointChannels>,
    #[serde(default)]
    disabled: bool,
    #[serde(alias = "rateLimit")]
    throttle_rate: Option<Rate>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// `EndpointPatch` of the contract.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointPatch {
    #[serde(default)]
    #[schema(value_type = String, format = "uri", max_length = 65536)]
    url: Change<String>,
    #[serde(default)]
    #[schema(value_type = String)]
    description: Change<String>,
    #[serde(default)]
    #[schema(value_type = Option<Uid>)]
    uid: Change<Option<Uid>>,
    #[serde(default, alias = "filterTypes")]
    #[schema(value_type = Option<Vec<EventTypeName>>, min_items = 1, max_items = 500)]
    event_types: Change<Option<EndpointEventTypes>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<Channel>>, min_items = 1, max_items = 10)]
    channels: Change<Option<EndpointChannels>>,
    #[serde(default)]
    #[schema(value_type = bool)]
    disabled: Change<bool>,
    #[serde(default, alias = "rateLimit")]
    #[schema(value_type = Option<Rate>)]
    throttle_rate: Change<Option<Rate>>,
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    metadata: Change<BTreeMap<String, String>>,
}

impl EndpointIn {
    /// A new endpoint.
    pub(crate) async fn into_new(
        self,
        api: &Api,
        owner: &TheApplication,
    ) -> Result<Endpoint, Refusal> {
        check_url(api, &self.url)?;
        check_event_types(api, owner, self.event_types.as_ref(), None).await?;
        let now = now();
        Ok(Endpoint {
            id: EndpointId::new(now, entropy()),
            uid: self.uid,
            url: self.url,
            description: self.description,
            event_types: self.event_types,
            channels: self.channels,
            disabled: self.disabled,
            throttle_rate: self.throttle_rate.map(Rate::get),
            metadata: self.metadata,
            headers: self.headers.unwrap_or_default(),
            secret: self
                .secret
                .unwrap_or_else(|| EndpointSecret::generate(entropy())),
            old_secrets: Vec::new(),
            revision: 1,
            created_at: now,
            updated_at: now,
        })
    }
}

impl EndpointUpdate {
    /// What replaces an endpoint.
    pub(crate) async fn over(
        self,
        api: &Api,
        owner: &TheApplication,
        before: &Endpoint,
    ) -> Result<Endpoint, Refusal> {
        check_url(api, &self.url)?;
        check_event_types(api, owner, self.event_types.as_ref(), Some(before)).await?;
        Ok(Endpoint {
            uid: self.uid,
            url: self.url,
            description: self.description,
            event_types: self.event_types,
            channels: self.channels,
            disabled: self.disabled,
            throttle_rate: self.throttle_rate.map(Rate::get),
            metadata: self.metadata,
            revision: before.revision + 1,
            updated_at: now(),
            ..before.clone()
        })
    }

    /// The body of the endpoint that a path names by a new uid.
    pub(crate) fn under(self, uid: Uid) -> EndpointIn {
        EndpointIn {
            url: self.url,
            description: self.description,
            uid: self.uid.or(Some(uid)),
            event_types: self.event_types,
            channels: self.channels,
            disabled: self.disabled,
            throttle_rate: self.throttle_rate,
            metadata: self.metadata,
            secret: None,
            headers: None,
        }
    }
}

impl EndpointPatch {
    /// The endpoint after the change. What is not named is not checked again.
    pub(crate) async fn over(
        self,
        api: &Api,
        owner: &TheApplication,
        before: &Endpoint,
    ) -> Result<Endpoint, Refusal> {
        if let Change::Set(url) = &self.url {
            check_url(api, url)?;
        }
        if let Change::Set(event_types) = &self.event_types {
            check_event_types(api, owner, event_types.as_ref(), Some(before)).await?;
        }
        let before = before.clone();
        Ok(Endpoint {
            url: self.url.over(before.url),
            description: self.description.over(before.description),
            uid: self.uid.over(before.uid),
            event_types: self.event_types.over(before.event_types),
            channels: self.channels.over(before.channels),
            disabled: self.disabled.over(before.disabled),
            throttle_rate: match self.throttle_rate {
                Change::Keep => before.throttle_rate,
                Change::Set(rate) => rate.map(Rate::get),
            },
            metadata: self.metadata.over(before.metadata),
            revision: before.revision + 1,
            updated_at: now(),
            ..before
        })
    }
}

fn check_url(api: &Api, url: &str) -> Result<(), FieldError> {
    let checked = api.addresses.check(url);
    checked
        .map(|_| ())
        .map_err(|error| FieldError::body("url", error.to_string()))
}

/// Event types must exist, not be archived and be visible to the caller. Those that the endpoint
/// has already stay usable.
async fn check_event_types(
    api: &Api,
    owner: &TheApplication,
    wanted: Option<&EndpointEventTypes>,
    before: Option<&Endpoint>,
) -> Result<(), Refusal> {
    let known = before.and_then(|before| before.event_types.as_ref());
    let is_new = |name: &&EventTypeName| known.is_none_or(|known| !known.contains(name));
    let wanted: Vec<_> = wanted
        .into_iter()
        .flat_map(|names| names.iter())
        .filter(is_new)
        .collect();
    let usable: Vec<EventTypeName> = if wanted.is_empty() {
        return Ok(());
    } else if owner.is_operational() {
        EVENT_TYPES
            .into_iter()
            .filter_map(|name| name.to_owned().try_into().ok())
            .collect()
    } else {
        let found = api
            .config()
            .event_types_named(owner.organization(), wanted.iter().copied());
        let found = found.await?.into_iter();
        let is_usable = |found: &posthorn_domain::event_type::EventType| {
            !found.archived && owner.scope.sees(found.feature_flag.as_ref())
        };
        found.filter(is_usable).map(|found| found.name).collect()
    };
    match wanted.into_iter().find(|name| !usable.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let msg = format!("the event type `{name}` does not exist");
            Err(FieldError::body("eventTypes", msg).into())
        }
    }
}
