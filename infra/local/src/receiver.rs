//! The demo receiver: verifies each delivery with the official Standard Webhooks library and prints it.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

/// How many characters of a payload are printed.
const SHOWN: usize = 200;

/// Serves until it is dropped. `secret` is the endpoint's.
///
/// # Errors
/// When the secret is invalid, or the server fails.
pub async fn serve(
    listener: TcpListener,
    secret: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let webhook = std::sync::Arc::new(Webhook::new(secret)?);
    let router = Router::new().fallback(post(receive)).with_state(webhook);
    Ok(axum::serve(listener, router).await?)
}

async fn receive(
    State(webhook): State<std::sync::Arc<Webhook>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let id = headers
        .get("webhook-id")
        .and_then(|id| id.to_str().ok())
        .unwrap_or("(no webhook-id)");
    let payload: String = String::from_utf8_lossy(&body).chars().take(SHOWN).collect();
    match webhook.verify(&body, &headers) {
        Ok(()) => {
            println!("✓ {id} verified  {payload}");
            StatusCode::NO_CONTENT
        }
        Err(error) => {
            println!("✗ {id} refused: {error}");
            StatusCode::BAD_REQUEST
        }
    }
}
