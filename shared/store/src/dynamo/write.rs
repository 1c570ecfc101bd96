//! Writes of one item.

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        put_item::{PutItemError, builders::PutItemFluentBuilder},
        update_item::builders::UpdateItemFluentBuilder,
    },
    types::ReturnValuesOnConditionCheckFailure,
};

use super::{Item, Key, Table, n};
use crate::StoreError;

/// The result of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Yes,
    /// The item has changed since it was read, or what it belongs to is gone.
    Conflict,
    /// The uid belongs to another item.
    Taken,
}

/// What a write expects to find in the place of its item.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    /// Nothing.
    New,
    /// The item with this number in this attribute.
    Seen(&'static str, u64),
    /// Either of them.
    NewOrSeen(&'static str, u64),
}

impl Condition {
    fn of(self, put: PutItemFluentBuilder) -> PutItemFluentBuilder {
        const NEW: &str = "attribute_not_exists(pk)";
        match self {
            Self::New => put.condition_expression(NEW),
            Self::Seen(attribute, seen) => put
                .condition_expression(format!("{attribute} = :seen"))
                .expression_attribute_values(":seen", n(seen)),
            Self::NewOrSeen(attribute, seen) => put
                .condition_expression(format!("{NEW} OR {attribute} = :seen"))
                .expression_attribute_values(":seen", n(seen)),
        }
    }
}

impl Table {
    fn put_item(&self, item: Item) -> PutItemFluentBuilder {
        let put = self.client.put_item().table_name(&self.name);
        put.set_item(Some(item))
    }

    /// Puts an item, whatever is there.
    pub(crate) async fn put(&self, item: Item) -> Result<(), StoreError> {
        let put = self.put_item(item).send().await;
        put.map(|_| ()).map_err(StoreError::aws("PutItem"))
    }

    /// Puts an item where the condition holds: one write, half the price of a transaction.
    pub(crate) async fn put_if(
        &self,
        item: Item,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        let put = condition.of(self.put_item(item));
        written("PutItem", put.send().await)
    }

    /// Puts an item unless another one is in its place: then returns that one. `condition` says
    /// which items may be replaced.
    pub(crate) async fn put_or_find(
        &self,
        item: Item,
        condition: impl FnOnce(PutItemFluentBuilder) -> PutItemFluentBuilder,
    ) -> Result<Option<Item>, StoreError> {
        let put = condition(self.put_item(item))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Some(failed.item().cloned().unwrap_or_default()))
                }
                _ => Err(StoreError::aws("PutItem")(error)),
            },
        }
    }

    /// An update of an item, still to be sent.
    pub(crate) fn update(&self, key: Key) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(&self.name);
        update.set_key(Some(key.item()))
    }

    /// Sends an update that has a condition.
    pub(crate) async fn update_if(
        &self,
        update: UpdateItemFluentBuilder,
    ) -> Result<Written, StoreError> {
        written("UpdateItem", update.send().await)
    }

    /// Removes an item, whether it is there or not.
    pub(crate) async fn remove(&self, key: Key) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.name);
        let delete = delete.set_key(Some(key.item())).send().await;
        delete.map(|_| ()).map_err(StoreError::aws("DeleteItem"))
    }
}

/// How a conditional write ended. A transaction at the same time is a conflict, too.
fn written<T, E, R>(
    operation: &'static str,
    result: Result<T, SdkError<E, R>>,
) -> Result<Written, StoreError>
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + 'static,
{
    match result {
        Ok(_) => Ok(Written::Yes),
        Err(error) => match error.code() {
            Some("ConditionalCheckFailedException" | "TransactionConflictException") => {
                Ok(Written::Conflict)
            }
            _ => Err(StoreError::aws(operation)(error)),
        },
    }
}
