//! The message that a path names: what it was sent with, where it was meant to go, and what came of
//! it.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use posthorn_contract::{ApiError, Refusal};
use posthorn_domain::{
    delivery::Delivery,
    id::EndpointId,
    key::MessageKey,
    message::Message,
    name::{Channel, EventId, Tag},
};
use posthorn_runtime::now;
use posthorn_store::Consistency;

use crate::{
    Api,
    extract::{TheApplication, path_parameter},
};

/// The message that the path names, by its id or its `eventId`.
pub(crate) struct TheMessage {
    pub(crate) owner: TheApplication,
    pub(crate) message: Message,
}

pub(crate) const NOT_FOUND: ApiError = ApiError::NotFound("message");

impl FromRequestParts<Arc<Api>> for TheMessage {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Refusal> {
        let owner = TheApplication::from_request_parts(parts, api).await?;
        let text: String = path_parameter(parts, "msg_id").await?;
        let log = owner.application.log();
        // No `eventId` is a message's id.
        let id = match (text.parse(), EventId::try_from(text)) {
            (Ok(id), _) => Some(id),
            (_, Ok(event)) => api.guards.id_by_event(log.application, &event).await?,
            _ => None,
        };
        let id = id.ok_or(NOT_FOUND)?;
        let found = api
            .messages()
            .get(log.message(&id), Consistency::Strong)
            .await?;
        let message = found
            .filter(|message| !message.is_expired(now()))
            .ok_or(NOT_FOUND)?;
        Ok(Self { owner, message })
    }
}

impl TheMessage {
    pub(crate) fn key(&self) -> MessageKey<'_> {
        self.owner.application.log().message(&self.message.id)
    }

    /// The endpoints that it was meant for.
    pub(crate) fn meant_for(&self) -> impl Iterator<Item = &EndpointId> {
        let destinations = self.message.destinations.iter();
        destinations.map(|destination| &destination.endpoint)
    }

    /// Its deliveries: at the endpoints that it was meant for, and at those that it was sent to
    /// later. One Query and one BatchGetItem per 100 endpoints.
    pub(crate) async fn deliveries(
        &self,
        api: &Api,
    ) -> Result<Vec<(EndpointId, Delivery)>, Refusal> {
        let found = api.applications().with_endpoints(self.owner.key()).await?;
        let mut endpoints: Vec<EndpointId> = found
            .into_iter()
            .flat_map(|(_, endpoints)| endpoints)
            .map(|one| one.id)
            .collect();
        endpoints.extend(self.meant_for().cloned());
        endpoints.sort();
        endpoints.dedup();
        let keys = endpoints.iter().map(|endpoint| self.key().to(endpoint));
        let found = api.deliveries.get_many(keys, Consistency::Strong).await?;
        let mut found: Vec<_> = found
            .into_iter()
            .map(|(key, delivery)| (key.endpoint.clone(), delivery))
            .collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }
}

/// Whether a message was sent with a channel.
pub(crate) fn has_channel(message: &Message, channel: &Channel) -> bool {
    message
        .channels
        .as_ref()
        .is_some_and(|channels| channels.contains(channel))
}

/// Whether a message was sent with a tag.
pub(crate) fn has_tag(message: &Message, tag: &Tag) -> bool {
    message.tags.as_ref().is_some_and(|tags| tags.contains(tag))
}
