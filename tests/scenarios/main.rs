//! Promises, tested with the real functions on the local stack: a folder per kind, a file per
//! subject. `docs/promises.md` lists them; `tests/README.md` says where a new one belongs.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

/// A message is accepted.
mod sending {
    mod batch;
    mod filters;
    mod first_message;
    mod idempotency;
    mod messages_queue;
    mod raw_payload;
}

/// A message arrives.
mod delivery {
    pub(crate) mod audit;
    mod crash;
    mod failures;
    mod faults;
    mod headers;
    pub(crate) mod isolation;
    mod receivers;
    mod recover;
    mod redrive;
    mod resend;
    mod retries;
    mod rotation;
    pub(crate) mod tasks;
}

/// What clients of the API see.
mod api {
    mod bad_input;
    mod contract;
    mod event_types;
    mod expunge;
    mod front;
    mod observe;
    pub(crate) mod pages;
    mod patch;
    mod races;
    mod resources;
    mod sizes;
    mod unknown_fields;
}

/// What operators see and pay.
mod operating {
    mod bounds;
    mod budget;
    mod local_stack;
    mod observability;
    mod operational;
    mod schedule;
    mod template;
}

/// What nobody can do.
mod security {
    mod authentication;
    mod least_privilege;
    mod loops;
    mod revocation;
    mod scopes;
    mod secrets;
    mod ssrf;
    mod takeover;
    mod token_keys;
}

/// What customers see.
mod portal {
    mod access;
}
