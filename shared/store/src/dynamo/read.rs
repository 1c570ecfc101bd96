//! Reads of one item, of a page of a list, and of all of a range.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use serde::de::DeserializeOwned;

use super::{Item, Key, Page, Part, Range, Slice, Table, entity, s};
use crate::{Consistency, StoreError};

/// The most pages of 1 MB that are read per shard to count something.
const MAX_COUNT_PAGES: usize = 50;

impl Table {
    /// One item.
    pub(crate) async fn get(
        &self,
        key: Key,
        consistency: Consistency,
    ) -> Result<Option<Item>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key.item()))
            .consistent_read(consistency.is_strong())
            .send()
            .await
            .map_err(StoreError::aws("GetItem"))?;
        Ok(output.item)
    }

    /// Items of one partition between two sort keys. Strongly consistent, so that a list shows a write
    /// made just before it.
    pub(crate) fn query(&self, pk: String, range: Range) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND sk BETWEEN :low AND :high")
            .expression_attribute_values(":pk", s(pk))
            .expression_attribute_values(":low", s(range.low))
            .expression_attribute_values(":high", s(range.high))
    }

    /// One shard's part of a page: one Query.
    pub(crate) async fn query_part(
        &self,
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
        let output = self
            .query(pk, range)
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

    /// A slice of one partition's list, strongly consistent.
    pub(crate) async fn slice<T: DeserializeOwned>(
        &self,
        pk: String,
        range: Range,
        page: &Page,
    ) -> Result<Slice<T>, StoreError> {
        let strong = Consistency::Strong;
        let slice = page.merge(vec![self.query_part(pk, range, page, strong).await?]);
        let items = slice.items.into_iter();
        Ok(Slice {
            items: items
                .map(|(key, item)| Ok((key, entity(item)?)))
                .collect::<Result<_, StoreError>>()?,
            next: slice.next,
        })
    }

    /// Takes some attributes of every item of a range, with its sort key; `false` when the range has
    /// more than 50 pages of 1 MB.
    pub(crate) async fn read_all<T: DeserializeOwned>(
        &self,
        pk: String,
        range: Range,
        attributes: &str,
        mut take: impl FnMut(String, T),
    ) -> Result<bool, StoreError> {
        if range.is_empty() {
            return Ok(true);
        }
        let query = self.query(pk, range).projection_expression(attributes);
        let mut pages = query.into_paginator().send();
        let mut read = 0;
        while let Some(page) = pages.next().await {
            read += 1;
            if read > MAX_COUNT_PAGES {
                return Ok(false);
            }
            let page = page.map_err(StoreError::aws("Query"))?;
            for item in page.items.unwrap_or_default() {
                let key = sort_key(&item)?.to_owned();
                take(key, entity(item)?);
            }
        }
        Ok(true)
    }
}

/// An item's sort key.
pub(crate) fn sort_key(item: &Item) -> Result<&str, StoreError> {
    let sk = item.get("sk").and_then(|sk| sk.as_s().ok());
    sk.map(String::as_str).ok_or(StoreError::Attribute("sk"))
}
