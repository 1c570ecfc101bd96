//! Jobs over many messages, as operators see them.

use posthorn_contract::{ApiError, Refusal};
use posthorn_domain::{
    id::{EndpointId, JobId},
    job::{Job, JobKind, JobStatus},
    name::Uid,
    timestamp::{Timestamp, rfc3339},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    Routes, State,
    extract::{Caller, Json, Operator, Query, path_parameter},
    list::{Limit, ListOut, Order, Paging, filter_map},
    routes::routes,
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(list)).routes(routes!(get))
}

/// `RecoverOut` of the contract.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecoverOut {
    id: JobId,
    #[schema(inline)]
    status: JobStatus,
    #[schema(inline)]
    task: JobKind,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A job and how far it got.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackgroundTaskOut {
    id: JobId,
    #[schema(inline)]
    status: JobStatus,
    #[schema(inline)]
    task: JobKind,
    data: Progress,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// How far a job got.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Progress {
    app_id: String,
    endpoint_id: EndpointId,
    /// Messages that it looked at.
    messages_seen: u64,
    /// Messages that it sends again.
    messages_sent: u64,
}

impl From<Job> for RecoverOut {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            status: job.status,
            task: job.kind,
            updated_at: job.updated_at,
        }
    }
}

impl From<Job> for BackgroundTaskOut {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            status: job.status,
            task: job.kind,
            data: Progress {
                app_id: job.application.into(),
                endpoint_id: job.endpoint,
                messages_seen: job.seen,
                messages_sent: job.queued,
            },
            updated_at: job.updated_at,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Items of the page.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 250)]
    limit: Option<Limit>,
    /// Where to go on: `iterator` or `prevIterator` of another page.
    iterator: Option<String>,
    /// The direction of the list.
    #[param(inline)]
    order: Option<Order>,
}

/// Lists jobs of the last 30 days, newest first.
#[utoipa::path(get, path = "/api/v1/background-task", operation_id = "v1.background-task.list", tag = "Background Task",
    params(ListQuery), responses((status = 200, body = ListOut<BackgroundTaskOut>)))]
pub(crate) async fn list(
    api: State,
    Operator(organization): Operator,
    Query(query): Query<ListQuery>,
) -> Result<Json<ListOut<BackgroundTaskOut>>, Refusal> {
    let ListQuery {
        limit,
        iterator,
        order,
    } = query;
    let plan = Paging {
        limit,
        iterator,
        order,
    }
    .plan::<JobId>(Order::Descending)?;
    let found = api.jobs.list(&organization, &plan.page).await?;
    Ok(Json(
        plan.respond(filter_map(found, |job| Some(job.into()))),
    ))
}

/// The job that the path names.
pub(crate) struct ThePath(String);

impl<S: Sync> axum::extract::FromRequestParts<S> for ThePath {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Refusal> {
        path_parameter(parts, "task_id").await.map(Self)
    }
}

/// Reads a job: whether it still works, and how many messages it sent.
#[utoipa::path(get, path = "/api/v1/background-task/{task_id}", operation_id = "v1.background-task.get", tag = "Background Task",
    params(("task_id" = Uid, Path)), responses((status = 200, body = BackgroundTaskOut)))]
pub(crate) async fn get(
    api: State,
    Caller(scope): Caller,
    ThePath(id): ThePath,
) -> Result<Json<BackgroundTaskOut>, Refusal> {
    let not_found = ApiError::NotFound("background task");
    let Ok(id) = id.parse() else {
        return Err(not_found.into());
    };
    let job = api.jobs.get(&scope.organization, &id).await?;
    // Whoever may start a job for an application may watch it.
    let job = job.filter(|job| scope.require_application(&job.application).is_ok());
    Ok(Json(job.ok_or(not_found)?.into()))
}
