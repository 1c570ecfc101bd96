//! Notifies operators of what happened to an endpoint.

use posthorn_domain::{
    endpoint::Endpoint,
    operational::{EndpointData, OperationalEvent},
};
use posthorn_runtime::now;

use crate::{Api, extract::TheApplication};

/// The change is stored already, so a failure here is logged and does not fail the request. The
/// built-in application's own endpoints are no news.
pub(crate) async fn notify_operators(
    api: &Api,
    owner: &TheApplication,
    endpoint: &Endpoint,
    event: impl FnOnce(EndpointData) -> OperationalEvent,
) {
    if owner.key().is_operational() {
        return;
    }
    let event = event(EndpointData::new(&owner.application, endpoint));
    let cause = format!("{}#{}", endpoint.id, endpoint.revision);
    let notified = api
        .publisher
        .notify_operators(owner.organization(), &event, now(), &cause)
        .await;
    if let Err(error) = notified {
        tracing::error!(%error, endpoint_id = %endpoint.id, event = event.event_type(), "operators were not told");
    }
}
