//! What attempts begin with, for many tasks at once: endpoints and records, from two tables.

use std::collections::HashMap;

use posthorn_domain::{
    delivery::Delivery,
    endpoint::Endpoint,
    key::{DeliveryKey, EndpointKey},
};
use serde::de::DeserializeOwned;

use crate::{
    ConfigTable, DeliveriesTable, StoreError,
    config::endpoint_key,
    deliveries::delivery_key,
    item::{Item, Key, entity},
    read::get_batch,
};

/// An endpoint, and a delivery to it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The endpoint.
    pub endpoint: EndpointKey<'a>,
    /// The delivery; `None` leaves it out.
    pub delivery: Option<DeliveryKey<'a>>,
}

/// What was read, eventually consistent.
#[derive(Debug, Default)]
pub struct Gathered {
    endpoints: HashMap<Key, Option<Endpoint>>,
    deliveries: HashMap<Key, Option<Delivery>>,
}

impl Gathered {
    /// The endpoint, or that there is none; `None` when it was not read.
    pub fn endpoint(&self, wanted: Wanted<'_>) -> Option<Option<Endpoint>> {
        self.endpoints.get(&endpoint_key(wanted.endpoint)).cloned()
    }

    /// The delivery, or that it has no record; `None` when it was not read.
    pub fn delivery(&self, wanted: Wanted<'_>) -> Option<Option<Delivery>> {
        self.deliveries
            .get(&delivery_key(wanted.delivery?))
            .cloned()
    }
}

impl DeliveriesTable {
    /// Deliveries with their endpoints: one BatchGetItem for up to 100 items. An endpoint that several want is
    /// read once. What DynamoDB did not come to, and what cannot be read, is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn gather(
        &self,
        config: &ConfigTable,
        wanted: &[Wanted<'_>],
    ) -> Result<Gathered, StoreError> {
        let endpoints = wanted
            .iter()
            .map(|it| (config.name.as_str(), endpoint_key(it.endpoint)));
        let deliveries = wanted.iter().filter_map(|it| it.delivery);
        let deliveries = deliveries.map(|key| (self.name.as_str(), delivery_key(key)));
        let read = get_batch(&self.client, endpoints.chain(deliveries)).await?;
        let mut gathered = Gathered::default();
        for ((table, key), item) in read {
            if table == config.name {
                insert(&mut gathered.endpoints, key, item);
            } else {
                insert(&mut gathered.deliveries, key, item);
            }
        }
        Ok(gathered)
    }
}

fn insert<T: DeserializeOwned>(to: &mut HashMap<Key, Option<T>>, key: Key, item: Option<Item>) {
    if let Ok(entity) = item.map(entity).transpose() {
        to.insert(key, entity);
    }
}
