//! The test harness: a stack for each test ([`World`]), receivers that answer as configured
//! ([`Receiver`]), and waiting with a deadline ([`until`]). Benchmarks are in [`measure`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a harness for tests fails by panicking"
)]

pub mod client;
mod exact;
mod faults;
pub mod measure;
mod raw;
mod receiver;
mod world;

use std::{future::Future, time::Duration};

use posthorn_local::fair_sleep;

pub use exact::ExactAnswer;
pub use faults::{AwsFault, FaultyAws, Injected, Plan};
pub use raw::{Broken, Fault};
pub use receiver::{Receiver, Request};
pub use world::{Answer, Clients, World};

/// How long a condition may take; longer on a busy machine. Far above normal times: only a failing
/// test waits this long.
const DEADLINE: Duration = Duration::from_secs(60);

/// Calls `ask` repeatedly until it returns a value, and returns that.
///
/// # Panics
/// When there is no value before the deadline; the message includes `what`.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let found = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        found = found => found,
        () = fair_sleep(DEADLINE) => panic!("still waiting after {DEADLINE:?}: {what}"),
    }
}
