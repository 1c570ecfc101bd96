//! Attempts: by message, by endpoint, one, and expunging its response.

use axum::http::StatusCode;
use posthorn_contract::{ApiError, Refusal};
use posthorn_domain::{
    delivery::Delivery,
    id::{AttemptId, EndpointId, MessageId},
    name::Uid,
};
use posthorn_store::{Page, Slice, Tries, Written};

use crate::{
    Api, Routes, State,
    attempt_out::{AttemptOut, show},
    attempt_query::{EndpointQuery, ListQuery},
    extract::{Json, Query, TheEndpoint, path_parameter},
    list::{ListOut, Order},
    routes::routes,
    the_message::TheMessage,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(by_message))
        .routes(routes!(by_endpoint))
        .routes(routes!(get))
        .routes(routes!(expunge))
}

/// Lists the attempts of a message at all endpoints, newest first.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/attempt/msg/{msg_id}", operation_id = "v1.message-attempt.list-by-msg", tag = "Message Attempt",
    params(("app_id" = Uid, Path), ("msg_id" = Uid, Path), ListQuery, EndpointQuery), responses((status = 200, body = ListOut<AttemptOut>)))]
pub(crate) async fn by_message(
    api: State,
    found: TheMessage,
    Query(query): Query<ListQuery>,
    Query(only): Query<EndpointQuery>,
) -> Result<Json<ListOut<AttemptOut>>, Refusal> {
    let plan = query.paging().plan::<AttemptId>(Order::Descending)?;
    let TheMessage { owner, message } = &found;
    let wanted = only.endpoint(&api, owner).await?;
    let mut items = Vec::new();
    if query.admits_message(message) {
        for (endpoint, delivery) in found.deliveries(&api).await? {
            if wanted.as_ref().is_none_or(|wanted| *wanted == endpoint) {
                let shown = query.show(&endpoint, &message.id, delivery);
                items.extend(shown.map(|attempt| (attempt.id().to_string(), attempt)));
            }
        }
    }
    Ok(Json(plan.respond(part(&plan.page, items))))
}

/// The part of a list, known as a whole, that lies behind the start of a page.
pub(crate) fn part<T>(page: &Page, mut items: Vec<(String, T)>) -> Slice<T> {
    items.sort_by(|(a, _), (b, _)| if page.ascending { a.cmp(b) } else { b.cmp(a) });
    items.retain(|(key, _)| is_behind(page, key));
    Slice { items, next: None }
}

fn is_behind(page: &Page, key: &str) -> bool {
    match page.after.as_deref() {
        None => true,
        Some(after) if page.ascending => key > after,
        Some(after) => key < after,
    }
}

/// Where a list of an endpoint's attempts goes on: a message's id, and maybe `.` and an attempt's id.
struct AttemptKey;

impl TryFrom<String> for AttemptKey {
    type Error = posthorn_domain::id::IdError;

    fn try_from(key: String) -> Result<Self, Self::Error> {
        message_part(&key).parse::<MessageId>().map(|_| Self)
    }
}

fn message_part(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

/// Lists the attempts at an endpoint: by message, newest first, and those of a message newest first.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}", operation_id = "v1.message-attempt.list-by-endpoint", tag = "Message Attempt",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path), ListQuery), responses((status = 200, body = ListOut<AttemptOut>)))]
pub(crate) async fn by_endpoint(
    api: State,
    found: TheEndpoint,
    Query(query): Query<ListQuery>,
) -> Result<Json<ListOut<AttemptOut>>, Refusal> {
    let plan = query.paging().plan::<AttemptKey>(Order::Descending)?;
    let plan = plan.searching(query.has_filter());
    Ok(Json(
        plan.fill(|page| slice(&api, &found, &query, page)).await?,
    ))
}

async fn slice(
    api: &Api,
    found: &TheEndpoint,
    query: &ListQuery,
    page: Page,
) -> Result<Slice<AttemptOut>, Refusal> {
    let slice = deliveries_from(api, found, &page).await?;
    let admitted = query.messages(api, &found.owner, &slice).await?;
    let mut items = Vec::new();
    for (key, delivery) in slice.items {
        let Ok(message) = key.parse::<MessageId>() else {
            continue;
        };
        if admitted
            .as_ref()
            .is_none_or(|admitted| admitted.contains(&message))
        {
            let shown = query.show(&found.endpoint.id, &message, delivery);
            items.extend(shown.map(|attempt| (format!("{key}.{}", attempt.id()), attempt)));
        }
    }
    // Behind all attempts of the last message.
    let end = if page.ascending { ".~" } else { "" };
    let all = Page {
        limit: usize::MAX,
        ..page
    };
    let Slice { items, .. } = part(&all, items);
    Ok(Slice {
        items,
        next: slice.next.map(|key| key + end),
    })
}

/// A slice of an endpoint's deliveries that begins with the message inside of which a page ended.
async fn deliveries_from(
    api: &Api,
    found: &TheEndpoint,
    page: &Page,
) -> Result<Slice<Delivery>, Refusal> {
    let before = |key: &String| {
        let message = message_part(key);
        match key[message.len()..].trim_start_matches('.') {
            // Behind all attempts of the message.
            "" | "~" => message.to_owned(),
            _ if page.ascending => message[..message.len() - 1].to_owned(),
            _ => format!("{message}~"),
        }
    };
    let page = Page {
        after: page.after.as_ref().map(before),
        ..page.clone()
    };
    let shards = found.owner.application.shards;
    Ok(api
        .deliveries
        .list(&found.endpoint.id, shards, &page)
        .await?)
}

/// One attempt of a message.
struct Found {
    endpoint: EndpointId,
    delivery: Delivery,
    index: usize,
}

async fn find(api: &Api, found: &TheMessage, id: &str) -> Result<Found, Refusal> {
    let deliveries = found.deliveries(api).await?;
    let found = deliveries.into_iter().find_map(|(endpoint, delivery)| {
        let index = delivery
            .attempts
            .iter()
            .position(|attempt| attempt.id.as_str() == id)?;
        Some(Found {
            endpoint,
            delivery,
            index,
        })
    });
    Ok(found.ok_or(ApiError::NotFound("attempt"))?)
}

/// The attempt that the path names.
pub(crate) struct AttemptPath(String);

impl<S: Sync> axum::extract::FromRequestParts<S> for AttemptPath {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Refusal> {
        path_parameter(parts, "attempt_id").await.map(Self)
    }
}

/// Reads an attempt.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}", operation_id = "v1.message-attempt.get", tag = "Message Attempt",
    params(("app_id" = Uid, Path), ("msg_id" = Uid, Path), ("attempt_id" = Uid, Path)), responses((status = 200, body = AttemptOut)))]
pub(crate) async fn get(
    api: State,
    message: TheMessage,
    AttemptPath(id): AttemptPath,
) -> Result<Json<AttemptOut>, Refusal> {
    let Found {
        endpoint,
        mut delivery,
        index,
    } = find(&api, &message, &id).await?;
    let attempt = delivery.attempts.swap_remove(index);
    Ok(Json(show(&endpoint, &message.message.id, attempt, true)))
}

/// How often a record that dispatchers change meanwhile is read again.
const TRIES: Tries = Tries::at_once(5);

/// Removes the response body of an attempt for good.
#[utoipa::path(delete, path = "/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content", operation_id = "v1.message-attempt.expunge-content", tag = "Message Attempt",
    params(("app_id" = Uid, Path), ("msg_id" = Uid, Path), ("attempt_id" = Uid, Path)), responses((status = 204)))]
pub(crate) async fn expunge(
    api: State,
    message: TheMessage,
    AttemptPath(id): AttemptPath,
) -> Result<StatusCode, Refusal> {
    let expunged = TRIES.until(|| try_expunge(&api, &message, &id)).await?;
    let busy = || ApiError::Conflict("the delivery keeps changing: try again".to_owned());
    Ok(expunged.ok_or_else(busy)?)
}

/// `None` when a dispatcher changed the delivery meanwhile.
async fn try_expunge(
    api: &Api,
    message: &TheMessage,
    id: &str,
) -> Result<Option<StatusCode>, Refusal> {
    let found = find(api, message, id).await?;
    let delivery = found.delivery.without_response(found.index);
    let key = message.key().to(&found.endpoint);
    let expires_at = message.message.expires_at;
    let written = api.deliveries.put(key, &delivery, expires_at).await?;
    Ok((written == Written::Yes).then_some(StatusCode::NO_CONTENT))
}
