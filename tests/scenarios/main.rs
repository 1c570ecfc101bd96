//! Promises, one file each, kept by the real functions on the local stack.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod authentication;
mod bad_input;
mod budget;
mod contract;
mod crash;
mod delivery;
mod filters;
mod first_message;
mod idempotency;
mod local_stack;
mod resources;
mod retries;
mod template;
