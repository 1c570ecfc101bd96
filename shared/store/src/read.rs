//! Reads that several tables share.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client, operation::query::builders::QueryFluentBuilder, types::KeysAndAttributes,
};

use crate::{
    Consistency, Page, Range, StoreError,
    item::{Item, Key, s},
    page::Part,
};

/// One item.
pub(crate) async fn get(
    client: &Client,
    table: &str,
    key: Key,
    consistency: Consistency,
) -> Result<Option<Item>, StoreError> {
    let output = client
        .get_item()
        .table_name(table)
        .set_key(Some(key.item()))
        .consistent_read(consistency.is_strong())
        .send()
        .await
        .map_err(StoreError::aws("GetItem"))?;
    Ok(output.item)
}

/// One shard's part of a page: one Query.
pub(crate) async fn query_part(
    client: &Client,
    table: &str,
    pk: String,
    range: Range,
    page: &Page,
    consistency: Consistency,
) -> Result<Part<Item>, StoreError> {
    let range = page.narrow(range);
    if range.is_empty() {
        // DynamoDB refuses a lower bound above the upper one.
        return Ok(Part {
            items: Vec::new(),
            frontier: None,
        });
    }
    let output = query(client, table, pk, range)
        .consistent_read(consistency.is_strong())
        .scan_index_forward(page.ascending)
        .limit(page.query_limit())
        .send()
        .await
        .map_err(StoreError::aws("Query"))?;
    let mut items = Vec::new();
    for item in output.items.unwrap_or_default() {
        items.push((sort_key(&item)?.to_owned(), item));
    }
    let has_more = output.last_evaluated_key.is_some();
    let frontier = items.last().map(|(key, _)| key.clone());
    items.retain(|(key, _)| page.admits(key));
    Ok(Part {
        frontier: frontier.filter(|_| has_more),
        items,
    })
}

/// Items of one partition between two sort keys. Strongly consistent, so that a list shows a write
/// made just before it.
pub(crate) fn query(client: &Client, table: &str, pk: String, range: Range) -> QueryFluentBuilder {
    client
        .query()
        .table_name(table)
        .consistent_read(true)
        .key_condition_expression("pk = :pk AND sk BETWEEN :low AND :high")
        .expression_attribute_values(":pk", s(pk))
        .expression_attribute_values(":low", s(range.low))
        .expression_attribute_values(":high", s(range.high))
}

/// The most pages of 1 MB that are read per shard to count something.
pub(crate) const MAX_COUNT_PAGES: usize = 50;

/// The most keys of one BatchGetItem (Amazon DynamoDB: BatchGetItem).
const MAX_BATCH: usize = 100;

/// How often keys are requested again when DynamoDB processed none of them, and the first wait,
/// which is doubled every time.
const MAX_ROUNDS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(25);

/// Items by key; missing ones are left out.
pub(crate) async fn get_many(
    client: &Client,
    table: &str,
    keys: Vec<Key>,
    consistency: Consistency,
) -> Result<Vec<Item>, StoreError> {
    let mut keys: Vec<Item> = keys.into_iter().map(Key::item).collect();
    let mut found = Vec::new();
    let mut rounds = 0;
    while !keys.is_empty() {
        let batch = keys.split_off(keys.len().saturating_sub(MAX_BATCH));
        let request = KeysAndAttributes::builder()
            .set_keys(Some(batch))
            .consistent_read(consistency.is_strong())
            .build()
            .map_err(|error| StoreError::Aws {
                operation: "BatchGetItem",
                reason: error.to_string(),
            })?;
        let output = client
            .batch_get_item()
            .request_items(table, request)
            .send()
            .await;
        let output = output.map_err(StoreError::aws("BatchGetItem"))?;
        let tables = output.responses.unwrap_or_default();
        let processed = found.len();
        found.extend(tables.into_values().flatten());
        let unprocessed = output.unprocessed_keys.unwrap_or_default();
        let unprocessed: Vec<_> = unprocessed
            .into_values()
            .flat_map(|keys| keys.keys)
            .collect();
        // A batch of more than 16 MB arrives in parts; no item at all means throttling.
        let is_throttled = !unprocessed.is_empty() && found.len() == processed;
        rounds = if is_throttled { rounds + 1 } else { 0 };
        if rounds > MAX_ROUNDS {
            return Err(StoreError::Aws {
                operation: "BatchGetItem",
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

/// An item's table and key.
pub(crate) type Address<'a> = (&'a str, Key);

/// Items of any tables, eventually consistent; `None` for one that does not exist. One BatchGetItem
/// per 100. Items that DynamoDB did not process are left out.
pub(crate) async fn get_batch<'a>(
    client: &Client,
    wanted: impl Iterator<Item = Address<'a>>,
) -> Result<HashMap<Address<'a>, Option<Item>>, StoreError> {
    let mut read: HashMap<_, _> = wanted.map(|address| (address, None)).collect();
    let addresses: Vec<_> = read.keys().cloned().collect();
    for batch in addresses.chunks(MAX_BATCH) {
        let mut keys: HashMap<&str, Vec<Item>> = HashMap::new();
        for (table, key) in batch {
            keys.entry(table).or_default().push(key.clone().item());
        }
        let mut request = client.batch_get_item();
        for (table, keys) in keys {
            let keys = KeysAndAttributes::builder().set_keys(Some(keys)).build();
            request = request.request_items(
                table,
                keys.map_err(|error| StoreError::Aws {
                    operation: "BatchGetItem",
                    reason: error.to_string(),
                })?,
            );
        }
        let output = request.send().await;
        let output = output.map_err(StoreError::aws("BatchGetItem"))?;
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

/// An item's sort key.
pub(crate) fn sort_key(item: &Item) -> Result<&str, StoreError> {
    let sk = item.get("sk").and_then(|sk| sk.as_s().ok());
    sk.map(String::as_str).ok_or(StoreError::Attribute("sk"))
}
