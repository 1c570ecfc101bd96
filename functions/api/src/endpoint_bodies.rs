//! Bodies that create, replace and change endpoints, and the checks that their types cannot make.

use std::collections::BTreeMap;

use posthorn_contract::{
    Refusal,
    body::{MAX_ENTITY_BYTES, check_same, check_size},
};
use posthorn_domain::{
    change::{Change, null_as_empty, null_empties},
    endpoint::{Confidential, Endpoint, EndpointChannels, EndpointEventTypes},
    error::FieldError,
    headers::CustomHeaders,
    health::Health,
    id::EndpointId,
    list::empty_empties,
    metadata,
    name::{Channel, EventTypeName, Uid},
    operational::EVENT_TYPES,
    rate::Rate,
    signing::EndpointSecret,
};
use posthorn_runtime::entropy;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{Api, extract::TheApplication, idempotency::Fresh};

/// `EndpointIn` of the contract. Official clients before 2.0 say `filterTypes` and `rateLimit`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointIn {
    #[schema(format = "uri", min_length = 1, max_length = 65536)]
    url: String,
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(value_type = Option<String>)]
    description: String,
    uid: Option<Uid>,
    #[schema(value_type = Option<Vec<EventTypeName>>, min_items = 1, max_items = 500)]
    event_types: Option<EndpointEventTypes>,
    #[schema(value_type = Option<Vec<EventTypeName>>, min_items = 1, max_items = 500)]
    filter_types: Option<EndpointEventTypes>,
    #[schema(value_type = Option<Vec<Channel>>, min_items = 1, max_items = 10)]
    channels: Option<EndpointChannels>,
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(value_type = Option<bool>)]
    disabled: bool,
    throttle_rate: Option<Rate>,
    rate_limit: Option<Rate>,
    #[serde(default, deserialize_with = "metadata::read")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: BTreeMap<String, String>,
    secret: Option<EndpointSecret>,
    /// Headers that attempts carry; newer official clients set them here.
    headers: Option<CustomHeaders>,
}

/// `EndpointUpdate` of the contract.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointUpdate {
    #[schema(format = "uri", min_length = 1, max_length = 65536)]
    url: String,
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(value_type = Option<String>)]
    description: String,
    uid: Option<Uid>,
    #[schema(value_type = Option<Vec<EventTypeName>>, min_items = 1, max_items = 500)]
    event_types: Option<EndpointEventTypes>,
    #[schema(value_type = Option<Vec<EventTypeName>>, min_items = 1, max_items = 500)]
    filter_types: Option<EndpointEventTypes>,
    #[schema(value_type = Option<Vec<Channel>>, min_items = 1, max_items = 10)]
    channels: Option<EndpointChannels>,
    #[serde(default, deserialize_with = "null_as_empty")]
    #[schema(value_type = Option<bool>)]
    disabled: bool,
    throttle_rate: Option<Rate>,
    rate_limit: Option<Rate>,
    #[serde(default, deserialize_with = "metadata::read")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: BTreeMap<String, String>,
}

/// `EndpointPatch` of the contract.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointPatch {
    #[serde(default)]
    #[schema(value_type = String, format = "uri", max_length = 65536)]
    url: Change<String>,
    #[serde(default, deserialize_with = "null_empties")]
    #[schema(value_type = Option<String>)]
    description: Change<String>,
    #[serde(default)]
    #[schema(value_type = Option<Uid>)]
    uid: Change<Option<Uid>>,
    #[serde(default, deserialize_with = "empty_empties")]
    #[schema(value_type = Option<Vec<EventTypeName>>, max_items = 500)]
    event_types: Change<Option<EndpointEventTypes>>,
    #[serde(default, deserialize_with = "empty_empties")]
    #[schema(value_type = Option<Vec<EventTypeName>>, max_items = 500)]
    filter_types: Change<Option<EndpointEventTypes>>,
    #[serde(default, deserialize_with = "empty_empties")]
    #[schema(value_type = Option<Vec<Channel>>, max_items = 10)]
    channels: Change<Option<EndpointChannels>>,
    #[serde(default)]
    #[schema(value_type = bool)]
    disabled: Change<bool>,
    #[serde(default)]
    #[schema(value_type = Option<Rate>)]
    throttle_rate: Change<Option<Rate>>,
    #[serde(default)]
    #[schema(value_type = Option<Rate>)]
    rate_limit: Change<Option<Rate>>,
    #[serde(default, deserialize_with = "metadata::read_change")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: Change<BTreeMap<String, String>>,
}

impl EndpointIn {
    /// A new endpoint.
    pub(crate) async fn into_new(
        self,
        api: &Api,
        owner: &TheApplication,
        Fresh { now, entropy: id }: Fresh,
    ) -> Result<Endpoint, Refusal> {
        check_names(
            (self.event_types.as_ref(), self.filter_types.as_ref()),
            (self.throttle_rate.as_ref(), self.rate_limit.as_ref()),
        )?;
        let wanted = wanted(self.event_types.as_ref(), self.filter_types.as_ref());
        let url = check_url(api, &self.url)?;
        check_uid(self.uid.as_ref())?;
        check_event_types(api, owner, wanted, None).await?;
        let event_types = self.event_types.or(self.filter_types);
        let id = EndpointId::new(now, id);
        let secret = self.secret;
        let confidential = Confidential {
            headers: self.headers.unwrap_or_default(),
            ..Confidential::new(secret.unwrap_or_else(|| EndpointSecret::generate(entropy())))
        };
        let sealed = api
            .vault
            .seal(owner.key().endpoint(&id), &confidential)
            .await
            .map_err(Refusal::fault)?;
        let new = Endpoint {
            id,
            uid: self.uid,
            url,
            description: self.description,
            event_types,
            channels: self.channels,
            disabled: self.disabled,
            disabled_reason: None,
            health: Health::default(),
            throttle_rate: self.throttle_rate.or(self.rate_limit).map(Rate::get),
            metadata: self.metadata,
            sealed,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        check_size(&new, MAX_ENTITY_BYTES)?;
        Ok(new)
    }
}

impl EndpointUpdate {
    /// Checks what the types cannot; the URL becomes its parsed form.
    pub(crate) async fn check(
        &mut self,
        api: &Api,
        owner: &TheApplication,
        before: &Endpoint,
    ) -> Result<(), Refusal> {
        check_names(
            (self.event_types.as_ref(), self.filter_types.as_ref()),
            (self.throttle_rate.as_ref(), self.rate_limit.as_ref()),
        )?;
        self.url = check_url(api, &self.url)?;
        check_uid(self.uid.as_ref())?;
        let wanted = wanted(self.event_types.as_ref(), self.filter_types.as_ref());
        check_event_types(api, owner, wanted, Some(before)).await
    }

    /// What replaces an endpoint.
    pub(crate) fn over(&self, before: Endpoint) -> Endpoint {
        // Every field by name, so that the compiler refuses one that is forgotten here.
        let Self {
            url,
            description,
            uid,
            event_types,
            filter_types,
            channels,
            disabled,
            throttle_rate,
            rate_limit,
            metadata,
        } = self.clone();
        Endpoint {
            uid,
            url,
            description,
            event_types: event_types.or(filter_types),
            channels,
            disabled,
            throttle_rate: throttle_rate.or(rate_limit).map(Rate::get),
            metadata,
            ..before
        }
    }

    /// The same where the path names the endpoint by a uid: it does not have to be repeated.
    pub(crate) fn named(self, uid: &Uid) -> Self {
        let uid = self.uid.clone().or_else(|| Some(uid.clone()));
        Self { uid, ..self }
    }

    /// The body of the endpoint that a path names by a new uid.
    pub(crate) fn into_in(self, uid: &Uid) -> Result<EndpointIn, FieldError> {
        if self.uid.as_ref().is_some_and(|own| own != uid) {
            return Err(FieldError::body("uid", "must be the path's"));
        }
        Ok(EndpointIn {
            url: self.url,
            description: self.description,
            uid: Some(uid.clone()),
            event_types: self.event_types,
            filter_types: self.filter_types,
            channels: self.channels,
            disabled: self.disabled,
            throttle_rate: self.throttle_rate,
            rate_limit: self.rate_limit,
            metadata: self.metadata,
            secret: None,
            headers: None,
        })
    }
}

impl EndpointPatch {
    /// Checks what the types cannot, of what is named; a URL becomes its parsed form.
    pub(crate) async fn check(
        &mut self,
        api: &Api,
        owner: &TheApplication,
        before: &Endpoint,
    ) -> Result<(), Refusal> {
        check_names(
            (self.event_types.new_value(), self.filter_types.new_value()),
            (self.throttle_rate.new_value(), self.rate_limit.new_value()),
        )?;
        if let Change::Set(url) = &mut self.url {
            *url = check_url(api, url)?;
        }
        if let Change::Set(uid) = &self.uid {
            check_uid(uid.as_ref())?;
        }
        let wanted = wanted(
            self.event_types.new_value().and_then(Option::as_ref),
            self.filter_types.new_value().and_then(Option::as_ref),
        );
        check_event_types(api, owner, wanted, Some(before)).await
    }

    /// The endpoint after the change.
    pub(crate) fn over(&self, before: Endpoint) -> Endpoint {
        // Every field by name, so that the compiler refuses one that is forgotten here.
        let Self {
            url,
            description,
            uid,
            event_types,
            filter_types,
            channels,
            disabled,
            throttle_rate,
            rate_limit,
            metadata,
        } = self.clone();
        let rate = match (throttle_rate, rate_limit) {
            (Change::Set(rate), _) | (Change::Keep, Change::Set(rate)) => rate.map(Rate::get),
            _ => before.throttle_rate,
        };
        Endpoint {
            url: url.over(before.url),
            description: description.over(before.description),
            uid: uid.over(before.uid),
            event_types: event_types.over(filter_types.over(before.event_types)),
            channels: channels.over(before.channels),
            disabled: disabled.over(before.disabled),
            throttle_rate: rate,
            metadata: metadata.over(before.metadata),
            ..before
        }
    }
}

/// Refuses a field's newer and older name with different values.
fn check_names<T: PartialEq, R: PartialEq>(
    (event_types, filter_types): (Option<&T>, Option<&T>),
    (throttle_rate, rate_limit): (Option<&R>, Option<&R>),
) -> Result<(), FieldError> {
    check_same(("eventTypes", event_types), ("filterTypes", filter_types))?;
    check_same(("throttleRate", throttle_rate), ("rateLimit", rate_limit))
}

/// What looks like an id would never be found as a uid.
fn check_uid(uid: Option<&Uid>) -> Result<(), FieldError> {
    if uid.is_some_and(|uid| uid.as_str().starts_with(EndpointId::PREFIX)) {
        return Err(FieldError::body(
            "uid",
            "must not begin with `ep_`, as ids do",
        ));
    }
    Ok(())
}

/// The parsed form of a URL: what is stored, shown and posted to.
fn check_url(api: &Api, url: &str) -> Result<String, FieldError> {
    let parsed = api.addresses.check(url).map(String::from);
    parsed.map_err(|error| FieldError::body("url", error.to_string()))
}

/// Event types that a body names, and the field that does.
type Wanted<'a> = Option<(&'static str, &'a EndpointEventTypes)>;

fn wanted<'a>(
    event_types: Option<&'a EndpointEventTypes>,
    filter_types: Option<&'a EndpointEventTypes>,
) -> Wanted<'a> {
    let newer = event_types.map(|names| ("eventTypes", names));
    newer.or(filter_types.map(|names| ("filterTypes", names)))
}

/// Event types must exist, not be archived and be visible to the caller. Those that the endpoint
/// has already stay usable.
async fn check_event_types(
    api: &Api,
    owner: &TheApplication,
    wanted: Wanted<'_>,
    before: Option<&Endpoint>,
) -> Result<(), Refusal> {
    let Some((field, wanted)) = wanted else {
        return Ok(());
    };
    let known = before.and_then(|before| before.event_types.as_ref());
    let is_new = |name: &&EventTypeName| known.is_none_or(|known| !known.contains(name));
    let wanted: Vec<_> = wanted.iter().filter(is_new).collect();
    let usable: Vec<EventTypeName> = if wanted.is_empty() {
        return Ok(());
    } else if owner.key().is_operational() {
        EVENT_TYPES
            .into_iter()
            .filter_map(|name| name.to_owned().try_into().ok())
            .collect()
    } else {
        let found = api
            .event_types
            .named(owner.organization(), wanted.iter().copied());
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
            Err(FieldError::body(field, msg).into())
        }
    }
}
