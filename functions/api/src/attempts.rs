//! Attempts, by message and by endpoint.

use futures_util::future::try_join_all;
use posthorn_domain::{
    attempt::{Attempt, TriggerType},
    delivery::Delivery,
    id::{AttemptId, EndpointId, MessageId},
    shard::shard_of,
    timestamp::{Timestamp, rfc3339},
};
use posthorn_store::Consistency;
use serde::{Deserialize, Serialize};

use crate::{
    State,
    extract::{Json, Query, TheEndpoint},
    list::{ListOut, Order, Paging},
    messages::{TheMessage, optional_time},
    refusal::Refusal,
};

/// `MessageAttemptOut` of the contract.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttemptOut {
    id: AttemptId,
    msg_id: MessageId,
    endpoint_id: EndpointId,
    url: String,
    response: String,
    response_status_code: u16,
    response_duration_ms: u64,
    /// 0 success, 2 fail: an attempt is stored when it ended.
    status: u8,
    status_text: &'static str,
    trigger_type: TriggerType,
    #[serde(with = "rfc3339")]
    timestamp: Timestamp,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    iterator: Option<String>,
    status: Option<u8>,
    status_code_class: Option<u16>,
    #[serde(default, with = "optional_time")]
    before: Option<Timestamp>,
    #[serde(default, with = "optional_time")]
    after: Option<Timestamp>,
    endpoint_id: Option<String>,
    event_types: Option<String>,
    #[serde(default = "yes")]
    with_content: bool,
}

fn yes() -> bool {
    true
}

/// The attempts of a message at all its endpoints, newest first.
pub(crate) async fn by_message(
    api: State,
    found: TheMessage,
    Query(query): Query<ListQuery>,
) -> Result<Json<ListOut<AttemptOut>>, Refusal> {
    let plan = query.paging().plan::<AttemptId>(Order::Descending)?;
    let message = &found.message;
    let shard = shard_of(&message.id, found.owner.application.shards);
    let endpoints = message
        .destinations
        .iter()
        .map(|destination| &destination.endpoint);
    let endpoints = endpoints.filter(|id| {
        query
            .endpoint_id
            .as_deref()
            .is_none_or(|wanted| wanted == id.as_str())
    });
    let reads = endpoints.map(|endpoint| async {
        let delivery = api
            .deliveries
            .get(endpoint, &message.id, shard, Consistency::Strong)
            .await;
        delivery.map(|delivery| delivery.map(|delivery| (endpoint.clone(), delivery)))
    });
    let deliveries = try_join_all(reads).await?.into_iter().flatten();
    let mut attempts: Vec<_> = deliveries
        .flat_map(|(endpoint, delivery)| query.show(&endpoint, &message.id, delivery))
        .collect();
    attempts.sort_by(|a, b| {
        if plan.page.ascending {
            a.id.cmp(&b.id)
        } else {
            b.id.cmp(&a.id)
        }
    });
    let is_behind = |attempt: &AttemptOut| match plan.page.after.as_deref() {
        None => true,
        Some(after) if plan.page.ascending => attempt.id.as_str() > after,
        Some(after) => attempt.id.as_str() < after,
    };
    attempts.retain(is_behind);
    attempts.truncate(plan.page.limit);
    Ok(Json(
        plan.respond(attempts, |attempt| attempt.id.to_string()),
    ))
}

/// The attempts at an endpoint, newest message first. A page holds the attempts of up to `limit`
/// messages, and its iterator is a message's id.
pub(crate) async fn by_endpoint(
    api: State,
    found: TheEndpoint,
    Query(query): Query<ListQuery>,
) -> Result<Json<ListOut<AttemptOut>>, Refusal> {
    let plan = query.paging().plan::<MessageId>(Order::Descending)?;
    let shards = found.owner.application.shards;
    let deliveries = api
        .deliveries
        .list(&found.endpoint.id, shards, &plan.page)
        .await?;
    let list = plan.respond(deliveries, |(message, _)| message.to_string());
    Ok(Json(list.flat_map(|(message, delivery)| {
        query.show(&found.endpoint.id, &message, delivery)
    })))
}

impl ListQuery {
    fn paging(&self) -> Paging {
        Paging {
            limit: self.limit,
            iterator: self.iterator.clone(),
            order: None,
        }
    }

    /// The attempts of a delivery that the filters admit, newest first.
    fn show(
        &self,
        endpoint: &EndpointId,
        message: &MessageId,
        delivery: Delivery,
    ) -> Vec<AttemptOut> {
        let is_type = |types: &str| {
            types
                .split(',')
                .any(|name| name == delivery.event_type.as_str())
        };
        if !self.event_types.as_deref().is_none_or(is_type) {
            return Vec::new();
        }
        let attempts = delivery
            .attempts
            .into_iter()
            .rev()
            .filter(|attempt| self.admits(attempt));
        attempts
            .map(|attempt| show(endpoint, message, attempt, self.with_content))
            .collect()
    }

    fn admits(&self, attempt: &Attempt) -> bool {
        let class = attempt.status_code / 100 * 100;
        self.status
            .is_none_or(|status| status == status_of(attempt).0)
            && self.status_code_class.is_none_or(|wanted| wanted == class)
            && self.before.is_none_or(|before| attempt.started_at < before)
            && self.after.is_none_or(|after| attempt.started_at > after)
    }
}

fn status_of(attempt: &Attempt) -> (u8, &'static str) {
    if attempt.is_success() {
        (0, "success")
    } else {
        (2, "fail")
    }
}

fn show(
    endpoint: &EndpointId,
    message: &MessageId,
    attempt: Attempt,
    with_content: bool,
) -> AttemptOut {
    let (status, status_text) = status_of(&attempt);
    AttemptOut {
        msg_id: message.clone(),
        endpoint_id: endpoint.clone(),
        response: if with_content {
            attempt.response_shown().to_owned()
        } else {
            String::new()
        },
        response_status_code: attempt.status_code,
        response_duration_ms: attempt.duration_ms,
        status,
        status_text,
        trigger_type: attempt.trigger,
        timestamp: attempt.started_at,
        url: attempt.url,
        id: attempt.id,
    }
}
