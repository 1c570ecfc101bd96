//! The REST API (Svix v1), all but posting messages: one axum router.
//!
//! [`handle`] takes what Lambda passes: an HTTP request from API Gateway, or `{"mint": …}` from an
//! operator with IAM permission to invoke the function. Each resource has a file with its routes,
//! its request and response bodies, and its handlers.

mod applications;
mod attempts;
mod endpoints;
mod event_types;
mod extract;
mod handle;
mod health;
mod list;
mod messages;
mod mint;
mod refusal;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use posthorn_domain::{address::Policy, token::TokenKey};
use posthorn_store::{ConfigTable, DeliveriesTable, MessagesTable};

pub use handle::{Service, handle};

/// What the function works with; built once per process.
#[derive(Debug)]
pub struct Api {
    /// Signs and verifies bearer tokens.
    pub key: TokenKey,
    /// Applications, endpoints, event types.
    pub config: ConfigTable,
    /// Messages.
    pub messages: MessagesTable,
    /// Deliveries.
    pub deliveries: DeliveriesTable,
    /// Where endpoints may be.
    pub addresses: Policy,
}

/// The function's state, shared by requests.
type State = axum::extract::State<Arc<Api>>;

/// All routes. The template names the same ones; a test compares them.
pub fn router(api: Arc<Api>) -> Service {
    let application = get(applications::get)
        .put(applications::update)
        .delete(applications::delete);
    let endpoint = get(endpoints::get)
        .put(endpoints::update)
        .delete(endpoints::delete);
    let router = Router::new()
        .route(
            "/api/v1/app",
            get(applications::list).post(applications::create),
        )
        .route("/api/v1/app/{app_id}", application)
        .route(
            "/api/v1/app/{app_id}/endpoint",
            get(endpoints::list).post(endpoints::create),
        )
        .route("/api/v1/app/{app_id}/endpoint/{endpoint_id}", endpoint)
        .route(
            "/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret",
            get(endpoints::secret),
        )
        .route("/api/v1/app/{app_id}/msg", get(messages::list))
        .route("/api/v1/app/{app_id}/msg/{msg_id}", get(messages::get))
        .route(
            "/api/v1/app/{app_id}/attempt/msg/{msg_id}",
            get(attempts::by_message),
        )
        .route(
            "/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}",
            get(attempts::by_endpoint),
        )
        .route(
            "/api/v1/event-type",
            get(event_types::list).merge(post(event_types::create)),
        )
        .route(
            "/api/v1/event-type/{event_type_name}",
            get(event_types::get),
        )
        .route("/api/v1/health", get(health::get))
        .route("/api/v1/health/ping", get(health::ping))
        .with_state(Arc::clone(&api));
    Service { router, api }
}
