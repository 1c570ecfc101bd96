//! Guards: the rows through which a repeated `eventId` or `idempotency-key` finds its first
//! message.
//!
//! A guard is reserved before the message is stored and finished after its tasks are queued. A
//! request that is interrupted in between leaves it unfinished; when it is repeated, it continues
//! with the reserved message id instead of creating a second message.

use aws_sdk_dynamodb::{
    operation::put_item::builders::PutItemFluentBuilder, types::AttributeValue,
};
use posthorn_domain::{
    id::{ApplicationId, MessageId},
    name::EventId,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    Consistency, StoreError,
    dynamo::{Item, Key, Table, entity, n, s, ttl},
};

/// The guards of an application.
#[derive(Clone, Debug)]
pub struct Guards(pub(super) Table);

/// What a guard protects from being sent twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The caller's id of the event; the guard lasts as long as the message.
    EventId(EventId),
    /// The `idempotency-key` header, as the hex of its hash: it may be any text.
    IdempotencyKey(String),
}

/// What a guard stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The message that the request created, or was about to create.
    #[serde(rename = "m")]
    pub message: MessageId,
    /// When the message was created.
    #[serde(rename = "t")]
    pub created_at: Timestamp,
    /// A hash of the request, to tell a repeated request from a different one.
    #[serde(rename = "h")]
    pub request_hash: String,
    /// Whether all tasks were queued.
    #[serde(rename = "o")]
    pub finished: bool,
    /// Whether the request is known to have failed, so that the next one need not wait for it.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    pub abandoned: bool,
}

fn guard_key(application: &ApplicationId, guard: &Guard) -> Key {
    let pk = match guard {
        Guard::EventId(id) => format!("{application}#event#{id}"),
        Guard::IdempotencyKey(hash) => format!("{application}#key#{hash}"),
    };
    Key::new(pk, "guard")
}

impl Guards {
    /// The id of the message with this `eventId`.
    pub async fn id_by_event(
        &self,
        application: &ApplicationId,
        event: &EventId,
    ) -> Result<Option<MessageId>, StoreError> {
        let key = guard_key(application, &Guard::EventId(event.clone()));
        let item = self.0.get(key, Consistency::Strong).await?;
        let reservation: Option<Reservation> = item.map(entity).transpose()?;
        Ok(reservation.map(|reservation| reservation.message))
    }

    /// Reserves a guard until it expires. Returns the reservation of an earlier request, if there
    /// is one.
    pub async fn reserve(
        &self,
        application: &ApplicationId,
        guard: &Guard,
        reservation: &Reservation,
        expires_at: Timestamp,
    ) -> Result<Option<Reservation>, StoreError> {
        let item = item(application, guard, reservation, expires_at)?;
        // TTL removes rows late, so an expired guard may still be there. A retry by the SDK, and a
        // record that is received again before it is done, may take their own reservation.
        let replaces = |put: PutItemFluentBuilder| {
            put.condition_expression(
                "attribute_not_exists(pk) OR #ttl <= :now OR (m = :m AND o = :open)",
            )
            .expression_attribute_values(":open", AttributeValue::Bool(false))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", n(reservation.created_at.as_seconds()))
            .expression_attribute_values(":m", s(reservation.message.as_str()))
        };
        let existing = self.0.put_or_find(item, replaces).await?;
        existing.map(entity).transpose()
    }

    /// Stores how a guard's request ended.
    pub async fn settle(
        &self,
        application: &ApplicationId,
        guard: &Guard,
        reservation: &Reservation,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let item = item(application, guard, reservation, expires_at)?;
        self.0.put(item).await
    }
}

fn item(
    application: &ApplicationId,
    guard: &Guard,
    reservation: &Reservation,
    expires_at: Timestamp,
) -> Result<Item, StoreError> {
    let mut item = guard_key(application, guard).with(reservation)?;
    item.extend([ttl(expires_at)]);
    Ok(item)
}
