//! What becomes of an attempt, whatever its receiver does. Each row of a table is what a receiver says, byte
//! for byte, and what that must lead to: the outcome, the next step, and how many requests the receiver got.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking, and describes itself"
)]

mod early;
mod http1;
mod http2;
mod ours;
mod tls;
mod want;
