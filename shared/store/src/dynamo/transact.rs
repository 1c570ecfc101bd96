//! Writes of several items: all or none.

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{ConditionCheck, Delete, Put, TransactWriteItem},
};

use super::{Item, Key, Table, Written, n};
use crate::StoreError;

/// How often a transaction is tried when it conflicts with another one.
const MAX_TRIES: u32 = 6;

/// The wait before a transaction is tried again; doubled every time.
const FIRST_WAIT: Duration = Duration::from_millis(25);

impl Table {
    /// Writes all or nothing. The condition of the first write is about a version, those of the
    /// others about uids. A transaction that conflicts with another one is retried here, because
    /// the SDK does not.
    pub(crate) async fn transact(
        &self,
        writes: Vec<TransactWriteItem>,
    ) -> Result<Written, StoreError> {
        let mut wait = FIRST_WAIT;
        for last in (0..MAX_TRIES).rev() {
            let request = self.client.transact_write_items();
            let result = request
                .set_transact_items(Some(writes.clone()))
                .send()
                .await;
            let Err(error) = result else {
                return Ok(Written::Yes);
            };
            match verdict(&error) {
                Some(written) => return Ok(written),
                None if last > 0 && met_another(&error) => tokio::time::sleep(wait).await,
                None => return Err(StoreError::aws("TransactWriteItems")(error)),
            }
            wait *= 2;
        }
        Ok(Written::Conflict)
    }

    /// Puts an item that must not exist yet.
    pub(crate) fn put_new(&self, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .build();
        Ok(TransactWriteItem::builder()
            .put(put.map_err(build_error)?)
            .build())
    }

    /// Replaces an item if its version is still the one that was read.
    pub(crate) fn put_over(
        &self,
        item: Item,
        attribute: &'static str,
        seen: impl ToString,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression("#a = :seen")
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":seen", n(seen))
            .build();
        Ok(TransactWriteItem::builder()
            .put(put.map_err(build_error)?)
            .build())
    }

    /// Deletes an item, whether it exists or not.
    pub(crate) fn delete(&self, key: Key) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.name)
            .set_key(Some(key.item()))
            .build();
        Ok(TransactWriteItem::builder()
            .delete(delete.map_err(build_error)?)
            .build())
    }

    /// Deletes an item if its version is still the one that was read.
    pub(crate) fn delete_seen(
        &self,
        key: Key,
        attribute: &'static str,
        seen: impl ToString,
    ) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.name)
            .set_key(Some(key.item()))
            .condition_expression("#a = :seen")
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":seen", n(seen))
            .build();
        Ok(TransactWriteItem::builder()
            .delete(delete.map_err(build_error)?)
            .build())
    }

    /// Lets the transaction succeed only if this item exists and is not being deleted.
    pub(crate) fn require(&self, key: Key) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .set_key(Some(key.item()))
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(deleted)")
            .build();
        Ok(TransactWriteItem::builder()
            .condition_check(check.map_err(build_error)?)
            .build())
    }
}

fn build_error(error: aws_sdk_dynamodb::error::BuildError) -> StoreError {
    StoreError::Aws {
        operation: "TransactWriteItems",
        reason: error.to_string(),
    }
}

/// Why each write of a cancelled transaction failed.
fn reasons<R>(error: &SdkError<TransactWriteItemsError, R>) -> Vec<&str> {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            let reasons = cancelled.cancellation_reasons().iter();
            reasons
                .map(|reason| reason.code().unwrap_or_default())
                .collect()
        }
        _ => Vec::new(),
    }
}

fn verdict<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<Written> {
    let failed = reasons(error)
        .iter()
        .position(|code| *code == "ConditionalCheckFailed")?;
    Some(if failed == 0 {
        Written::Conflict
    } else {
        Written::Taken
    })
}

fn met_another<R>(error: &SdkError<TransactWriteItemsError, R>) -> bool {
    let passing = [
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
    ];
    reasons(error).iter().any(|code| passing.contains(code))
}
