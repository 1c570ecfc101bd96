//! The harness of the tests: a stack of its own for each test ([`World`]), receivers that answer as
//! told ([`Receiver`]), and waiting with a deadline ([`until`]). Benchmarks are in [`measure`].

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

use posthorn_local::patience;

pub use exact::ExactAnswer;
pub use faults::{AwsFault, FaultyAws, Injected, Plan};
pub use raw::{Broken, Fault};
pub use receiver::{Receiver, Request};
pub use world::{Answer, Clients, World};

/// How long a condition may take, longer on a busy machine. Far above what is normal: only a failing
/// test waits this long.
const DEADLINE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none before the deadline; `what` is in the message.
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
        () = patience(DEADLINE) => panic!("still waiting after {DEADLINE:?}: {what}"),
    }
}
