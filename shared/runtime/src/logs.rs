//! Logs: one JSON object a line on standard output, which Lambda keeps.

use tracing_subscriber::EnvFilter;

/// Starts logging at the level that `RUST_LOG` names, `info` when it names none.
pub fn init_logs() {
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false);
    // An error means that a subscriber is set already: then its choice stands.
    let _ = subscriber
        .with_span_list(false)
        .with_env_filter(level)
        .with_target(false)
        .try_init();
}
