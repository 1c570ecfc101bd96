use http::{HeaderMap, StatusCode};
use standardwebhooks::Webhook;

/// The status to answer with. `body` is what arrived, byte by byte; with axum: `body: Bytes`.
pub fn receive(secret: &str, headers: &HeaderMap, body: &[u8]) -> StatusCode {
    let Ok(webhook) = Webhook::new(secret) else {
        return StatusCode::INTERNAL_SERVER_ERROR;
    };
    if webhook.verify(body, headers).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    // Deliveries may arrive twice: `webhook-id` stays the same, so remember it.
    println!("received {:?} {} bytes", headers["webhook-id"], body.len());
    StatusCode::NO_CONTENT
}
