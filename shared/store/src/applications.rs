//! Applications in the config table.

use aws_sdk_dynamodb::types::TransactWriteItem;
use posthorn_domain::{
    application::Application,
    endpoint::Endpoint,
    id::{ApplicationId, EndpointId, OrganizationId},
    name::Uid,
};

use crate::{
    ConfigTable, Consistency, Page, Range, Slice, StoreError, Written,
    config::application_pk,
    item::{Item, Key, entity, s},
};

fn application_key(organization: &OrganizationId, id: &ApplicationId) -> Key {
    Key::new(application_pk(organization, id), "app")
}

fn list_key(organization: &OrganizationId, id: &ApplicationId) -> Key {
    Key::new(format!("{organization}#apps"), id.as_str())
}

fn uid_key(organization: &OrganizationId, uid: &Uid) -> Key {
    Key::new(format!("{organization}#appuid"), uid.as_str())
}

impl ConfigTable {
    /// An application and all its endpoints, with every change that was acknowledged.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn application_with_endpoints(
        &self,
        organization: &OrganizationId,
        id: &ApplicationId,
    ) -> Result<Option<(Application, Vec<Endpoint>)>, StoreError> {
        // `ep$` is the first key behind all `ep#…`; `epuid#…` lies behind it.
        let range = Range {
            low: "app".to_owned(),
            high: "ep$".to_owned(),
        };
        let query = self.query(application_pk(organization, id), range);
        let mut pages = query.into_paginator().send();
        let mut items = Vec::new();
        while let Some(page) = pages.next().await {
            items.extend(
                page.map_err(StoreError::aws("Query"))?
                    .items
                    .unwrap_or_default(),
            );
        }
        let mut items = items.into_iter();
        let is_application = |item: &Item| item.get("sk") == Some(&s("app"));
        let Some(first) = items.next().filter(is_application) else {
            return Ok(None);
        };
        let endpoints = items.map(entity).collect::<Result<_, _>>()?;
        Ok(Some((entity(first)?, endpoints)))
    }

    /// An application alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn application(
        &self,
        organization: &OrganizationId,
        id: &ApplicationId,
    ) -> Result<Option<Application>, StoreError> {
        let item = self
            .get(application_key(organization, id), Consistency::Strong)
            .await?;
        item.map(entity).transpose()
    }

    /// Which application has this uid.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn application_by_uid(
        &self,
        organization: &OrganizationId,
        uid: &Uid,
    ) -> Result<Option<ApplicationId>, StoreError> {
        let item = self
            .get(uid_key(organization, uid), Consistency::Strong)
            .await?;
        item.map(|item| pointed_id(&item)).transpose()
    }

    /// Applications in the order they were created.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn applications(
        &self,
        organization: &OrganizationId,
        page: &Page,
    ) -> Result<Slice<Application>, StoreError> {
        let pk = format!("{organization}#apps");
        self.slice(pk, Range::prefix("app_"), page).await
    }

    /// Stores a new application; a conflict means that its uid is taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_application(
        &self,
        organization: &OrganizationId,
        new: &Application,
    ) -> Result<Written, StoreError> {
        let mut writes = vec![
            self.put_new(application_key(organization, &new.id).with(new)?)?,
            self.put_new(list_key(organization, &new.id).with(new)?)?,
        ];
        if let Some(uid) = &new.uid {
            writes.push(self.put_new(pointer(uid_key(organization, uid), new.id.as_str()))?);
        }
        self.transact(writes).await
    }

    /// Stores the organization's built-in application unless it is there. It has no row in the list
    /// and none for its uid: its id follows from the organization's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ensure_operational_application(
        &self,
        organization: &OrganizationId,
    ) -> Result<Application, StoreError> {
        let new = Application::operational(organization);
        if let Some(stored) = self.application(organization, &new.id).await? {
            return Ok(stored);
        }
        let item = application_key(organization, &new.id).with(&new)?;
        // A conflict means that another request was faster, with the same.
        self.transact(vec![self.put_new(item)?]).await?;
        Ok(new)
    }

    /// Replaces an application that was read as `before`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_application(
        &self,
        organization: &OrganizationId,
        before: &Application,
        after: &Application,
    ) -> Result<Written, StoreError> {
        let seen = before.updated_at.as_millis();
        let mut writes = vec![
            self.put_over(
                application_key(organization, &after.id).with(after)?,
                "updated_at",
                seen,
            )?,
            self.put_over(
                list_key(organization, &after.id).with(after)?,
                "updated_at",
                seen,
            )?,
        ];
        if before.uid != after.uid {
            writes.extend(self.move_uid(
                before.uid.as_ref().map(|uid| uid_key(organization, uid)),
                after.uid.as_ref().map(|uid| uid_key(organization, uid)),
                after.id.as_str(),
            )?);
        }
        self.transact(writes).await
    }

    /// Deletes an application and its endpoints. Endpoints go first, so that a deletion that was
    /// interrupted can be repeated, and their pending tasks stop in any case.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_application(
        &self,
        organization: &OrganizationId,
        application: &Application,
    ) -> Result<(), StoreError> {
        while let Some((_, endpoints)) = self
            .application_with_endpoints(organization, &application.id)
            .await?
        {
            for endpoint in &endpoints {
                self.delete_endpoint(organization, &application.id, endpoint)
                    .await?;
            }
            if endpoints.is_empty() {
                break;
            }
        }
        let mut writes = vec![
            self.delete(application_key(organization, &application.id))?,
            self.delete(list_key(organization, &application.id))?,
        ];
        if let Some(uid) = &application.uid {
            writes.push(self.delete(uid_key(organization, uid))?);
        }
        self.transact(writes).await.map(|_| ())
    }

    pub(crate) fn require_application(
        &self,
        organization: &OrganizationId,
        id: &ApplicationId,
    ) -> Result<TransactWriteItem, StoreError> {
        self.require(application_key(organization, id))
    }

    /// Gives up one uid and takes another.
    pub(crate) fn move_uid(
        &self,
        before: Option<Key>,
        after: Option<Key>,
        id: &str,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let given_up = before.map(|key| self.delete(key));
        let taken = after.map(|key| self.put_new(pointer(key, id)));
        given_up.into_iter().chain(taken).collect()
    }
}

/// An item that says which id a uid stands for.
pub(crate) fn pointer(key: Key, id: &str) -> Item {
    let mut item = key.item();
    item.insert("id".to_owned(), s(id));
    item
}

/// The id that a pointer item holds.
pub(crate) fn pointed_id<I: TryFrom<String>>(item: &Item) -> Result<I, StoreError> {
    let id = item.get("id").and_then(|id| id.as_s().ok()).cloned();
    id.and_then(|id| id.try_into().ok())
        .ok_or(StoreError::Attribute("id"))
}

/// The key of an endpoint's item.
pub(crate) fn endpoint_key(
    organization: &OrganizationId,
    application: &ApplicationId,
    id: &EndpointId,
) -> Key {
    Key::new(
        application_pk(organization, application),
        format!("ep#{id}"),
    )
}
