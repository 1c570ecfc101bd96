//! The REST API (Svix v1), all but posting messages: one axum router.
//!
//! [`Service::handle`] takes what Lambda passes: an HTTP request from API Gateway, or an event of an operator with
//! IAM permission to invoke the function (`operator`). `access` says what tokens of the portal may do. Each resource has a file with its routes,
//! its request and response bodies, and its handlers; `openapi` describes them all.

mod access;
mod applications;
mod attempt_out;
mod attempt_query;
mod attempts;
mod auth;
mod background_tasks;
mod destinations;
mod endpoint_bodies;
mod endpoint_headers;
mod endpoint_secret;
mod endpoints;
mod event_type_bodies;
mod event_types;
mod extract;
mod handle;
mod health;
mod idempotency;
mod list;
mod messages;
mod notify;
mod openapi;
mod operator;
mod query;
mod routes;
mod send_again;
mod signer;
mod start;
mod stats;
mod status;
mod the_message;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{Extension, middleware, routing::get};
use posthorn_contract::{ApiError, Refusal, tokens::Tokens};
use posthorn_domain::address::Policy;
use posthorn_publish::Publisher;
use posthorn_queue::DeliveriesQueue;
use posthorn_store::{
    Answers, Applications, Deliveries, Endpoints, EventTypes, Guards, Jobs, Messages, Sessions,
    Tries,
};
use posthorn_vault::Vault;
use utoipa::OpenApi;

pub use handle::Service;
pub use signer::{Signer, SignerError};

use crate::routes::Routes;

/// What the function works with; built once per process.
#[derive(Debug)]
pub struct Api {
    /// Verifies bearer tokens.
    pub tokens: Tokens,
    /// Signs them.
    pub signer: Signer,
    /// Seals endpoints' secrets.
    pub vault: Vault,
    /// Applications, messages and tasks.
    pub publisher: Publisher,
    /// Endpoints.
    pub endpoints: Endpoints,
    /// Event types.
    pub event_types: EventTypes,
    /// Jobs over many messages.
    pub jobs: Jobs,
    /// Sessions of the portal that were ended.
    pub sessions: Sessions,
    /// What requests with an `idempotency-key` were answered.
    pub answers: Answers,
    /// Which message has an `eventId`.
    pub guards: Guards,
    /// Deliveries.
    pub deliveries: Deliveries,
    /// Where endpoints may be.
    pub addresses: Policy,
    /// Where customers see their application portal; tokens are added as a fragment.
    pub portal_url: String,
}

impl Api {
    fn applications(&self) -> &Applications {
        &self.publisher.applications
    }

    fn messages(&self) -> &Messages {
        &self.publisher.messages
    }

    fn queue(&self) -> &DeliveriesQueue {
        &self.publisher.queue
    }
}

/// How often a change that meets others is made again. It lets them go first, longer every time.
const TRIES: Tries = Tries::new(5, |tries| Duration::from_millis(20 << tries));

/// The function's state, shared by requests.
type State = axum::extract::State<Arc<Api>>;

/// All routes.
pub fn router(api: Arc<Api>) -> Service {
    let (router, describe) = Routes::new()
        .merge(applications::routes())
        .merge(endpoints::routes())
        .merge(endpoint_headers::routes())
        .merge(endpoint_secret::routes())
        .merge(stats::routes())
        .merge(event_types::routes())
        .merge(messages::routes())
        .merge(attempts::routes())
        .merge(destinations::routes())
        .merge(send_again::routes())
        .merge(background_tasks::routes())
        .merge(auth::routes())
        .merge(health::routes())
        .into_parts();
    let written = Arc::new(OnceLock::new());
    let document = move || {
        let make = || openapi::write(describe(openapi::Description::openapi()));
        openapi::answer(written.get_or_init(make))
    };
    let remember = middleware::from_fn_with_state(Arc::clone(&api), idempotency::remember);
    let router = router
        .route("/api/v1/openapi.json", get(async move || document()))
        .layer(remember)
        .layer(Extension(Arc::<health::Known>::default()))
        .fallback(async || Refusal::from(ApiError::NotFound("path")))
        .method_not_allowed_fallback(async || Refusal::from(ApiError::Method))
        .with_state(Arc::clone(&api));
    Service { router, api }
}
