//! The config table: applications, endpoints and event types.
//!
//! | pk | sk | item |
//! |---|---|---|
//! | `{org}#{app}` | `app` | the application |
//! | `{org}#{app}` | `ep#{endpoint}` | an endpoint |
//! | `{org}#{app}` | `epuid#{uid}` | which endpoint has that uid |
//! | `{org}#apps` | `{app}` | a copy of the application, for lists |
//! | `{org}#appuid` | `{uid}` | which application has that uid |
//! | `{org}#types` | `type#{name}` | an event type |
//! | `{org}#jobs` | `{job}` | a job over many messages; TTL |
//! | `{org}#sessions` | `{session}` | a session of the portal that was ended; TTL |
//! | `{org}#key#{hash}` | `key` | what a request with this `idempotency-key` was answered; TTL |

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{
        query::builders::QueryFluentBuilder, transact_write_items::TransactWriteItemsError,
    },
    types::{ConditionCheck, Delete, Put, TransactWriteItem},
};
use posthorn_domain::id::{ApplicationId, OrganizationId};
use serde::de::DeserializeOwned;

use crate::{
    Consistency, Page, Range, Slice, StoreError,
    item::{Item, Key, entity, n},
    read::{get, query, query_part},
};

/// The table that holds what customers configure.
#[derive(Clone, Debug)]
pub struct ConfigTable {
    pub(crate) client: Client,
    pub(crate) name: String,
}

/// How a conditional write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Yes,
    /// The condition does not hold: the id or uid is taken, or the item changed since it was read.
    Conflict,
}

pub(crate) fn application_pk(organization: &OrganizationId, application: &ApplicationId) -> String {
    format!("{organization}#{application}")
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
        let part = query_part(&self.client, &self.name, pk, range, page).await?;
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

    /// Writes all or nothing.
    pub(crate) async fn transact(
        &self,
        writes: Vec<TransactWriteItem>,
    ) -> Result<Written, StoreError> {
        let result = self
            .client
            .transact_write_items()
            .set_transact_items(Some(writes))
            .send()
            .await;
        match result {
            Ok(_) => Ok(Written::Yes),
            Err(error) if is_condition_failure(&error) => Ok(Written::Conflict),
            Err(error) => Err(StoreError::aws("TransactWriteItems")(error)),
        }
    }

    /// Puts an item that must not exist yet.
    pub(crate) fn put_new(&self, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .build();
        Ok(TransactWriteItem::builder()
            .put(put.map_err(build_error)?)
            .build())
    }

    /// Puts an item over the version that was read (attribute `revision` or `updated_at`).
    pub(crate) fn put_over(
        &self,
        item: Item,
        attribute: &'static str,
        seen: impl ToString,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression("#a = :seen")
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":seen", n(seen))
            .build();
        Ok(TransactWriteItem::builder()
            .put(put.map_err(build_error)?)
            .build())
    }

    pub(crate) fn delete(&self, key: Key) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.name)
            .set_key(Some(key.item()))
            .build();
        Ok(TransactWriteItem::builder()
            .delete(delete.map_err(build_error)?)
            .build())
    }

    pub(crate) fn require(&self, key: Key) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .set_key(Some(key.item()))
            .condition_expression("attribute_exists(pk)")
            .build();
        Ok(TransactWriteItem::builder()
            .condition_check(check.map_err(build_error)?)
            .build())
    }
}

fn build_error(error: aws_sdk_dynamodb::error::BuildError) -> StoreError {
    StoreError::Aws {
        operation: "TransactWriteItems",
        reason: error.to_string(),
    }
}

fn is_condition_failure<R>(error: &SdkError<TransactWriteItemsError, R>) -> bool {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        error.as_service_error()
    else {
        return false;
    };
    let failed = |code: Option<&str>| code == Some("ConditionalCheckFailed");
    cancelled
        .cancellation_reasons()
        .iter()
        .any(|reason| failed(reason.code()))
}
