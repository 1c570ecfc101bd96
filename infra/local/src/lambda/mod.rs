//! Lambda: function binaries as processes, one invocation per process at a time.
//!
//! [`Pool`] is one function: it starts processes as invocations need them, keeps them warm, ends
//! them at the timeout, and notices when one dies. `api` is the HTTP side that the processes talk
//! to (AWS Lambda: "Using the Lambda runtime API").

mod api;
mod pool;
mod process;
#[cfg(test)]
pub(crate) mod tests;

pub use pool::{InvokeError, Pool};

pub(crate) use api::serve;
pub(crate) use pool::PoolOptions;
