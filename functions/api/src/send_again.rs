//! Sending again: one message, all that failed, all that were never sent; and an example.

use std::collections::HashMap;

use axum::http::StatusCode;
use posthorn_contract::{ApiError, Refusal, message::MessageOut};
use posthorn_domain::{
    delivery::Resend,
    error::FieldError,
    id::{JobId, MessageId},
    job::{Job, JobKind, JobStatus, MAX_LOOK_BACK},
    message::{Destination, Message, RetentionDays},
    name::{EventTypeName, Uid},
    payload::Payload,
    timestamp::Timestamp,
};
use posthorn_publish::{Target, task};
use posthorn_queue::{JobTask, Task};
use posthorn_runtime::now;
use posthorn_store::Consistency;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    Api, Routes, State,
    background_tasks::RecoverOut,
    extract::{Json, TheApplication, TheEndpoint},
    idempotency::{Fresh, Repeated},
    query::Time,
    routes::routes,
    the_message::TheMessage,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(recover))
        .routes(routes!(replay_missing))
        .routes(routes!(resend))
        .routes(routes!(send_example))
}

/// `RecoverIn` of the contract.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct RecoverIn {
    /// Only messages that were created from then on; at most 14 days ago.
    #[schema(value_type = String, format = DateTime)]
    since: Time,
    /// Only messages that were created before then; now when absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Time>,
}

/// `EventExampleIn` of the contract.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventExampleIn {
    /// The event type whose schema has the example.
    event_type: EventTypeName,
}

/// `EmptyResponse` of the contract.
type Empty = HashMap<String, String>;

/// Sends all messages again that failed or were skipped since a point in time, once each.
#[utoipa::path(post, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/recover", operation_id = "v1.endpoint.recover", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), request_body = RecoverIn, responses((status = 202, body = RecoverOut)))]
pub(crate) async fn recover(
    api: State,
    found: TheEndpoint,
    fresh: Fresh,
    Json(body): Json<RecoverIn>,
) -> Result<(StatusCode, Json<RecoverOut>), Refusal> {
    start(&api, &found, JobKind::Recover, body, fresh).await
}

/// Sends all messages since a point in time that match the endpoint and were never sent to it.
#[utoipa::path(post, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/replay-missing", operation_id = "v1.endpoint.replay-missing", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), request_body = RecoverIn, responses((status = 202, body = RecoverOut)))]
pub(crate) async fn replay_missing(
    api: State,
    found: TheEndpoint,
    fresh: Fresh,
    Json(body): Json<RecoverIn>,
) -> Result<(StatusCode, Json<RecoverOut>), Refusal> {
    start(&api, &found, JobKind::ReplayMissing, body, fresh).await
}

/// Stores a job and queues its first step. A job whose step was not queued does nothing, and its
/// caller got no answer.
async fn start(
    api: &Api,
    found: &TheEndpoint,
    kind: JobKind,
    body: RecoverIn,
    fresh: Fresh,
) -> Result<(StatusCode, Json<RecoverOut>), Refusal> {
    let now = now();
    let (since, until) = body.check(now)?;
    found.require_enabled()?;
    let job = Job {
        id: JobId::new(fresh.now, fresh.entropy),
        kind,
        application: found.owner.application.id.clone(),
        endpoint: found.endpoint.id.clone(),
        since,
        until,
        status: JobStatus::Running,
        cursor: None,
        steps: 0,
        seen: 0,
        queued: 0,
        updated_at: now,
    };
    let organization = found.owner.organization();
    api.jobs.create(organization, &job).await?;
    let task = JobTask {
        organization: organization.clone(),
        endpoint: job.endpoint.clone(),
        job: job.id.clone(),
    };
    api.queue().send_job(&task).await?;
    Ok((StatusCode::ACCEPTED, Json(job.into())))
}

impl RecoverIn {
    fn check(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), FieldError> {
        let since = self.since.0;
        let until = self.until.map_or(now, |until| until.0).min(now);
        if now.since(since) > MAX_LOOK_BACK {
            return Err(FieldError::body("since", "must be at most 14 days ago"));
        }
        if until < since {
            let field = if since > now { "since" } else { "until" };
            return Err(FieldError::body(
                field,
                "`since` must lie before `until` and now",
            ));
        }
        Ok((since, until))
    }
}

/// Sends a message to an endpoint again, once, whatever became of it before. While the attempt of a
/// resend is pending, another one is answered 409.
#[utoipa::path(post, path = "/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend", operation_id = "v1.message-attempt.resend", tag = "Message Attempt",
    params(("app_id" = Uid, Path), ("msg_id" = Uid, Path), ("endpoint_id" = Uid, Path)), responses((status = 202, body = HashMap<String, String>)))]
pub(crate) async fn resend(
    api: State,
    // First: it says when the request came in.
    fresh: Fresh,
    found: TheMessage,
    to: TheEndpoint,
) -> Result<(StatusCode, Json<Empty>), Refusal> {
    to.require_enabled()?;
    let TheMessage { owner, message } = found;
    if message.payload.is_none() {
        return Err(ApiError::Conflict("the message's payload was expunged".to_owned()).into());
    }
    let first = task(
        owner.organization(),
        &owner.application,
        &to.endpoint,
        &message,
    );
    let job = JobId::new(fresh.now, fresh.entropy);
    let resend = Resend::new(job.clone(), fresh.now);
    let manual = Task {
        manual: Some(job),
        payload: None,
        ..first
    };
    if api.reserve(&manual, &resend, fresh.now).await? {
        api.send_or_release(&manual, resend).await?;
    }
    Ok((StatusCode::ACCEPTED, Json(Empty::new())))
}

impl Api {
    /// Makes sure that no other resend of the delivery is pending; `false` when the attempt was made
    /// already, for an earlier try of the same request.
    async fn reserve(&self, task: &Task, resend: &Resend, now: Timestamp) -> Result<bool, Refusal> {
        let Err(earlier) = self.put_resend(task, resend, None).await? else {
            return Ok(true);
        };
        let (key, strong) = (task.delivery(), Consistency::Strong);
        let delivery = self.deliveries.get(key, strong).await?;
        if delivery
            .as_ref()
            .is_some_and(|delivery| delivery.was_made_for(&resend.job))
        {
            return Ok(false);
        }
        let is_pending = earlier.is_pending(delivery.as_ref(), now);
        if is_pending
            || self
                .put_resend(task, resend, Some(&earlier.job))
                .await?
                .is_err()
        {
            let detail = "a resend of this message to this endpoint is pending already";
            return Err(ApiError::Conflict(detail.to_owned()).into());
        }
        Ok(true)
    }

    async fn put_resend(
        &self,
        task: &Task,
        resend: &Resend,
        done: Option<&JobId>,
    ) -> Result<Result<(), Resend>, Refusal> {
        let put = self.deliveries.put_resend(task.delivery(), resend, done);
        Ok(put.await?)
    }

    /// Queues the task; when that fails, the next resend need not wait for it.
    async fn send_or_release(&self, task: &Task, resend: Resend) -> Result<(), Refusal> {
        let Err(error) = self.queue().send_all([task]).await else {
            return Ok(());
        };
        let over = Resend {
            until: now(),
            ..resend
        };
        if let Err(error) = self.put_resend(task, &over, None).await {
            tracing::warn!(?error, "a resend that was not queued holds up others");
        }
        Err(error.into())
    }
}

/// Sends the example of an event type's schema to an endpoint, whatever it filters on. `svix.ping` has one
/// without being in the catalogue.
#[utoipa::path(post, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example", operation_id = "v1.endpoint.send-example", tag = "Endpoint",
    params(("app_id" = Uid, Path), ("endpoint_id" = Uid, Path)), request_body = EventExampleIn, responses((status = 200, body = MessageOut)))]
pub(crate) async fn send_example(
    api: State,
    to: TheEndpoint,
    fresh: Fresh,
    Repeated(is_done): Repeated,
    Json(body): Json<EventExampleIn>,
) -> Result<Json<MessageOut>, Refusal> {
    let id = MessageId::new(fresh.now, fresh.entropy);
    if is_done {
        let key = to.owner.application.log();
        let sent = api
            .messages()
            .get(key.message(&id), Consistency::Strong)
            .await?;
        let sent = sent.ok_or(ApiError::NotFound("message"))?;
        return Ok(Json(MessageOut::new(&sent, true)));
    }
    to.require_enabled()?;
    let payload = example(&api, &to.owner, &body.event_type).await?;
    let TheEndpoint { owner, endpoint } = to;
    let now = fresh.now;
    let message = Message {
        id,
        event_type: body.event_type,
        event_id: None,
        channels: None,
        tags: None,
        payload: Some(payload),
        destinations: vec![Destination {
            endpoint: endpoint.id.clone(),
            skipped: None,
        }],
        created_at: now,
        expires_at: RetentionDays::default().end(now),
    };
    let target = Target {
        organization: owner.scope.organization,
        application: owner.application,
        endpoints: vec![endpoint],
    };
    let sent = api.publisher.publish(&target, message, None).await?;
    Ok(Json(MessageOut::new(&sent, true)))
}

/// An event type that every organization has: its example shows whether an endpoint can be reached.
const PING: &str = "svix.ping";

/// The payload of an event type's example.
async fn example(
    api: &Api,
    owner: &TheApplication,
    event_type: &EventTypeName,
) -> Result<Payload, Refusal> {
    let refused = |msg| FieldError::body("eventType", msg);
    if event_type.as_str() == PING {
        let success = Payload::from_text(r#"{"success":true}"#.to_owned());
        return Ok(success.map_err(|_| refused("has no example"))?);
    }
    let found = api.event_types.get(owner.organization(), event_type);
    let found = found.await?;
    let found = found.filter(|found| owner.scope.sees(found.feature_flag.as_ref()));
    let found = found.ok_or(ApiError::NotFound("event type"))?;
    let payload = found
        .example()
        .and_then(|text| Payload::from_text(text).ok());
    let msg = "has no schema with an example that is an object";
    Ok(payload.ok_or_else(|| refused(msg))?)
}
