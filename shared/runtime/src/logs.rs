//! Logs: one JSON object per line on standard output, which Lambda collects.

use tracing_subscriber::EnvFilter;

/// Starts logging at the level in `LOG_LEVEL`, by default `info`. Libraries log warnings only: at
/// finer levels they would print requests, and with them payloads and secrets.
pub fn init_logs() {
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::new(format!("warn,posthorn={level}"));
    let lines = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false);
    // An error means that a subscriber is already set; it stays.
    let _ = lines
        .with_span_list(false)
        .with_env_filter(filter)
        .with_target(false)
        .try_init();
}
