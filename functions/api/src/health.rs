//! Health.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Extension,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use posthorn_domain::{
    health::Lane,
    id::{ApplicationId, EndpointId, MessageId, OrganizationId},
    key::{AppKey, LogKey},
    timestamp::Timestamp,
};
use posthorn_runtime::now;
use posthorn_store::Consistency;
use tokio::join;

use crate::{Api, Routes, State, extract::Json, openapi::HttpErrorOut, routes::routes};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(get)).routes(routes!(ping))
}

/// How long an answer is good for: who asks without a token makes no more than one look in this time.
const GOOD_FOR: Duration = Duration::from_secs(2);

/// What did not answer at the last look, and when that was.
#[derive(Default)]
pub(crate) struct Known(Mutex<Option<(Timestamp, Vec<&'static str>)>>);

impl Known {
    fn get(&self, now: Timestamp) -> Option<Vec<&'static str>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, failed) = known.as_ref()?;
        (now < at.plus(GOOD_FOR)).then(|| failed.clone())
    }

    fn set(&self, now: Timestamp, failed: &[&'static str]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((now, failed.to_vec()));
    }
}

/// 204 when the tables can be read and the queues answer; 503 names those that do not. No token is
/// needed, so it tells nothing else.
#[utoipa::path(method(get, head), path = "/api/v1/health", operation_id = "v1.health.get", tag = "Health",
    security(()), responses((status = 204), (status = 503, body = HttpErrorOut)))]
pub(crate) async fn get(api: State, Extension(known): Extension<Arc<Known>>) -> Response {
    let now = now();
    let failed = match known.get(now) {
        Some(failed) => failed,
        None => {
            let failed = look(&api).await;
            known.set(now, &failed);
            failed
        }
    };
    if failed.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let detail = format!("no answer from: {}", failed.join(", "));
    let code = "unavailable".to_owned();
    (
        StatusCode::SERVICE_UNAVAILABLE,
        Json(HttpErrorOut { code, detail }),
    )
        .into_response()
}

/// Reads from each table and asks each queue; gives those that do not answer.
async fn look(api: &Api) -> Vec<&'static str> {
    let organization = OrganizationId::new(now(), [0; 15]);
    let application = ApplicationId::operational(&organization);
    let (message, endpoint) = (
        MessageId::new(now(), [0; 15]),
        EndpointId::new(now(), [0; 15]),
    );
    let app = AppKey::new(&organization, &application);
    let log = LogKey {
        application: &application,
        shards: 1,
    };
    let message = log.message(&message);
    let (config, messages, deliveries, queue, slow_queue) = join!(
        api.applications().get(app),
        api.messages().get(message, Consistency::Eventual),
        api.deliveries
            .get(message.to(&endpoint), Consistency::Eventual),
        api.queue().check(Lane::Fast),
        api.queue().check(Lane::Slow),
    );
    let dependencies = [
        ("config table", config.err().map(|error| error.to_string())),
        (
            "messages table",
            messages.err().map(|error| error.to_string()),
        ),
        (
            "deliveries table",
            deliveries.err().map(|error| error.to_string()),
        ),
        (
            "deliveries queue",
            queue.err().map(|error| error.to_string()),
        ),
        (
            "slow deliveries queue",
            slow_queue.err().map(|error| error.to_string()),
        ),
    ];
    let mut failed = Vec::new();
    for (name, error) in dependencies {
        if let Some(error) = error {
            tracing::error!(error, "the {name} does not answer");
            failed.push(name);
        }
    }
    failed
}

/// 204: the function runs.
#[utoipa::path(method(get, head), path = "/api/v1/health/ping", operation_id = "v1.health.ping", tag = "Health",
    security(()), responses((status = 204)))]
pub(crate) async fn ping() -> StatusCode {
    StatusCode::NO_CONTENT
}
