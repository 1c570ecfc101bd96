//! What requests with an `idempotency-key` were answered, in the config table.
//!
//! A key is reserved before its request is carried out and gets the answer afterwards, so the same
//! request again gets the same answer instead of a second effect. Messages have guards of their own
//! in the messages table (see [`crate::Guard`]).

use std::{fmt, time::Duration};

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
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

/// A request that has no answer after this time ended without one: longer than the api function's
/// time-out.
const ABANDONED: Duration = Duration::from_secs(30);

/// A request and what it was answered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// A hash of the request, to tell a repetition from another request.
    pub request_hash: String,
    /// The HTTP status code; 0 while the request is carried out, [`FAILED`] when it may have had an
    /// effect and its caller got none of it.
    pub status: u16,
    /// The response body.
    pub body: String,
    /// When the request arrived.
    pub started_at: Timestamp,
    /// Random: a retry of the SDK finds its own reservation.
    pub nonce: String,
    /// What the request's new ids are made of. A repetition of a request that ended in the middle
    /// gets the same ones, and finds what was made.
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

/// Without the body, which may be a secret.
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
    /// Reserves a key (a hash: callers choose any text). `Err` inside is what an earlier request left;
    /// `Ok` is the reservation, with the seed of an earlier try of the same request that ended without
    /// an answer.
    pub async fn reserve(
        &self,
        organization: &OrganizationId,
        key: &str,
        answer: &Answer,
    ) -> Result<Result<Answer, Answer>, StoreError> {
        let abandoned = answer.started_at.as_millis() - ABANDONED.as_millis() as i64;
        let (_, expires) = ttl(answer.started_at.plus(KEPT));
        let result = self
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
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match result {
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

    /// An answer that expired and was not removed yet gives its key back.
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

    /// Keeps an answer.
    pub async fn keep(
        &self,
        organization: &OrganizationId,
        key: &str,
        answer: &Answer,
    ) -> Result<(), StoreError> {
        self.0.put(item(organization, key, answer)?).await
    }

    /// Gives a key back: its request had no effect.
    pub async fn release(
        &self,
        organization: &OrganizationId,
        key: &str,
    ) -> Result<(), StoreError> {
        self.0.remove(row(organization, key)).await
    }
}
