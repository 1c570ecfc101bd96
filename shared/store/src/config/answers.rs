//! The answers to requests with an `idempotency-key`, in the config table.
//!
//! A key is reserved before its request is carried out, and the answer is stored under it
//! afterwards. A repeated request therefore gets the same answer and has no second effect. Messages
//! have their own guards in the messages table (see [`crate::Guard`]).

use std::{fmt, time::Duration};

use aws_sdk_dynamodb::{
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use posthorn_domain::{id::OrganizationId, timestamp::Timestamp};
use serde::{Deserialize, Serialize};
use serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value;

use crate::{
    StoreError,
    dynamo::{Item, Key, Table, entity, n, s, ttl},
};

/// Answers to requests with an `idempotency-key`.
#[derive(Clone, Debug)]
pub struct Answers(pub(super) Table);

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// A request without an answer after this time never got one: it is longer than the api function's
/// timeout.
const ABANDONED: Duration = Duration::from_secs(30);

/// A request and its answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// A hash of the request, to tell a repeated request from a different one.
    pub request_hash: String,
    /// The HTTP status code; 0 while the request is running, [`FAILED`] when it may have had an
    /// effect but its caller got no answer.
    pub status: u16,
    /// The response body.
    pub body: String,
    /// When the request arrived.
    pub started_at: Timestamp,
    /// Random, so that a retry by the SDK recognizes its own reservation.
    pub nonce: String,
    /// What the request's new ids are derived from. When an interrupted request is repeated it gets
    /// the same ids, and finds what the first try created.
    pub seed: Seed,
}

/// The time and randomness of a request's first try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// When it arrived.
    pub at: Timestamp,
    /// Random.
    pub nonce: String,
}

/// See [`Answer::status`].
pub const FAILED: u16 = 1;

/// Leaves out the body, which may hold a secret.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status, started_at, ..
        } = self;
        write!(f, "Answer({status}, {started_at:?})")
    }
}

fn item(organization: &OrganizationId, key: &str, answer: &Answer) -> Result<Item, StoreError> {
    let mut item = row(organization, key).with(answer)?;
    item.extend([ttl(answer.started_at.plus(KEPT))]);
    Ok(item)
}

fn row(organization: &OrganizationId, key: &str) -> Key {
    Key::new(format!("{organization}#key#{key}"), "key")
}

impl Answers {
    /// Reserves a key (a hash, because callers may choose any text). The inner `Ok` is the
    /// reservation, with the seed of the first try if an earlier one ended without an answer; the
    /// inner `Err` is what an earlier request left.
    pub async fn reserve(
        &self,
        organization: &OrganizationId,
        key: &str,
        answer: &Answer,
    ) -> Result<Result<Answer, Answer>, StoreError> {
        let update = self.reservation(organization, key, answer)?;
        match update.send().await {
            Ok(output) => Ok(Ok(entity(output.attributes.unwrap_or_default())?)),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    let earlier: Answer = entity(failed.item().cloned().unwrap_or_default())?;
                    self.renew(organization, key, answer, earlier).await
                }
                _ => Err(StoreError::aws("UpdateItem")(error)),
            },
        }
    }

    /// Takes a key that is free, this request's own, or left by an earlier try without an answer.
    fn reservation(
        &self,
        organization: &OrganizationId,
        key: &str,
        answer: &Answer,
    ) -> Result<UpdateItemFluentBuilder, StoreError> {
        let abandoned = answer.started_at.as_millis() - ABANDONED.as_millis() as i64;
        let (_, expires) = ttl(answer.started_at.plus(KEPT));
        Ok(self
            .0
            .update(row(organization, key))
            .update_expression(
                "SET request_hash = :hash, #status = :none, body = :empty, started_at = :started, \
                 nonce = :nonce, seed = if_not_exists(seed, :seed), #ttl = :ttl",
            )
            .condition_expression(
                "attribute_not_exists(pk) OR nonce = :nonce OR (request_hash = :hash AND \
                 (#status = :failed OR (#status = :none AND started_at < :abandoned)))",
            )
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":hash", s(answer.request_hash.as_str()))
            .expression_attribute_values(":none", n(0))
            .expression_attribute_values(":failed", n(FAILED))
            .expression_attribute_values(":empty", s(""))
            .expression_attribute_values(":started", n(answer.started_at.as_millis()))
            .expression_attribute_values(":abandoned", n(abandoned))
            .expression_attribute_values(":nonce", s(answer.nonce.as_str()))
            .expression_attribute_values(":seed", to_attribute_value(&answer.seed)?)
            .expression_attribute_values(":ttl", expires)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_values(ReturnValue::AllNew))
    }

    /// Takes over the key of an answer that has expired but is not removed yet.
    async fn renew(
        &self,
        organization: &OrganizationId,
        key: &str,
        answer: &Answer,
        earlier: Answer,
    ) -> Result<Result<Answer, Answer>, StoreError> {
        if answer.started_at < earlier.started_at.plus(KEPT) {
            return Ok(Err(earlier));
        }
        self.keep(organization, key, answer).await?;
        Ok(Ok(answer.clone()))
    }

    /// Stores an answer under its key.
    pub async fn keep(
        &self,
        organization: &OrganizationId,
        key: &str,
        answer: &Answer,
    ) -> Result<(), StoreError> {
        self.0.put(item(organization, key, answer)?).await
    }

    /// Frees a key whose request had no effect.
    pub async fn release(
        &self,
        organization: &OrganizationId,
        key: &str,
    ) -> Result<(), StoreError> {
        self.0.remove(row(organization, key)).await
    }
}
