//! Slots: when attempts may be made at an endpoint with a rate.

use std::{ops::Range, time::Duration};

use aws_sdk_dynamodb::{
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use posthorn_domain::{id::EndpointId, rate::Pace, timestamp::Timestamp};

use crate::{
    Consistency, StoreError, Written,
    dynamo::{Item, Key, Table, n, ttl},
};

/// How long the slots of an endpoint with a rate are kept: longer than its tasks can wait.
const PACE_KEPT: Duration = Duration::from_secs(16 * 86_400);

/// Slots at endpoints with a rate.
#[derive(Clone, Debug)]
pub struct SlotRows(pub(super) Table);

/// The key includes the rate: after a change, attempts do not wait for slots that were reserved at
/// the old rate.
fn pace_key(endpoint: &EndpointId, rate: u16) -> Key {
    Key::new(format!("pace#{endpoint}"), format!("pace#{rate}"))
}

/// The result of a reservation after other slots.
enum AfterOthers {
    Reserved(Timestamp),
    /// The next slot is out of reach.
    OutOfReach,
    /// All slots are in the past, or there were none.
    Past,
}

fn micros(at: Timestamp) -> i128 {
    i128::from(at.as_millis()) * 1000
}

/// The next free slot, as a pace row stores it.
fn free_at(row: Option<&Item>) -> Option<Timestamp> {
    let micros: i64 = row?.get("free_at")?.as_n().ok()?.parse().ok()?;
    Some(Timestamp::from_millis(micros.div_euclid(1000)))
}

impl SlotRows {
    /// Reserves slots at the given pace and returns the first, which is not before `now`. Reserves
    /// none when the first would be `out_of_reach` (a range of waits from now). One UpdateItem
    /// while attempts wait for slots, two otherwise.
    pub async fn reserve(
        &self,
        endpoint: &EndpointId,
        pace: Pace,
        out_of_reach: Range<Duration>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let key = pace_key(endpoint, pace.rate());
        let taken = pace.every() * u32::from(pace.slots());
        loop {
            match self
                .reserve_after_others(&key, taken, &out_of_reach, now)
                .await?
            {
                AfterOthers::Reserved(first) => return Ok(Some(first)),
                AfterOthers::OutOfReach => return Ok(None),
                AfterOthers::Past => {}
            }
            if self.reserve_from(&key, taken, now).await? == Written::Yes {
                return Ok(Some(now));
            }
        }
    }

    /// Reserves after the slots that are taken.
    async fn reserve_after_others(
        &self,
        key: &Key,
        taken: Duration,
        out_of_reach: &Range<Duration>,
        now: Timestamp,
    ) -> Result<AfterOthers, StoreError> {
        let update = self
            .update_pace(key, now)
            .update_expression("SET free_at = free_at + :taken, #ttl = :ttl")
            .condition_expression("free_at >= :now AND (free_at <= :near OR free_at >= :far)")
            .expression_attribute_values(":taken", n(taken.as_micros()))
            .expression_attribute_values(":near", n(micros(now.plus(out_of_reach.start))))
            .expression_attribute_values(":far", n(micros(now.plus(out_of_reach.end))))
            .return_values(ReturnValue::UpdatedOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.send().await {
            Ok(output) => {
                let first = free_at(output.attributes.as_ref());
                let first = first.ok_or(StoreError::Attribute("free_at"))?;
                Ok(AfterOthers::Reserved(first))
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    let is_ahead = free_at(refused.item()).is_some_and(|first| first >= now);
                    Ok(if is_ahead {
                        AfterOthers::OutOfReach
                    } else {
                        AfterOthers::Past
                    })
                }
                _ => Err(StoreError::aws("UpdateItem")(error)),
            },
        }
    }

    /// Reserves from now on; a conflict means that another dispatcher was faster.
    async fn reserve_from(
        &self,
        key: &Key,
        taken: Duration,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let next = micros(now) + taken.as_micros() as i128;
        let update = self
            .update_pace(key, now)
            .update_expression("SET free_at = :next, #ttl = :ttl")
            .condition_expression("attribute_not_exists(free_at) OR free_at < :now")
            .expression_attribute_values(":next", n(next));
        self.0.update_if(update).await
    }

    /// The next slot is stored in microseconds: those of a fast endpoint are less than one
    /// millisecond apart.
    fn update_pace(&self, key: &Key, now: Timestamp) -> UpdateItemFluentBuilder {
        let (_, expires_at) = ttl(now.plus(PACE_KEPT));
        self.0
            .update(key.clone())
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", expires_at)
            .expression_attribute_values(":now", n(micros(now)))
    }

    /// The next free slot at an endpoint with a rate; `None` when no slot was reserved for days.
    pub async fn next(
        &self,
        endpoint: &EndpointId,
        rate: u16,
    ) -> Result<Option<Timestamp>, StoreError> {
        let key = pace_key(endpoint, Pace::new(rate).rate());
        let item = self.0.get(key, Consistency::Eventual).await?;
        let Some(item) = item else {
            return Ok(None);
        };
        let first = free_at(Some(&item)).ok_or(StoreError::Attribute("free_at"))?;
        Ok(Some(first))
    }
}
