//! How many messages an endpoint got.

use std::time::Duration;

use futures_util::future::try_join_all;
use posthorn_contract::Refusal;
use posthorn_domain::{delivery::Status, error::FieldError, name::Uid, timestamp::Timestamp};
use posthorn_runtime::now;
use posthorn_store::Range;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    Api, Routes, State,
    extract::{Json, Query, TheEndpoint},
    messages::range,
    query::Time,
    routes::routes,
};

/// The longest span that is counted.
const MAX_SPAN: Duration = Duration::from_secs(28 * 86_400);

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(get))
}

/// `EndpointStats` of the contract: messages by where they stand.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct EndpointStats {
    success: u64,
    pending: u64,
    sending: u64,
    fail: u64,
    /// Skipped: they ended without an attempt.
    canceled: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatsQuery {
    /// Only messages that were created from then on; at most 28 days before `until`.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Time>,
    /// Only messages that were created before then; now when absent.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Time>,
}

/// Counts an endpoint's messages of up to 28 days. Reads all of them, up to 200 MB of messages.
#[utoipa::path(get, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/stats", operation_id = "v1.endpoint.get-stats", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path), StatsQuery), responses((status = 200, body = EndpointStats)))]
pub(crate) async fn get(
    api: State,
    found: TheEndpoint,
    Query(query): Query<StatsQuery>,
) -> Result<Json<EndpointStats>, Refusal> {
    let (since, until) = query.check(now())?;
    let range = range(Some(since), Some(until));
    let shards = 0..found.owner.application.shards;
    let counts = shards.map(|shard| count(&api, &found, shard, range.clone()));
    let total = try_join_all(counts)
        .await?
        .into_iter()
        .fold(EndpointStats::default(), add);
    Ok(Json(total))
}

impl StatsQuery {
    fn check(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), FieldError> {
        let until = self.until.map_or(now, |until| until.0);
        let default = Timestamp::from_millis(
            until
                .as_millis()
                .saturating_sub(MAX_SPAN.as_millis() as i64),
        );
        let since = self.since.map_or(default, |since| since.0);
        if since > until {
            return Err(FieldError::at("query", "since", "must lie before `until`"));
        }
        if until.since(since) > MAX_SPAN {
            return Err(FieldError::at(
                "query",
                "since",
                "must be at most 28 days before `until`",
            ));
        }
        Ok((since, until))
    }
}

async fn count(
    api: &Api,
    found: &TheEndpoint,
    shard: u16,
    range: Range,
) -> Result<EndpointStats, Refusal> {
    let endpoint = found.key();
    // Messages first: a delivery that is recorded in between is then not taken for pending.
    let meant = api
        .messages()
        .meant_for(endpoint, shard, range.clone())
        .await?;
    let statuses = api.deliveries.statuses(endpoint.id, shard, range).await?;
    let (Some(meant), Some(statuses)) = (meant, statuses) else {
        let msg = "there are too many messages to count: choose a shorter range";
        return Err(FieldError::at("query", "since", msg).into());
    };
    let mut stats = EndpointStats::default();
    for status in statuses.values() {
        *match status {
            Status::Success => &mut stats.success,
            Status::Sending => &mut stats.sending,
            Status::Fail => &mut stats.fail,
            Status::Skipped => &mut stats.canceled,
        } += 1;
    }
    let without_record = meant
        .into_iter()
        .filter(|(message, _)| !statuses.contains_key(message));
    for (_, skipped) in without_record {
        *if skipped {
            &mut stats.canceled
        } else {
            &mut stats.pending
        } += 1;
    }
    Ok(stats)
}

fn add(a: EndpointStats, b: EndpointStats) -> EndpointStats {
    EndpointStats {
        success: a.success + b.success,
        pending: a.pending + b.pending,
        sending: a.sending + b.sending,
        fail: a.fail + b.fail,
        canceled: a.canceled + b.canceled,
    }
}
