//! The front room of the functions that answer HTTP requests: what a request is, how it is refused,
//! and who may make it. HTTP statuses are decided here and nowhere else.
//!
//! | module | holds |
//! |---|---|
//! | [`gateway`] | API Gateway's events as HTTP, and back |
//! | [`http`] | requests, responses and headers |
//! | [`tokens`] | who is calling |
//! | [`body`] | reads a JSON body, and says which field is wrong |
//! | [`application`], [`message`], [`batch`] | bodies that ingest and api share |
//! | [`ApiError`], [`Refusal`] | why a request is not carried out, and the answer |

pub mod application;
pub mod batch;
pub mod body;
mod error;
pub mod gateway;
pub mod http;
pub mod message;
mod refusal;
pub mod tokens;

pub use error::ApiError;
pub use refusal::Refusal;
