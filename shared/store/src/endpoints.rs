//! Endpoints in the config table.

use aws_sdk_dynamodb::{operation::put_item::PutItemError, types::Select};
use posthorn_domain::{
    endpoint::Endpoint,
    id::{ApplicationId, EndpointId, OrganizationId},
    name::Uid,
};

use crate::{
    ConfigTable, Consistency, Page, Range, Slice, StoreError, Written,
    applications::{endpoint_key, pointed_id, pointer},
    config::application_pk,
    item::{Key, entity, n},
};

fn uid_key(organization: &OrganizationId, application: &ApplicationId, uid: &Uid) -> Key {
    Key::new(
        application_pk(organization, application),
        format!("epuid#{uid}"),
    )
}

impl ConfigTable {
    /// An endpoint.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoint(
        &self,
        organization: &OrganizationId,
        application: &ApplicationId,
        id: &EndpointId,
        consistency: Consistency,
    ) -> Result<Option<Endpoint>, StoreError> {
        let item = self
            .get(endpoint_key(organization, application, id), consistency)
            .await?;
        item.map(entity).transpose()
    }

    /// Which endpoint of an application has this uid.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoint_by_uid(
        &self,
        organization: &OrganizationId,
        application: &ApplicationId,
        uid: &Uid,
    ) -> Result<Option<EndpointId>, StoreError> {
        let item = self
            .get(uid_key(organization, application, uid), Consistency::Strong)
            .await?;
        item.map(|item| pointed_id(&item)).transpose()
    }

    /// Endpoints in the order they were created. The page's `after` is an endpoint's id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoints(
        &self,
        organization: &OrganizationId,
        application: &ApplicationId,
        page: &Page,
    ) -> Result<Slice<Endpoint>, StoreError> {
        let range = Range::prefix("ep#ep_");
        let page = Page {
            after: page.after.as_ref().map(|id| format!("ep#{id}")),
            ..page.clone()
        };
        let pk = application_pk(organization, application);
        Ok(self.slice(pk, range, &page).await?.without_prefix("ep#"))
    }

    /// How many endpoints an application has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_endpoints(
        &self,
        organization: &OrganizationId,
        application: &ApplicationId,
    ) -> Result<usize, StoreError> {
        let pk = application_pk(organization, application);
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

    /// Stores a new endpoint; a conflict means that the application is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_endpoint(
        &self,
        organization: &OrganizationId,
        application: &ApplicationId,
        new: &Endpoint,
    ) -> Result<Written, StoreError> {
        let mut writes = vec![
            self.require_application(organization, application)?,
            self.put_new(endpoint_key(organization, application, &new.id).with(new)?)?,
        ];
        if let Some(uid) = &new.uid {
            let key = uid_key(organization, application, uid);
            writes.push(self.put_new(pointer(key, new.id.as_str()))?);
        }
        self.transact(writes).await
    }

    /// Replaces an endpoint that was read as `before`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_endpoint(
        &self,
        organization: &OrganizationId,
        application: &ApplicationId,
        before: &Endpoint,
        after: &Endpoint,
    ) -> Result<Written, StoreError> {
        let item = endpoint_key(organization, application, &after.id).with(after)?;
        let mut writes = vec![self.put_over(item, "revision", before.revision)?];
        if before.uid != after.uid {
            let key = |uid: &Uid| uid_key(organization, application, uid);
            let (old, new) = (before.uid.as_ref().map(key), after.uid.as_ref().map(key));
            writes.extend(self.move_uid(old, new, after.id.as_str())?);
        }
        self.transact(writes).await
    }

    /// Replaces the revision before this one, without a change of its uid: one write, half the price of
    /// a transaction. A transaction at the same time is a conflict, too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_endpoint(
        &self,
        organization: &OrganizationId,
        application: &ApplicationId,
        after: &Endpoint,
    ) -> Result<Written, StoreError> {
        let item = endpoint_key(organization, application, &after.id).with(after)?;
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

    /// Deletes the version of an endpoint that was read; tasks that still name it are dropped when
    /// they arrive.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_endpoint(
        &self,
        organization: &OrganizationId,
        application: &ApplicationId,
        endpoint: &Endpoint,
    ) -> Result<Written, StoreError> {
        let key = endpoint_key(organization, application, &endpoint.id);
        let mut writes = vec![self.delete_seen(key, "revision", endpoint.revision)?];
        if let Some(uid) = &endpoint.uid {
            writes.push(self.delete(uid_key(organization, application, uid))?);
        }
        self.transact(writes).await
    }
}
