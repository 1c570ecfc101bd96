//! Messages and where they went: the messages of an endpoint, the endpoints of a message.

use std::collections::BTreeMap;

use posthorn_contract::{Refusal, message::MessageOut};
use posthorn_domain::{
    delivery::Delivery,
    endpoint::Endpoint,
    id::{EndpointId, MessageId},
    message::Message,
    name::{Channel, EventTypeName, Tag, Uid},
    timestamp::Timestamp,
};
use posthorn_runtime::now;
use posthorn_store::{Consistency, Page, Slice};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    Api, Routes, State,
    attempts::part,
    endpoints::EndpointOut,
    extract::{Json, Query, TheEndpoint},
    list::{Limit, ListOut, Order, Paging},
    messages::range,
    query::{EventTypes, StatusFilter, Time, yes},
    routes::routes,
    status::{MessageStatus, Standing},
    the_message::{TheMessage, has_channel, has_tag},
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(attempted_messages))
        .routes(routes!(attempted_destinations))
}

/// A time that may be absent.
fn shown(time: Option<Timestamp>) -> Option<String> {
    time.map(Timestamp::to_rfc3339)
}

/// `EndpointMessageOut` of the contract, and whether the message was left out.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointMessageOut {
    #[serde(flatten)]
    message: MessageOut,
    /// 0 success, 1 pending, 2 fail, 3 sending.
    #[schema(maximum = 3)]
    status: u8,
    status_text: MessageStatus,
    /// It ended without an attempt: the endpoint was disabled or deleted, or the message could not be sent any more.
    skipped: bool,
    #[schema(format = DateTime)]
    next_attempt: Option<String>,
}

/// `MessageEndpointOut` of the contract, and whether the message was left out.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageEndpointOut {
    #[serde(flatten)]
    endpoint: EndpointOut,
    /// The endpoint was deleted: its id and the URL of the last attempt are what is left of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    /// 0 success, 1 pending, 2 fail, 3 sending.
    #[schema(maximum = 3)]
    status: u8,
    status_text: MessageStatus,
    /// It ended without an attempt: the endpoint was disabled or deleted, or the message could not be sent any more.
    skipped: bool,
    #[schema(format = DateTime)]
    next_attempt: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MessagesQuery {
    /// Items of the page.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 250)]
    limit: Option<Limit>,
    /// Where to go on: `iterator` or `prevIterator` of another page.
    iterator: Option<String>,
    /// Only messages with this channel.
    channel: Option<Channel>,
    /// Only messages with this tag.
    tag: Option<Tag>,
    /// 0 success, 1 pending, 2 fail, 3 sending.
    #[param(value_type = Option<u8>, maximum = 3)]
    status: Option<StatusFilter>,
    /// Only messages that were created before then.
    #[param(value_type = Option<String>, format = DateTime)]
    before: Option<Time>,
    /// Only messages that were created after then.
    #[param(value_type = Option<String>, format = DateTime)]
    after: Option<Time>,
    /// Only these event types, separated by commas.
    #[param(value_type = Option<Vec<EventTypeName>>, explode = false)]
    event_types: Option<EventTypes>,
    /// Whether to show payloads.
    #[serde(default = "yes")]
    #[param(default = true)]
    with_content: bool,
    /// Without effect: it would show canceled deliveries as such, and Posthorn has none.
    #[expect(dead_code, reason = "official clients send it, and it changes nothing")]
    expanded_statuses: Option<bool>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DestinationsQuery {
    /// Items of the page.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 250)]
    limit: Option<Limit>,
    /// Where to go on: `iterator` or `prevIterator` of another page.
    iterator: Option<String>,
    /// Without effect: it would show canceled deliveries as such, and Posthorn has none.
    #[expect(dead_code, reason = "official clients send it, and it changes nothing")]
    expanded_statuses: Option<bool>,
}

/// Lists the messages that were meant for or sent to an endpoint, newest first, and how each stands
/// there: pending, sending, success or fail, and when it is tried next.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg", operation_id = "v1.message-attempt.list-attempted-messages", tag = "Message Attempt",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path), MessagesQuery), responses((status = 200, body = ListOut<EndpointMessageOut>)))]
pub(crate) async fn attempted_messages(
    api: State,
    found: TheEndpoint,
    Query(query): Query<MessagesQuery>,
) -> Result<Json<ListOut<EndpointMessageOut>>, Refusal> {
    let (limit, iterator) = (query.limit, query.iterator.clone());
    let plan = Paging {
        limit,
        iterator,
        order: None,
    }
    .plan::<MessageId>(Order::Descending)?;
    let plan = plan.searching(true);
    Ok(Json(
        plan.fill(|page| slice(&api, &found, &query, page)).await?,
    ))
}

async fn slice(
    api: &Api,
    found: &TheEndpoint,
    query: &MessagesQuery,
    page: Page,
) -> Result<Slice<EndpointMessageOut>, Refusal> {
    let (log, endpoint) = (found.owner.application.log(), &found.endpoint.id);
    let range = range(
        query.after.map(|time| time.0),
        query.before.map(|time| time.0),
    );
    let slice = api.messages().list(log, range, &page).await?;
    let messages = slice.items.iter().map(|(_, message)| message);
    let admitted: Vec<_> = messages.filter(|message| query.admits(message)).collect();
    let keys: Vec<_> = admitted
        .iter()
        .map(|message| log.message(&message.id).to(endpoint))
        .collect();
    let deliveries = api.deliveries.get_many(keys, Consistency::Strong).await?;
    let shown = admitted.iter().filter_map(|message| {
        let delivery = deliveries.get(&log.message(&message.id).to(endpoint));
        let standing = Standing::of(message, endpoint, delivery)?;
        Some((message.id.to_string(), query.show(message, standing)?))
    });
    Ok(Slice {
        items: shown.collect(),
        next: slice.next.clone(),
    })
}

impl MessagesQuery {
    fn admits(&self, message: &Message) -> bool {
        !message.is_expired(now())
            && self
                .channel
                .as_ref()
                .is_none_or(|channel| has_channel(message, channel))
            && self.tag.as_ref().is_none_or(|tag| has_tag(message, tag))
            && self
                .event_types
                .as_ref()
                .is_none_or(|types| types.admits(&message.event_type))
            && self
                .before
                .is_none_or(|before| message.created_at < before.0)
            && self.after.is_none_or(|after| message.created_at > after.0)
    }

    fn show(&self, message: &Message, standing: Standing) -> Option<EndpointMessageOut> {
        let Standing {
            status,
            skipped,
            next_attempt,
        } = standing;
        let wanted = self.status.is_none_or(|wanted| wanted.0 == status.number());
        wanted.then(|| EndpointMessageOut {
            message: MessageOut::new(message, self.with_content),
            status: status.number(),
            status_text: status,
            skipped,
            next_attempt: shown(next_attempt),
        })
    }
}

/// Lists the endpoints that a message was meant for or sent to, by id, and how it stands at each.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/msg/{msg_id}/endpoint", operation_id = "v1.message-attempt.list-attempted-destinations", tag = "Message Attempt",
    params(("app_id" = Uid, Path), ("msg_id" = Uid, Path), DestinationsQuery), responses((status = 200, body = ListOut<MessageEndpointOut>)))]
pub(crate) async fn attempted_destinations(
    api: State,
    found: TheMessage,
    Query(query): Query<DestinationsQuery>,
) -> Result<Json<ListOut<MessageEndpointOut>>, Refusal> {
    let DestinationsQuery {
        limit,
        iterator,
        expanded_statuses: _,
    } = query;
    let plan = Paging {
        limit,
        iterator,
        order: None,
    }
    .plan::<EndpointId>(Order::Ascending)?;
    let TheMessage { owner, message } = &found;
    let all = api.applications().with_endpoints(owner.key());
    let endpoints = all.await?.map(|(_, endpoints)| endpoints);
    let endpoints = endpoints.unwrap_or_default().into_iter();
    let mut candidates: BTreeMap<EndpointId, Option<Endpoint>> =
        found.meant_for().map(|id| (id.clone(), None)).collect();
    candidates.extend(endpoints.map(|endpoint| (endpoint.id.clone(), Some(endpoint))));
    let keys = candidates.keys().map(|id| found.key().to(id));
    let deliveries = api.deliveries.get_many(keys, Consistency::Strong).await?;
    let shown = candidates.iter().filter_map(|(id, endpoint)| {
        let delivery = deliveries.get(&found.key().to(id));
        let standing = Standing::of(message, id, delivery)?;
        let key = id.to_string();
        let shown = match endpoint {
            Some(endpoint) => destination(endpoint.clone().into(), standing),
            None => deleted(id.clone(), delivery, standing),
        };
        Some((key, shown))
    });
    Ok(Json(plan.respond(part(&plan.page, shown.collect()))))
}

fn destination(endpoint: EndpointOut, standing: Standing) -> MessageEndpointOut {
    MessageEndpointOut {
        endpoint,
        deleted: false,
        status: standing.status.number(),
        status_text: standing.status,
        skipped: standing.skipped,
        next_attempt: shown(standing.next_attempt),
    }
}

/// What is known of an endpoint that was deleted. Nothing more is sent to it.
fn deleted(id: EndpointId, delivery: Option<&Delivery>, standing: Standing) -> MessageEndpointOut {
    let last = delivery.and_then(|delivery| delivery.attempts.last());
    let endpoint = EndpointOut::deleted(id, last);
    let standing = match standing.status {
        MessageStatus::Success | MessageStatus::Fail => standing,
        MessageStatus::Pending | MessageStatus::Sending => Standing {
            status: MessageStatus::Fail,
            skipped: true,
            next_attempt: None,
        },
    };
    MessageEndpointOut {
        deleted: true,
        ..destination(endpoint, standing)
    }
}
