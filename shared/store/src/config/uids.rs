//! Which id a uid stands for: a row for each uid, so that no two things have the same one.

use aws_sdk_dynamodb::types::TransactWriteItem;

use crate::{
    StoreError,
    dynamo::{Item, Key, Table, s},
};

/// The writes that free the old uid and take the new one.
pub(super) fn move_uid(
    table: &Table,
    before: Option<Key>,
    after: Option<Key>,
    id: &str,
) -> Result<Vec<TransactWriteItem>, StoreError> {
    let given_up = before.map(|key| table.delete(key));
    let taken = after.map(|key| table.put_new(pointer(key, id)));
    given_up.into_iter().chain(taken).collect()
}

/// An item that maps a uid to an id.
pub(super) fn pointer(key: Key, id: &str) -> Item {
    let mut item = key.item();
    item.insert("id".to_owned(), s(id));
    item
}

/// The id that a pointer item holds.
pub(super) fn pointed_id<I: TryFrom<String>>(item: &Item) -> Result<I, StoreError> {
    let id = item.get("id").and_then(|id| id.as_s().ok()).cloned();
    id.and_then(|id| id.try_into().ok())
        .ok_or(StoreError::Attribute("id"))
}
