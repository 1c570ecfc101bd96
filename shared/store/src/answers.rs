//! What requests with an `idempotency-key` were answered, in the config table.
//!
//! A key is reserved before its request is carried out and gets the answer afterwards, so the same
//! request again gets the same answer instead of a second effect. Messages have guards of their own
//! in the messages table (see [`crate::Guard`]).

use std::{fmt, time::Duration};

use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use posthorn_domain::{id::OrganizationId, timestamp::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    ConfigTable, StoreError,
    guards::take_existing,
    item::{Item, Key, entity, n, s, ttl},
};

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

impl ConfigTable {
    /// Reserves a key (a hash: callers choose any text). `Err` inside is what an earlier request left;
    /// `Ok` is the reservation, with the seed of an earlier try of the same request that ended without
    /// an answer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reserve_answer(
        &self,
        organization: &OrganizationId,
        key: &str,
        answer: &Answer,
    ) -> Result<Result<Answer, Answer>, StoreError> {
        let abandoned = answer.started_at.as_millis() - ABANDONED.as_millis() as i64;
        let result = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(organization, key, answer)?))
            .condition_expression(
                "attribute_not_exists(pk) OR #ttl <= :now OR nonce = :nonce OR #status = :failed OR (#status = :none AND started_at < :abandoned)",
            )
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":now", n(answer.started_at.as_seconds()))
            .expression_attribute_values(":none", n(0))
            .expression_attribute_values(":failed", n(FAILED))
            .expression_attribute_values(":nonce", s(answer.nonce.as_str()))
            .expression_attribute_values(":abandoned", n(abandoned))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_values(ReturnValue::AllOld)
            .send()
            .await;
        match result {
            Ok(output) => {
                let before = output.attributes.map(entity::<Answer>).transpose()?;
                self.go_on(organization, key, answer, before).await.map(Ok)
            }
            Err(error) => match take_existing(&error) {
                Some(existing) => entity(existing).map(Err),
                None => Err(StoreError::aws("PutItem")(error)),
            },
        }
    }

    /// Takes over the seed of an earlier try of the same request.
    async fn go_on(
        &self,
        organization: &OrganizationId,
        key: &str,
        answer: &Answer,
        before: Option<Answer>,
    ) -> Result<Answer, StoreError> {
        let is_same = |before: &Answer| {
            let is_fresh = answer.started_at < before.seed.at.plus(KEPT);
            is_fresh && before.request_hash == answer.request_hash
        };
        let Some(before) = before.filter(is_same) else {
            return Ok(answer.clone());
        };
        let answer = Answer {
            seed: before.seed,
            ..answer.clone()
        };
        self.keep_answer(organization, key, &answer).await?;
        Ok(answer)
    }

    /// Keeps an answer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_answer(
        &self,
        organization: &OrganizationId,
        key: &str,
        answer: &Answer,
    ) -> Result<(), StoreError> {
        self.put(item(organization, key, answer)?).await
    }

    /// Gives a key back: its request had no effect.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn release_answer(
        &self,
        organization: &OrganizationId,
        key: &str,
    ) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.name);
        let key = row(organization, key).item();
        let delete = delete.set_key(Some(key)).send().await;
        delete.map(|_| ()).map_err(StoreError::aws("DeleteItem"))
    }
}
