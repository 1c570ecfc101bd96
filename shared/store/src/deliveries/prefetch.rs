//! What attempts begin with, for many tasks at once: endpoints and records, from two tables.

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

/// An endpoint, and a delivery to it.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The endpoint.
    pub endpoint: EndpointKey<'a>,
    /// The delivery; `None` leaves it out.
    pub delivery: Option<DeliveryKey<'a>>,
}

/// What was read, eventually consistent.
#[derive(Debug, Default)]
pub struct Prefetched {
    endpoints: HashMap<Key, Option<Endpoint>>,
    deliveries: HashMap<Key, Option<Delivery>>,
}

impl Prefetched {
    /// The endpoint, or that there is none; `None` when it was not read.
    pub fn endpoint(&self, lookup: Lookup<'_>) -> Option<Option<Endpoint>> {
        self.endpoints.get(&endpoint_key(lookup.endpoint)).cloned()
    }

    /// The delivery, or that it has no record; `None` when it was not read.
    pub fn delivery(&self, lookup: Lookup<'_>) -> Option<Option<Delivery>> {
        self.deliveries
            .get(&delivery_key(lookup.delivery?))
            .cloned()
    }
}

impl Deliveries {
    /// Deliveries with their endpoints: one BatchGetItem for up to 100 items. An endpoint that several look up is
    /// read once. What DynamoDB did not come to, and what cannot be read, is left out.
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
