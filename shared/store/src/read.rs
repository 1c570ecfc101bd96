//! Reads that several tables make.

use aws_sdk_dynamodb::Client;

use crate::{
    Consistency, Page, Range, StoreError,
    item::{Item, Key, s},
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

/// One shard's part of a page: reads until the page is full or the shard ends.
pub(crate) async fn query_shard(
    client: &Client,
    table: &str,
    pk: String,
    range: Range,
    page: &Page,
    consistent: bool,
) -> Result<Vec<Item>, StoreError> {
    let range = page.narrow(range);
    let limit = page.query_limit();
    let mut pages = client
        .query()
        .table_name(table)
        .consistent_read(consistent)
        .scan_index_forward(page.ascending)
        .key_condition_expression("pk = :pk AND sk BETWEEN :low AND :high")
        .expression_attribute_values(":pk", s(pk))
        .expression_attribute_values(":low", s(range.low))
        .expression_attribute_values(":high", s(range.high))
        .into_paginator()
        .page_size(limit)
        .send();
    let mut items = Vec::new();
    while items.len() < page.limit + 1 {
        let Some(output) = pages.next().await else {
            break;
        };
        items.extend(
            output
                .map_err(StoreError::aws("Query"))?
                .items
                .unwrap_or_default(),
        );
    }
    Ok(items)
}
