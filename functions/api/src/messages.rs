//! Messages: reading and expunging what ingest stored.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use posthorn_contract::{
    Refusal,
    batch::{BatchIn, BatchOut},
    message::{MessageIn, MessageOut},
};
use posthorn_domain::{
    delivery::{Delivery, Status, skip},
    id::MessageId,
    message::Message,
    name::{Channel, Tag, Uid},
    timestamp::Timestamp,
};
use posthorn_runtime::now;
use posthorn_store::{Page, Range, Slice, Tries, Written};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    Api, Routes, State,
    extract::{Json, Query, TheApplication},
    list::{Limit, ListOut, Order, Paging, filter_map},
    query::{EventTypes, Time, yes},
    routes::routes,
    the_message::{NOT_FOUND, TheMessage, has_channel, has_tag},
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(expunge))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Items of the page.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 250)]
    limit: Option<Limit>,
    /// Where to go on: `iterator` or `prevIterator` of another page.
    iterator: Option<String>,
    /// Only messages with this channel.
    channel: Option<Channel>,
    /// Only messages with this tag.
    tag: Option<Tag>,
    /// Only messages that were created before then.
    #[param(value_type = Option<String>, format = DateTime)]
    before: Option<Time>,
    /// Only messages that were created after then.
    #[param(value_type = Option<String>, format = DateTime)]
    after: Option<Time>,
    /// Only these event types, separated by commas.
    #[param(value_type = Option<Vec<posthorn_domain::name::EventTypeName>>, explode = false)]
    event_types: Option<EventTypes>,
    /// Whether to show payloads.
    #[serde(default = "yes")]
    #[param(default = true)]
    with_content: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ContentQuery {
    /// Whether to show the payload.
    #[serde(default = "yes")]
    #[param(default = true)]
    with_content: bool,
}

/// Reads a message.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/msg/{msg_id}", operation_id = "v1.message.get", tag = "Message",
    params(("app_id" = Uid, Path), ("msg_id" = Uid, Path), ContentQuery), responses((status = 200, body = MessageOut)))]
pub(crate) async fn get(found: TheMessage, Query(query): Query<ContentQuery>) -> Json<MessageOut> {
    Json(MessageOut::new(&found.message, query.with_content))
}

/// Lists an application's messages, newest first.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/msg", operation_id = "v1.message.list", tag = "Message",
    params(("app_id" = Uid, Path), ListQuery), responses((status = 200, body = ListOut<MessageOut>)))]
pub(crate) async fn list(
    api: State,
    owner: TheApplication,
    Query(query): Query<ListQuery>,
) -> Result<Json<ListOut<MessageOut>>, Refusal> {
    let (limit, iterator) = (query.limit, query.iterator.clone());
    let plan = Paging {
        limit,
        iterator,
        order: None,
    }
    .plan::<MessageId>(Order::Descending)?;
    let plan = plan.searching(query.has_filter());
    Ok(Json(
        plan.fill(|page| slice(&api, &owner, &query, page)).await?,
    ))
}

async fn slice(
    api: &Api,
    owner: &TheApplication,
    query: &ListQuery,
    page: Page,
) -> Result<Slice<MessageOut>, Refusal> {
    let range = range(
        query.after.map(|time| time.0),
        query.before.map(|time| time.0),
    );
    let log = owner.application.log();
    let slice = api.messages().list(log, range, &page).await?;
    Ok(filter_map(slice, |message| {
        query
            .admits(&message)
            .then(|| MessageOut::new(&message, query.with_content))
    }))
}

/// Removes a message's payload for good; attempts that are still to come are not made.
#[utoipa::path(delete, path = "/api/v1/app/{app_id}/msg/{msg_id}/content", operation_id = "v1.message.expunge-content", tag = "Message",
    params(("app_id" = Uid, Path), ("msg_id" = Uid, Path)), responses((status = 204)))]
pub(crate) async fn expunge(api: State, found: TheMessage) -> Result<StatusCode, Refusal> {
    if api.messages().expunge(found.key()).await? != Written::Yes {
        return Err(NOT_FOUND.into());
    }
    end_deliveries(&api, &found).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the deliveries that were not finished: a task on the queue may carry the payload.
async fn end_deliveries(api: &Api, of: &TheMessage) -> Result<(), Refusal> {
    // Where a dispatcher is at work, it finds no payload the next time.
    TRIES.until(|| try_end_deliveries(api, of)).await?;
    Ok(())
}

/// `None` when dispatchers changed some meanwhile.
async fn try_end_deliveries(api: &Api, of: &TheMessage) -> Result<Option<()>, Refusal> {
    let message = &of.message;
    let found = of.deliveries(api).await?;
    let meant = of.meant_for().map(|id| (id, None));
    let mut standing: BTreeMap<_, Option<&Delivery>> = meant.collect();
    standing.extend(found.iter().map(|(id, delivery)| (id, Some(delivery))));
    let mut is_done = true;
    for (endpoint, delivery) in standing {
        if delivery.is_none_or(|delivery| delivery.status == Status::Sending) {
            let ended = skip(delivery.cloned(), &message.event_type);
            let key = of.key().to(endpoint);
            let put = api.deliveries.put(key, &ended, message.expires_at);
            is_done &= put.await? == Written::Yes;
        }
    }
    Ok(is_done.then_some(()))
}

/// How often deliveries that dispatchers change meanwhile are read again.
const TRIES: Tries = Tries::at_once(3);

/// Creates a message and sends it to all endpoints of the application that match. The ingest function
/// answers this; it is described here with everything else.
#[utoipa::path(post, path = "/api/v1/app/{app_id}/msg", operation_id = "v1.message.create", tag = "Message",
    params(("app_id" = Uid, Path), ContentQuery), request_body = MessageIn, responses((status = 202, body = MessageOut)))]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) async fn create() {}

/// Creates many messages, each by itself: 202 when all were accepted; 207 when some were not, with what
/// is wrong with each in `results`. With an `idempotency-key` the same batch can be sent again until all
/// are accepted, and nothing is sent twice. An addition to the contract.
#[utoipa::path(post, path = "/api/v1/app/{app_id}/msg/batch", operation_id = "v1.message.create-batch", tag = "Message",
    params(("app_id" = Uid, Path), ContentQuery), request_body = BatchIn,
    responses((status = 202, body = BatchOut), (status = 207, description = "Some messages were not accepted", body = BatchOut)))]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) async fn create_batch() {}

/// The ids of messages that were created in a span of time: ids sort by time. Bounds are wider by the
/// resolution of ids; [`ListQuery::admits`] is exact.
pub(crate) fn range(after: Option<Timestamp>, before: Option<Timestamp>) -> Range {
    let Range { low, high } = Range::prefix(MessageId::PREFIX);
    let margin = std::time::Duration::from_millis(4);
    Range {
        low: after.map_or(low, |after| MessageId::lower_bound(after).to_string()),
        high: before.map_or(high, |before| {
            MessageId::lower_bound(before.plus(margin)).to_string()
        }),
    }
}

impl ListQuery {
    /// Whether messages are left out that lie between two others of the list.
    fn has_filter(&self) -> bool {
        let Self {
            channel,
            tag,
            event_types,
            // These bound what is read.
            limit: _,
            iterator: _,
            before: _,
            after: _,
            with_content: _,
        } = self;
        channel.is_some() || tag.is_some() || event_types.is_some()
    }

    fn admits(&self, message: &Message) -> bool {
        let created_at = message.created_at;
        !message.is_expired(now())
            && self
                .event_types
                .as_ref()
                .is_none_or(|types| types.admits(&message.event_type))
            && self
                .channel
                .as_ref()
                .is_none_or(|channel| has_channel(message, channel))
            && self.tag.as_ref().is_none_or(|tag| has_tag(message, tag))
            && self.before.is_none_or(|before| created_at < before.0)
            && self.after.is_none_or(|after| created_at > after.0)
    }
}
