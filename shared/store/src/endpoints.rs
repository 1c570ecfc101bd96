//! Endpoints in the config table.

use aws_sdk_dynamodb::{operation::put_item::PutItemError, types::Select};
use posthorn_domain::{
    endpoint::Endpoint,
    id::EndpointId,
    key::{AppKey, EndpointKey},
    name::Uid,
};

use crate::{
    ConfigTable, Consistency, Page, Range, Slice, StoreError, Written,
    applications::{pointed_id, pointer},
    config::{application_pk, endpoint_key},
    item::{Key, entity, n},
};

fn uid_key(app: AppKey<'_>, uid: &Uid) -> Key {
    Key::new(application_pk(app), format!("epuid#{uid}"))
}

impl ConfigTable {
    /// An endpoint.
    pub async fn endpoint(
        &self,
        endpoint: EndpointKey<'_>,
        consistency: Consistency,
    ) -> Result<Option<Endpoint>, StoreError> {
        let item = self.get(endpoint_key(endpoint), consistency).await?;
        item.map(entity).transpose()
    }

    /// The id of the endpoint with this uid.
    pub async fn endpoint_by_uid(
        &self,
        app: AppKey<'_>,
        uid: &Uid,
    ) -> Result<Option<EndpointId>, StoreError> {
        let item = self.get(uid_key(app, uid), Consistency::Strong).await?;
        item.map(|item| pointed_id(&item)).transpose()
    }

    /// Endpoints in the order they were created. The page's `after` is an endpoint's id.
    pub async fn endpoints(
        &self,
        app: AppKey<'_>,
        page: &Page,
    ) -> Result<Slice<Endpoint>, StoreError> {
        let range = Range::prefix("ep#ep_");
        let page = Page {
            after: page.after.as_ref().map(|id| format!("ep#{id}")),
            ..page.clone()
        };
        let pk = application_pk(app);
        Ok(self.slice(pk, range, &page).await?.without_prefix("ep#"))
    }

    /// How many endpoints an application has.
    pub async fn count_endpoints(&self, app: AppKey<'_>) -> Result<usize, StoreError> {
        let pk = application_pk(app);
        let query = self
            .query(pk, Range::prefix("ep#ep_"))
            .consistent_read(false);
        let mut pages = query.select(Select::Count).into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(StoreError::aws("Query"))?;
            count += usize::try_from(page.count).unwrap_or(0);
        }
        Ok(count)
    }

    /// Stores a new endpoint; [`Written::Conflict`] means that the application is gone.
    pub async fn create_endpoint(
        &self,
        app: AppKey<'_>,
        new: &Endpoint,
    ) -> Result<Written, StoreError> {
        let mut writes = vec![
            self.require_application(app)?,
            self.put_new(endpoint_key(app.endpoint(&new.id)).with(new)?)?,
        ];
        if let Some(uid) = &new.uid {
            let key = uid_key(app, uid);
            writes.push(self.put_new(pointer(key, new.id.as_str()))?);
        }
        self.transact(writes).await
    }

    /// Replaces the endpoint that was read as `before`.
    pub async fn update_endpoint(
        &self,
        app: AppKey<'_>,
        before: &Endpoint,
        after: &Endpoint,
    ) -> Result<Written, StoreError> {
        let item = endpoint_key(app.endpoint(&after.id)).with(after)?;
        let mut writes = vec![self.put_over(item, "revision", before.revision)?];
        if before.uid != after.uid {
            let key = |uid: &Uid| uid_key(app, uid);
            let (old, new) = (before.uid.as_ref().map(key), after.uid.as_ref().map(key));
            writes.extend(self.move_uid(old, new, after.id.as_str())?);
        }
        self.transact(writes).await
    }

    /// Replaces the previous revision when the uid stays the same: one write, at half the price of
    /// a transaction. A concurrent transaction is a conflict, too.
    pub async fn put_endpoint(
        &self,
        app: AppKey<'_>,
        after: &Endpoint,
    ) -> Result<Written, StoreError> {
        let item = endpoint_key(app.endpoint(&after.id)).with(after)?;
        let put = self.client.put_item().table_name(&self.name);
        let put = put
            .set_item(Some(item))
            .condition_expression("revision = :seen")
            .expression_attribute_values(":seen", n(after.revision - 1));
        match put.send().await {
            Ok(_) => Ok(Written::Yes),
            Err(error) => match error.as_service_error() {
                Some(
                    PutItemError::ConditionalCheckFailedException(_)
                    | PutItemError::TransactionConflictException(_),
                ) => Ok(Written::Conflict),
                _ => Err(StoreError::aws("PutItem")(error)),
            },
        }
    }

    /// Deletes the endpoint if it is still the version that was read. Tasks that still name it are
    /// dropped when they arrive.
    pub async fn delete_endpoint(
        &self,
        app: AppKey<'_>,
        endpoint: &Endpoint,
    ) -> Result<Written, StoreError> {
        let key = endpoint_key(app.endpoint(&endpoint.id));
        let mut writes = vec![self.delete_seen(key, "revision", endpoint.revision)?];
        if let Some(uid) = &endpoint.uid {
            writes.push(self.delete(uid_key(app, uid))?);
        }
        self.transact(writes).await
    }
}
