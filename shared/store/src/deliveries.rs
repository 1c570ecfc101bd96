//! The deliveries table: one item per message × endpoint.
//!
//! | pk | sk | item |
//! |---|---|---|
//! | `{endpoint}#{shard}` | `{message}` | the delivery with its attempts |
//! | `{endpoint}#{shard}` | `resend#{message}` | its last resend, while it may be pending |
//!
//! A delivery without an item is pending: its first attempt is not recorded yet.

mod prefetch;

use std::{collections::HashMap, future::ready};

use aws_sdk_dynamodb::{Client, operation::put_item::builders::PutItemFluentBuilder};
use futures_util::future::try_join_all;
use posthorn_domain::{
    delivery::{Delivery, Resend, Status},
    id::{EndpointId, JobId, MessageId},
    key::DeliveryKey,
    timestamp::Timestamp,
};
use serde::Deserialize;

use crate::{
    Changed, Consistency, Page, Range, Slice, StoreError, Tries, Written,
    change::{Rows, change},
    dynamo::{Condition, Key, Part, Table, entity, s, ttl},
};

pub use prefetch::{Lookup, Prefetched};

/// Deliveries, and their resends: the deliveries table has no other concern.
#[derive(Clone, Debug)]
pub struct Deliveries(Table);

fn pk(endpoint: &EndpointId, shard: u16) -> String {
    format!("{endpoint}#{shard}")
}

fn delivery_key(delivery: DeliveryKey<'_>) -> Key {
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

impl Deliveries {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self(Table::new(client, name))
    }

    /// A delivery.
    pub async fn get(
        &self,
        delivery: DeliveryKey<'_>,
        consistency: Consistency,
    ) -> Result<Option<Delivery>, StoreError> {
        let key = delivery_key(delivery);
        let item = self.0.get(key, consistency).await?;
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
        let condition = match delivery.version {
            0 | 1 => Condition::New,
            version => Condition::Seen("v", u64::from(version - 1)),
        };
        self.0.put_if(item, condition).await
    }

    /// Changes a delivery that was read as `before`; `decide` returns what to store instead.
    pub async fn change(
        &self,
        tries: Tries,
        key: DeliveryKey<'_>,
        (before, expires_at): (Option<Delivery>, Timestamp),
        mut decide: impl FnMut(Option<&Delivery>) -> Option<Delivery>,
    ) -> Result<Changed<Delivery>, StoreError> {
        let decide = |before: Option<_>| ready(Ok(decide(before.as_ref())));
        change(tries, self, (key, expires_at), Some(before), decide).await
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
        let (own, done) = (resend.job.as_str(), done.unwrap_or(&resend.job).as_str());
        let replaces = |put: PutItemFluentBuilder| {
            put.condition_expression("attribute_not_exists(pk) OR j = :job OR j = :done")
                .expression_attribute_values(":job", s(own))
                .expression_attribute_values(":done", s(done))
        };
        Ok(match self.0.put_or_find(item, replaces).await? {
            None => Ok(()),
            Some(pending) => Err(entity(pending)?),
        })
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
        let items = self.0.get_many(keys, consistency).await?;
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
        let (pk, strong) = (pk(endpoint, shard), Consistency::Strong);
        let part = self.0.query_part(pk, range, page, strong).await?;
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
        let pk = pk(endpoint, shard);
        let mut statuses = HashMap::new();
        let take = |key, StatusOnly { status }: StatusOnly| {
            statuses.insert(key, status);
        };
        let is_all = self.0.read_all(pk, range, "sk, s", take).await?;
        Ok(is_all.then_some(statuses))
    }
}

/// With the time until which its row is kept.
type KeptKey<'a> = (DeliveryKey<'a>, Timestamp);

impl<'a> Rows<KeptKey<'a>> for Deliveries {
    type Row = Delivery;

    async fn read(&self, (key, _): KeptKey<'a>) -> Result<Option<Delivery>, StoreError> {
        self.get(key, Consistency::Strong).await
    }

    async fn write(
        &self,
        (key, expires_at): KeptKey<'a>,
        _: Option<&Delivery>,
        after: &Delivery,
    ) -> Result<Written, StoreError> {
        // The version of the one before it is in it.
        self.put(key, after, expires_at).await
    }
}

#[derive(Deserialize)]
struct StatusOnly {
    #[serde(rename = "s")]
    status: Status,
}
