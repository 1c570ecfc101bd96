//! Endpoints in the config table.

use std::future::ready;

use aws_sdk_dynamodb::types::Select;
use futures_util::future::Either;
use posthorn_domain::{
    endpoint::Endpoint,
    id::EndpointId,
    key::{AppKey, EndpointKey},
    name::Uid,
};

use super::{
    application_key, application_pk, endpoint_key,
    uids::{move_uid, pointed_id, pointer},
};
use crate::{
    Changed, Consistency, Page, Range, Slice, StoreError, Tries, Written,
    change::{Rows, change},
    dynamo::{Condition, Key, Table, entity},
};

/// Endpoints of an application.
#[derive(Clone, Debug)]
pub struct Endpoints(pub(super) Table);

fn uid_key(app: AppKey<'_>, uid: &Uid) -> Key {
    Key::new(application_pk(app), format!("epuid#{uid}"))
}

impl Endpoints {
    pub(crate) fn table_name(&self) -> &str {
        &self.0.name
    }

    /// An endpoint.
    pub async fn get(
        &self,
        endpoint: EndpointKey<'_>,
        consistency: Consistency,
    ) -> Result<Option<Endpoint>, StoreError> {
        let item = self.0.get(endpoint_key(endpoint), consistency).await?;
        item.map(entity).transpose()
    }

    /// The id of the endpoint with this uid.
    pub async fn by_uid(
        &self,
        app: AppKey<'_>,
        uid: &Uid,
    ) -> Result<Option<EndpointId>, StoreError> {
        let item = self.0.get(uid_key(app, uid), Consistency::Strong).await?;
        item.map(|item| pointed_id(&item)).transpose()
    }

    /// Endpoints in the order they were created. The page's `after` is an endpoint's id.
    pub async fn list(&self, app: AppKey<'_>, page: &Page) -> Result<Slice<Endpoint>, StoreError> {
        let range = Range::prefix("ep#ep_");
        let page = Page {
            after: page.after.as_ref().map(|id| format!("ep#{id}")),
            ..page.clone()
        };
        let pk = application_pk(app);
        Ok(self.0.slice(pk, range, &page).await?.without_prefix("ep#"))
    }

    /// How many endpoints an application has.
    pub async fn count(&self, app: AppKey<'_>) -> Result<usize, StoreError> {
        let pk = application_pk(app);
        let query = self
            .0
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
    pub async fn create(&self, app: AppKey<'_>, new: &Endpoint) -> Result<Written, StoreError> {
        let mut writes = vec![
            self.0.require(application_key(app))?,
            self.0
                .put_new(endpoint_key(app.endpoint(&new.id)).with(new)?)?,
        ];
        if let Some(uid) = &new.uid {
            let key = uid_key(app, uid);
            writes.push(self.0.put_new(pointer(key, new.id.as_str()))?);
        }
        self.0.transact(writes).await
    }

    /// Replaces the endpoint that was read as `before`.
    pub async fn update(
        &self,
        app: AppKey<'_>,
        before: &Endpoint,
        after: &Endpoint,
    ) -> Result<Written, StoreError> {
        let item = endpoint_key(app.endpoint(&after.id)).with(after)?;
        let mut writes = vec![self.0.put_over(item, "revision", before.revision)?];
        if before.uid != after.uid {
            let key = |uid: &Uid| uid_key(app, uid);
            let (old, new) = (before.uid.as_ref().map(key), after.uid.as_ref().map(key));
            writes.extend(move_uid(&self.0, old, new, after.id.as_str())?);
        }
        self.0.transact(writes).await
    }

    /// Replaces the previous revision when the uid stays the same: one write, at half the price of
    /// a transaction. A concurrent transaction is a conflict, too.
    pub async fn put(&self, app: AppKey<'_>, after: &Endpoint) -> Result<Written, StoreError> {
        let item = endpoint_key(app.endpoint(&after.id)).with(after)?;
        let seen = Condition::Seen("revision", after.revision - 1);
        self.0.put_if(item, seen).await
    }

    /// Changes an endpoint that was read as `before`; `decide` returns what to store instead.
    pub async fn change<E: From<StoreError>, F>(
        &self,
        tries: Tries,
        app: AppKey<'_>,
        before: Endpoint,
        mut decide: impl FnMut(Endpoint) -> F,
    ) -> Result<Changed<Endpoint>, E>
    where
        F: Future<Output = Result<Option<Endpoint>, E>>,
    {
        let id = before.id.clone();
        let decide = |before: Option<Endpoint>| match before {
            Some(before) => Either::Left(decide(before)),
            None => Either::Right(ready(Ok(None))),
        };
        let key = app.endpoint(&id);
        change(tries, self, key, Some(Some(before)), decide).await
    }

    /// Deletes the endpoint if it is still the version that was read. Tasks that still name it are
    /// dropped when they arrive.
    pub async fn delete(
        &self,
        app: AppKey<'_>,
        endpoint: &Endpoint,
    ) -> Result<Written, StoreError> {
        let key = endpoint_key(app.endpoint(&endpoint.id));
        let mut writes = vec![self.0.delete_seen(key, "revision", endpoint.revision)?];
        if let Some(uid) = &endpoint.uid {
            writes.push(self.0.delete(uid_key(app, uid))?);
        }
        self.0.transact(writes).await
    }
}

impl<'a> Rows<EndpointKey<'a>> for Endpoints {
    type Row = Endpoint;

    async fn read(&self, key: EndpointKey<'a>) -> Result<Option<Endpoint>, StoreError> {
        self.get(key, Consistency::Strong).await
    }

    async fn write(
        &self,
        key: EndpointKey<'a>,
        before: Option<&Endpoint>,
        after: &Endpoint,
    ) -> Result<Written, StoreError> {
        match before {
            Some(before) => self.update(key.app, before, after).await,
            None => self.create(key.app, after).await,
        }
    }
}
