//! Reads what a batch of attempts needs first, from two tables at once: endpoints and delivery
//! records.

use std::collections::HashMap;

use posthorn_domain::{
    delivery::Delivery,
    endpoint::Endpoint,
    key::{DeliveryKey, EndpointKey},
};
use serde::de::DeserializeOwned;

use super::{Deliveries, delivery_key};
use crate::{
    Endpoints, StoreError,
    config::endpoint_key,
    dynamo::{Item, Key, entity, get_batch},
};

/// An endpoint to look up, and a delivery to it.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The endpoint.
    pub endpoint: EndpointKey<'a>,
    /// The delivery; `None` looks up only the endpoint.
    pub delivery: Option<DeliveryKey<'a>>,
}

/// What was read, eventually consistent.
#[derive(Debug, Default)]
pub struct Prefetched {
    endpoints: HashMap<Key, Option<Endpoint>>,
    deliveries: HashMap<Key, Option<Delivery>>,
}

impl Prefetched {
    /// The endpoint, `Some(None)` when it does not exist; `None` when it was not read.
    pub fn endpoint(&self, lookup: Lookup<'_>) -> Option<Option<Endpoint>> {
        self.endpoints.get(&endpoint_key(lookup.endpoint)).cloned()
    }

    /// The delivery, `Some(None)` when it has no record; `None` when it was not read.
    pub fn delivery(&self, lookup: Lookup<'_>) -> Option<Option<Delivery>> {
        self.deliveries
            .get(&delivery_key(lookup.delivery?))
            .cloned()
    }
}

impl Deliveries {
    /// Reads deliveries with their endpoints: one BatchGetItem per 100 items. An endpoint that
    /// several lookups share is read once. What DynamoDB did not process, and what is unreadable,
    /// is left out.
    pub async fn prefetch(
        &self,
        of: &Endpoints,
        lookups: &[Lookup<'_>],
    ) -> Result<Prefetched, StoreError> {
        let (configured, recorded) = (of.table_name(), self.0.name.as_str());
        let endpoints = lookups
            .iter()
            .map(|it| (configured, endpoint_key(it.endpoint)));
        let deliveries = lookups.iter().filter_map(|it| it.delivery);
        let deliveries = deliveries.map(|key| (recorded, delivery_key(key)));
        let read = get_batch(&self.0.client, endpoints.chain(deliveries)).await?;
        let mut prefetched = Prefetched::default();
        for ((table, key), item) in read {
            if table == configured {
                insert(&mut prefetched.endpoints, key, item);
            } else {
                insert(&mut prefetched.deliveries, key, item);
            }
        }
        Ok(prefetched)
    }
}

fn insert<T: DeserializeOwned>(to: &mut HashMap<Key, Option<T>>, key: Key, item: Option<Item>) {
    if let Ok(entity) = item.map(entity).transpose() {
        to.insert(key, entity);
    }
}
