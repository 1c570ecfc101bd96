//! The deliveries table: one item per message × endpoint.
//!
//! | pk | sk | item |
//! |---|---|---|
//! | `{endpoint}#{shard}` | `{message}` | the delivery with its attempts |
//!
//! A delivery that has no item yet is pending.

use aws_sdk_dynamodb::{Client, operation::put_item::PutItemError};
use futures_util::future::try_join_all;
use posthorn_domain::{
    delivery::Delivery,
    id::{EndpointId, MessageId},
    timestamp::Timestamp,
};

use crate::{
    Consistency, Page, Range, StoreError, Written,
    item::{Item, Key, entity, n, ttl},
    read::{get, query_shard},
};

/// The table that holds deliveries.
#[derive(Clone, Debug)]
pub struct DeliveriesTable {
    client: Client,
    name: String,
}

fn pk(endpoint: &EndpointId, shard: u16) -> String {
    format!("{endpoint}#{shard}")
}

impl DeliveriesTable {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// A delivery; `shard` is the message's ([`posthorn_domain::shard::shard_of`]).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(
        &self,
        endpoint: &EndpointId,
        message: &MessageId,
        shard: u16,
        consistency: Consistency,
    ) -> Result<Option<Delivery>, StoreError> {
        let key = Key::new(pk(endpoint, shard), message.as_str());
        let item = get(&self.client, &self.name, key, consistency).await?;
        item.map(entity).transpose()
    }

    /// Stores a delivery over the version before it; a conflict means that another dispatcher was
    /// faster.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put(
        &self,
        endpoint: &EndpointId,
        message: &MessageId,
        shard: u16,
        delivery: &Delivery,
        expires_at: Timestamp,
    ) -> Result<Written, StoreError> {
        let mut item = Key::new(pk(endpoint, shard), message.as_str()).with(delivery)?;
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

    /// Deliveries of an endpoint by message id, which is by time. The page's `after` is a message's id.
    ///
    /// Reads at most `limit + 1` deliveries of each shard.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &self,
        endpoint: &EndpointId,
        shards: u16,
        page: &Page,
    ) -> Result<Vec<(MessageId, Delivery)>, StoreError> {
        let pages =
            try_join_all((0..shards).map(|shard| self.list_shard(endpoint, shard, page))).await?;
        Ok(page.merge(pages))
    }

    async fn list_shard(
        &self,
        endpoint: &EndpointId,
        shard: u16,
        page: &Page,
    ) -> Result<Vec<(String, (MessageId, Delivery))>, StoreError> {
        let range = Range {
            low: "msg_".to_owned(),
            high: "msg_~".to_owned(),
        };
        let items = query_shard(
            &self.client,
            &self.name,
            pk(endpoint, shard),
            range,
            page,
            true,
        )
        .await?;
        items.into_iter().map(with_message).collect()
    }
}

fn with_message(item: Item) -> Result<(String, (MessageId, Delivery)), StoreError> {
    let id = item
        .get("sk")
        .and_then(|sk| sk.as_s().ok())
        .and_then(|sk| sk.parse::<MessageId>().ok());
    let id = id.ok_or(StoreError::Attribute("sk"))?;
    Ok((id.to_string(), (id, entity(item)?)))
}
