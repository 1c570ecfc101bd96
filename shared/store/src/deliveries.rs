//! The deliveries table: one item per message × endpoint.
//!
//! | pk | sk | item |
//! |---|---|---|
//! | `{endpoint}#{shard}` | `{message}` | the delivery with its attempts |
//! | `{endpoint}#{shard}` | `resend#{message}` | its last resend, while it may be pending |
//!
//! A delivery without an item is pending: its first attempt is not recorded yet.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client, operation::put_item::PutItemError, types::ReturnValuesOnConditionCheckFailure,
};
use futures_util::future::try_join_all;
use posthorn_domain::{
    delivery::{Delivery, Resend, Status},
    id::{EndpointId, JobId, MessageId},
    key::DeliveryKey,
    timestamp::Timestamp,
};
use serde::Deserialize;

use crate::{
    Consistency, Page, Range, Slice, StoreError, Written,
    item::{Key, entity, n, s, ttl},
    page::Part,
    read::{MAX_COUNT_PAGES, get, get_many, query, query_part, sort_key},
};

/// The table that holds deliveries.
#[derive(Clone, Debug)]
pub struct DeliveriesTable {
    pub(crate) client: Client,
    pub(crate) name: String,
}

fn pk(endpoint: &EndpointId, shard: u16) -> String {
    format!("{endpoint}#{shard}")
}

pub(crate) fn delivery_key(delivery: DeliveryKey<'_>) -> Key {
    Key::new(
        pk(delivery.endpoint, delivery.shard()),
        delivery.message.as_str(),
    )
}

fn resend_key(delivery: DeliveryKey<'_>) -> Key {
    Key::new(
        pk(delivery.endpoint, delivery.shard()),
        format!("resend#{}", delivery.message),
    )
}

impl DeliveriesTable {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// A delivery.
    pub async fn get(
        &self,
        delivery: DeliveryKey<'_>,
        consistency: Consistency,
    ) -> Result<Option<Delivery>, StoreError> {
        let key = delivery_key(delivery);
        let item = get(&self.client, &self.name, key, consistency).await?;
        item.map(entity).transpose()
    }

    /// Replaces the previous version of a delivery; a conflict means that another dispatcher was
    /// faster.
    pub async fn put(
        &self,
        key: DeliveryKey<'_>,
        delivery: &Delivery,
        expires_at: Timestamp,
    ) -> Result<Written, StoreError> {
        let mut item = delivery_key(key).with(delivery)?;
        item.extend([ttl(expires_at)]);
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item));
        let put = match delivery.version {
            0 | 1 => put.condition_expression("attribute_not_exists(pk)"),
            version => put
                .condition_expression("v = :seen")
                .expression_attribute_values(":seen", n(version - 1)),
        };
        match put.send().await {
            Ok(_) => Ok(Written::Yes),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(Written::Conflict),
                _ => Err(StoreError::aws("PutItem")(error)),
            },
        }
    }

    /// Stores a resend unless another one may be pending; the inner `Err` is that one. `done` is a
    /// resend that is known to be complete. The same resend can be stored again.
    pub async fn put_resend(
        &self,
        delivery: DeliveryKey<'_>,
        resend: &Resend,
        done: Option<&JobId>,
    ) -> Result<Result<(), Resend>, StoreError> {
        let mut item = resend_key(delivery).with(resend)?;
        item.extend([ttl(resend.until)]);
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR j = :job OR j = :done")
            .expression_attribute_values(":job", s(resend.job.as_str()))
            .expression_attribute_values(":done", s(done.unwrap_or(&resend.job).as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(Ok(())),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Err(entity(failed.item().cloned().unwrap_or_default())?))
                }
                _ => Err(StoreError::aws("PutItem")(error)),
            },
        }
    }

    /// Deliveries by their keys; those without a record are left out. One BatchGetItem for every 100.
    pub async fn get_many<'a>(
        &self,
        deliveries: impl IntoIterator<Item = DeliveryKey<'a>>,
        consistency: Consistency,
    ) -> Result<HashMap<DeliveryKey<'a>, Delivery>, StoreError> {
        let wanted = deliveries.into_iter().map(|it| (delivery_key(it), it));
        let wanted: Vec<_> = wanted.collect();
        let keys = wanted.iter().map(|(key, _)| key.clone()).collect();
        let items = get_many(&self.client, &self.name, keys, consistency).await?;
        let wanted: HashMap<_, _> = wanted.into_iter().collect();
        let mut found = HashMap::new();
        for item in items {
            if let Some(delivery) = wanted.get(&Key::of(&item)?) {
                found.insert(*delivery, entity(item)?);
            }
        }
        Ok(found)
    }

    /// Deliveries of an endpoint by message id, which is by time. The page's `after` is a message's id.
    pub async fn list(
        &self,
        endpoint: &EndpointId,
        shards: u16,
        page: &Page,
    ) -> Result<Slice<Delivery>, StoreError> {
        let parts = (0..shards).map(|shard| self.list_shard(endpoint, shard, page));
        Ok(page.merge(try_join_all(parts).await?))
    }

    async fn list_shard(
        &self,
        endpoint: &EndpointId,
        shard: u16,
        page: &Page,
    ) -> Result<Part<Delivery>, StoreError> {
        let range = Range::prefix(MessageId::PREFIX);
        let pk = pk(endpoint, shard);
        let part = query_part(
            &self.client,
            &self.name,
            pk,
            range,
            page,
            Consistency::Strong,
        )
        .await?;
        let items = part
            .items
            .into_iter()
            .map(|(key, item)| Ok((key, entity(item)?)));
        Ok(Part {
            items: items.collect::<Result<_, StoreError>>()?,
            frontier: part.frontier,
        })
    }

    /// The statuses of an endpoint's deliveries in one shard, for a range of message ids. Reads the
    /// whole range; `None` when it has more than 50 pages of 1 MB.
    pub async fn statuses(
        &self,
        endpoint: &EndpointId,
        shard: u16,
        range: Range,
    ) -> Result<Option<HashMap<String, Status>>, StoreError> {
        if range.is_empty() {
            return Ok(Some(HashMap::new()));
        }
        let query = query(&self.client, &self.name, pk(endpoint, shard), range);
        let query = query.projection_expression("sk, s");
        let mut pages = query.into_paginator().send();
        let mut statuses = HashMap::new();
        let mut read = 0;
        while let Some(page) = pages.next().await {
            read += 1;
            if read > MAX_COUNT_PAGES {
                return Ok(None);
            }
            let page = page.map_err(StoreError::aws("Query"))?;
            for item in page.items.unwrap_or_default() {
                let key = sort_key(&item)?.to_owned();
                statuses.insert(key, entity::<StatusOnly>(item)?.status);
            }
        }
        Ok(Some(statuses))
    }
}

#[derive(Deserialize)]
struct StatusOnly {
    #[serde(rename = "s")]
    status: Status,
}
