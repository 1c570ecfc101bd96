//! How a function starts and touches the outside world: settings, AWS clients, logs, metrics, the
//! clock and random bytes. Rules live in `posthorn-domain`; this crate has none.

pub mod aws;
pub mod env;
mod logs;
pub mod metrics;
mod panics;
mod world;

pub use logs::init_logs;
pub use panics::{Panicked, caught};
pub use world::{deadline, entropy, jitter, now};

/// What a function's `main` may fail with; Lambda logs it.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;
