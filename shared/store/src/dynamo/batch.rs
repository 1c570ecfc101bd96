//! Reads of many items at once, by their keys.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::batch_get_item::{BatchGetItemOutput, builders::BatchGetItemFluentBuilder},
    types::KeysAndAttributes,
};

use super::{Item, Key, Table};
use crate::{Consistency, StoreError};

const OPERATION: &str = "BatchGetItem";

/// The most keys of one BatchGetItem (Amazon DynamoDB: BatchGetItem).
const MAX_BATCH: usize = 100;

/// How often keys are requested again when DynamoDB processed none of them, and the first wait,
/// which is doubled every time.
const MAX_ROUNDS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(25);

impl Table {
    /// Items by key; missing ones are left out. One BatchGetItem for every 100.
    pub(crate) async fn get_many(
        &self,
        keys: Vec<Key>,
        consistency: Consistency,
    ) -> Result<Vec<Item>, StoreError> {
        let mut keys: Vec<Item> = keys.into_iter().map(Key::item).collect();
        let mut found = Vec::new();
        let mut rounds = 0;
        while !keys.is_empty() {
            let batch = keys.split_off(keys.len().saturating_sub(MAX_BATCH));
            let (items, unprocessed) = self.get_some(batch, consistency).await?;
            // A batch of more than 16 MB arrives in parts; no item at all means throttling.
            let is_throttled = !unprocessed.is_empty() && items.is_empty();
            found.extend(items);
            rounds = if is_throttled { rounds + 1 } else { 0 };
            if rounds > MAX_ROUNDS {
                return Err(StoreError::Aws {
                    operation: OPERATION,
                    reason: format!("throttled {MAX_ROUNDS} times"),
                });
            }
            if is_throttled {
                tokio::time::sleep(FIRST_WAIT * 2_u32.pow(rounds)).await;
            }
            keys.extend(unprocessed);
        }
        Ok(found)
    }

    /// The items of up to 100 keys, and the keys that DynamoDB did not process.
    async fn get_some(
        &self,
        keys: Vec<Item>,
        consistency: Consistency,
    ) -> Result<(Vec<Item>, Vec<Item>), StoreError> {
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(consistency.is_strong());
        let keys = keys.build().map_err(build_error)?;
        let request = self.client.batch_get_item();
        let output = send(request.request_items(&self.name, keys)).await?;
        let tables = output.responses.unwrap_or_default();
        let unprocessed = output.unprocessed_keys.unwrap_or_default();
        Ok((
            tables.into_values().flatten().collect(),
            unprocessed.into_values().flat_map(|it| it.keys).collect(),
        ))
    }
}

/// An item's table and key.
pub(crate) type Address<'a> = (&'a str, Key);

/// Items of any tables, eventually consistent; `None` for one that does not exist. One BatchGetItem
/// for every 100. Items that DynamoDB did not
/// process are left out.
pub(crate) async fn get_batch<'a>(
    client: &Client,
    wanted: impl Iterator<Item = Address<'a>>,
) -> Result<HashMap<Address<'a>, Option<Item>>, StoreError> {
    let mut read: HashMap<_, _> = wanted.map(|address| (address, None)).collect();
    let addresses: Vec<_> = read.keys().cloned().collect();
    for batch in addresses.chunks(MAX_BATCH) {
        let output = send(request(client, batch)?).await?;
        let unprocessed = output.unprocessed_keys.unwrap_or_default();
        read.retain(|(table, key), _| {
            let left = unprocessed.get(*table).map(|left| &left.keys);
            !left.is_some_and(|left| left.iter().any(|it| key.is_of(it)))
        });
        for (table, items) in output.responses.unwrap_or_default() {
            for item in items {
                let found = batch
                    .iter()
                    .find(|(name, key)| *name == table && key.is_of(&item));
                if let Some(address) = found {
                    read.insert(address.clone(), Some(item));
                }
            }
        }
    }
    Ok(read)
}

fn request(
    client: &Client,
    addresses: &[Address<'_>],
) -> Result<BatchGetItemFluentBuilder, StoreError> {
    let mut keys: HashMap<&str, Vec<Item>> = HashMap::new();
    for (table, key) in addresses {
        keys.entry(table).or_default().push(key.clone().item());
    }
    let mut request = client.batch_get_item();
    for (table, keys) in keys {
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).build();
        request = request.request_items(table, keys.map_err(build_error)?);
    }
    Ok(request)
}

async fn send(request: BatchGetItemFluentBuilder) -> Result<BatchGetItemOutput, StoreError> {
    request.send().await.map_err(StoreError::aws(OPERATION))
}

fn build_error(error: BuildError) -> StoreError {
    StoreError::Aws {
        operation: OPERATION,
        reason: error.to_string(),
    }
}
