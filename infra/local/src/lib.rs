//! The local stack: everything that the template deploys, on this machine, without Docker and
//! without an AWS account.
//!
//! The functions are the real binaries, running as processes under the Lambda Runtime API
//! ([`lambda`]). DynamoDB, SQS, Secrets Manager and KMS are in-process servers that speak the wire
//! protocols ([`aws`]); tables, queues, routes and settings come from template.yaml ([`template`]).
//! [`Stack`] puts them together; the binary `posthorn` adds a demo receiver, and the tests start
//! their own stacks.

pub mod aws;
mod binaries;
mod event_source;
mod fair_sleep;
mod front;
pub mod lambda;
mod log;
pub mod receiver;
mod schedule;
mod stack;
pub mod template;
mod watch;

pub use binaries::{BuildError, build_binaries};
pub use fair_sleep::fair_sleep;
pub use log::LogSink;
pub use stack::{Stack, StackOptions, StartError};

/// The account that emulated resources belong to.
pub(crate) const ACCOUNT: &str = "000000000000";

/// The region that emulated resources are in.
pub(crate) const REGION: &str = "us-east-1";
