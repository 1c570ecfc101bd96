//! Promises, one file each, kept by the real functions on the local stack.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod audit;
mod authentication;
mod bad_input;
mod batch;
mod bounds;
mod budget;
mod contract;
mod crash;
mod delivery;
mod event_types;
mod expunge;
mod failures;
mod faults;
mod filters;
mod first_message;
mod headers;
mod idempotency;
mod isolation;
mod least_privilege;
mod local_stack;
mod messages_queue;
mod observability;
mod observe;
mod operational;
mod pages;
mod patch;
mod portal;
mod races;
mod receivers;
mod recover;
mod redrive;
mod resources;
mod retries;
mod revocation;
mod rotation;
mod schedule;
mod scopes;
mod secrets;
mod sizes;
mod ssrf;
mod takeover;
mod template;
mod token_keys;
