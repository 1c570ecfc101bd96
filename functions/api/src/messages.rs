//! Messages: reading what ingest stored.

use axum::response::{IntoResponse, Response};
use posthorn_domain::{
    error::ApiError, id::MessageId, message::Message, name::Channel, timestamp::Timestamp,
};
use posthorn_store::Consistency;
use serde::Deserialize;

use crate::{
    Api, State,
    extract::{Json, Query, TheApplication, path_parameter},
    list::{Order, Paging},
    refusal::Refusal,
};

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    iterator: Option<String>,
    channel: Option<Channel>,
    #[serde(default, with = "optional_time")]
    before: Option<Timestamp>,
    #[serde(default, with = "optional_time")]
    after: Option<Timestamp>,
    /// One name, or several separated by commas.
    event_types: Option<String>,
    #[serde(default = "yes")]
    with_content: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct GetQuery {
    #[serde(default = "yes")]
    with_content: bool,
}

fn yes() -> bool {
    true
}

/// An RFC 3339 time that may be absent.
pub(crate) mod optional_time {
    use posthorn_domain::timestamp::{Timestamp, rfc3339};
    use serde::Deserializer;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        rfc3339::deserialize(from).map(Some)
    }
}

/// The message that the path names.
pub(crate) struct TheMessage {
    pub(crate) owner: TheApplication,
    pub(crate) message: Message,
}

impl axum::extract::FromRequestParts<std::sync::Arc<Api>> for TheMessage {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        api: &std::sync::Arc<Api>,
    ) -> Result<Self, Refusal> {
        let owner = TheApplication::from_request_parts(parts, api).await?;
        let text: String = path_parameter(parts, "msg_id").await?;
        let message = match text.parse::<MessageId>() {
            Ok(id) => {
                let application = &owner.application;
                api.messages
                    .get(
                        &application.id,
                        application.shards,
                        &id,
                        Consistency::Strong,
                    )
                    .await?
            }
            Err(_) => None,
        };
        let message = message.ok_or(ApiError::NotFound("message"))?;
        Ok(Self { owner, message })
    }
}

pub(crate) async fn get(found: TheMessage, Query(query): Query<GetQuery>) -> Response {
    Json(found.message.to_out(query.with_content)).into_response()
}

/// Newest first. Filters are applied to the messages that were read, so a page may hold fewer than
/// `limit` and not be the last: `done` tells.
pub(crate) async fn list(
    api: State,
    owner: TheApplication,
    Query(query): Query<ListQuery>,
) -> Result<Response, Refusal> {
    let paging = Paging {
        limit: query.limit,
        iterator: query.iterator.clone(),
        order: None,
    };
    let plan = paging.plan::<MessageId>(Order::Descending)?;
    let application = &owner.application;
    let found = api
        .messages
        .list(&application.id, application.shards, &plan.page)
        .await?;
    let list = plan.respond(found.iter().collect(), |message| message.id.to_string());
    let list = list.flat_map(|message: &Message| {
        query
            .admits(message)
            .then(|| message.to_out(query.with_content))
    });
    Ok(Json(list).into_response())
}

impl ListQuery {
    fn admits(&self, message: &Message) -> bool {
        let is_type = |types: &str| {
            types
                .split(',')
                .any(|name| name == message.event_type.as_str())
        };
        let has_channel = |channel: &Channel| {
            message
                .channels
                .as_ref()
                .is_some_and(|channels| channels.contains(channel))
        };
        self.event_types.as_deref().is_none_or(is_type)
            && self.channel.as_ref().is_none_or(has_channel)
            && self.before.is_none_or(|before| message.created_at < before)
            && self.after.is_none_or(|after| message.created_at > after)
    }
}
