//! Posthorn's rules, free of AWS, HTTP clients, clocks and random sources.
//!
//! Everything here is a type or a pure function: `now` and randomness are arguments, so that each
//! rule can be tested by value. The functions (`functions/*`) translate HTTP and SQS into these
//! types and back; `posthorn-store` stores them and `posthorn-queue` carries them.
//!
//! | module | holds |
//! |---|---|
//! | [`id`], [`key`], [`name`], [`list`] | ids, addresses, validated identifiers, bounded lists |
//! | [`application`], [`endpoint`], [`event_type`], [`message`] | what customers configure and send |
//! | [`headers`], [`change`] | parts of those, and fields of a PATCH |
//! | [`filter`] | which endpoints a message reaches |
//! | [`delivery`], [`attempt`], [`failure`], [`retry`] | the state of a delivery and its next step |
//! | [`health`], [`rate`] | the health of an endpoint, and how its attempts are spread |
//! | [`job`], [`operational`] | sending many messages again; events for operators |
//! | [`signing`], [`token`], [`address`] | signatures, bearer tokens, which addresses may be reached |
//! | [`envelope`] | encryption of texts that only some functions may read |
//! | [`json_depth`], [`error`] | how deep JSON is nested, and which field broke a rule |

pub mod address;
pub mod application;
pub mod attempt;
pub mod change;
pub mod delivery;
pub mod endpoint;
pub mod envelope;
pub mod error;
pub mod event_type;
pub mod failure;
pub mod filter;
pub mod headers;
pub mod health;
pub mod id;
pub mod job;
pub mod json_depth;
pub mod json_schema;
mod json_text;
pub mod key;
pub mod list;
pub mod message;
pub mod metadata;
pub mod name;
pub mod operational;
pub mod payload;
pub mod rate;
pub mod retry;
pub mod shard;
pub mod signing;
pub mod timestamp;
pub mod token;
pub mod trace;
