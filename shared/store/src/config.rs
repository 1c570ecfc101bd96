//! The config table: applications, endpoints and event types.
//!
//! | pk | sk | item |
//! |---|---|---|
//! | `{org}#{app}` | `app` | the application |
//! | `{org}#{app}` | `ep#{endpoint}` | an endpoint |
//! | `{org}#{app}` | `epuid#{uid}` | the id of the endpoint with that uid |
//! | `{org}#apps` | `{app}` | a copy of the application, for lists |
//! | `{org}#appuid` | `{uid}` | the id of the application with that uid |
//! | `{org}#types` | `type#{name}` | an event type |
//! | `{org}#jobs` | `{job}` | a job over many messages; TTL |
//! | `{org}#sessions` | `{token}` | a session of the portal that was ended; TTL |
//! | `{org}#sessions#{app}` | `all`, `tag#{tag}` | the time up to which all sessions of an application, or of a tag, are ended; TTL |
//! | `tokens` | `trust` | the public keys that verify tokens, and the tokens that are revoked |
//! | `keys` | `{key}` | a data key, encrypted by KMS |
//! | `{org}#key#{hash}` | `key` | the answer to a request with this `idempotency-key`; TTL |

use aws_sdk_dynamodb::{Client, operation::query::builders::QueryFluentBuilder};
use posthorn_domain::key::{AppKey, EndpointKey};
use serde::de::DeserializeOwned;

use crate::{
    Consistency, Page, Range, Slice, StoreError,
    item::{Item, Key, entity},
    read::{get, query, query_part},
};

/// The table that holds what customers configure.
#[derive(Clone, Debug)]
pub struct ConfigTable {
    pub(crate) client: Client,
    pub(crate) name: String,
}

/// The partition of an application and its endpoints.
pub(crate) fn application_pk(app: AppKey<'_>) -> String {
    format!("{}#{}", app.organization, app.application)
}

/// The key of an endpoint's item.
pub(crate) fn endpoint_key(endpoint: EndpointKey<'_>) -> Key {
    Key::new(application_pk(endpoint.app), format!("ep#{}", endpoint.id))
}

impl ConfigTable {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    pub(crate) async fn get(
        &self,
        key: Key,
        consistency: Consistency,
    ) -> Result<Option<Item>, StoreError> {
        get(&self.client, &self.name, key, consistency).await
    }

    pub(crate) fn query(&self, pk: String, range: Range) -> QueryFluentBuilder {
        query(&self.client, &self.name, pk, range)
    }

    /// A slice of one partition's list.
    pub(crate) async fn slice<T: DeserializeOwned>(
        &self,
        pk: String,
        range: Range,
        page: &Page,
    ) -> Result<Slice<T>, StoreError> {
        let part = query_part(
            &self.client,
            &self.name,
            pk,
            range,
            page,
            Consistency::Strong,
        )
        .await?;
        let slice = page.merge(vec![part]);
        let items = slice.items.into_iter();
        Ok(Slice {
            items: items
                .map(|(key, item)| Ok((key, entity(item)?)))
                .collect::<Result<_, StoreError>>()?,
            next: slice.next,
        })
    }

    pub(crate) async fn put(&self, item: Item) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.name);
        let put = put.set_item(Some(item)).send().await;
        put.map(|_| ()).map_err(StoreError::aws("PutItem"))
    }
}
