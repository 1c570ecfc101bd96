//! Applications in the config table.

use std::time::Duration;

use aws_sdk_dynamodb::types::TransactWriteItem;
use posthorn_domain::{
    application::Application,
    endpoint::Endpoint,
    id::{ApplicationId, OrganizationId},
    key::AppKey,
    name::Uid,
};

use crate::{
    ConfigTable, Consistency, Page, Range, Slice, StoreError, Written,
    config::application_pk,
    item::{Item, Key, entity, s},
    read::sort_key,
};

/// How often a deletion is tried when it conflicts with other changes.
const MAX_TRIES: u32 = 5;

/// The most writes in one transaction (Amazon DynamoDB: TransactWriteItems).
const MAX_WRITES: usize = 100;

fn application_key(app: AppKey<'_>) -> Key {
    Key::new(application_pk(app), "app")
}

fn list_key(app: AppKey<'_>) -> Key {
    Key::new(
        format!("{}#apps", app.organization),
        app.application.as_str(),
    )
}

fn uid_key(organization: &OrganizationId, uid: &Uid) -> Key {
    Key::new(format!("{organization}#appuid"), uid.as_str())
}

impl ConfigTable {
    /// An application and all its endpoints, strongly consistent.
    pub async fn application_with_endpoints(
        &self,
        app: AppKey<'_>,
    ) -> Result<Option<(Application, Vec<Endpoint>)>, StoreError> {
        // `ep$` is the first key after all `ep#…` keys, and comes before `epuid#…`.
        let range = Range {
            low: "app".to_owned(),
            high: "ep$".to_owned(),
        };
        let query = self.query(application_pk(app), range);
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
        let application: Application = entity(first)?;
        Ok((!application.deleted).then_some((application, endpoints)))
    }

    /// An application without its endpoints.
    pub async fn application(&self, app: AppKey<'_>) -> Result<Option<Application>, StoreError> {
        let item = self.get(application_key(app), Consistency::Strong).await?;
        let found: Option<Application> = item.map(entity).transpose()?;
        Ok(found.filter(|application| !application.deleted))
    }

    /// The id of the application with this uid.
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
    pub async fn applications(
        &self,
        organization: &OrganizationId,
        page: &Page,
    ) -> Result<Slice<Application>, StoreError> {
        let pk = format!("{organization}#apps");
        self.slice(pk, Range::prefix("app_"), page).await
    }

    /// Stores a new application; [`Written::Conflict`] means that its uid is taken.
    pub async fn create_application(
        &self,
        organization: &OrganizationId,
        new: &Application,
    ) -> Result<Written, StoreError> {
        let app = AppKey::new(organization, &new.id);
        let mut writes = vec![
            self.put_new(application_key(app).with(new)?)?,
            self.put_new(list_key(app).with(new)?)?,
        ];
        if let Some(uid) = &new.uid {
            writes.push(self.put_new(pointer(uid_key(organization, uid), new.id.as_str()))?);
        }
        self.transact(writes).await
    }

    /// Stores the organization's built-in application unless it exists. It needs no row in the list
    /// and none for its uid, because its id is derived from the organization's.
    pub async fn ensure_operational_application(
        &self,
        organization: &OrganizationId,
    ) -> Result<Application, StoreError> {
        let new = Application::operational(organization);
        let app = AppKey::new(organization, &new.id);
        if let Some(stored) = self.application(app).await? {
            return Ok(stored);
        }
        let item = application_key(app).with(&new)?;
        // A conflict means that another request stored the same application first.
        self.transact(vec![self.put_new(item)?]).await?;
        Ok(new)
    }

    /// Replaces the application that was read as `before`.
    pub async fn update_application(
        &self,
        organization: &OrganizationId,
        before: &Application,
        after: &Application,
    ) -> Result<Written, StoreError> {
        let seen = before.updated_at.as_millis();
        let app = AppKey::new(organization, &after.id);
        let mut writes = vec![
            self.put_over(application_key(app).with(after)?, "updated_at", seen)?,
            self.put_over(list_key(app).with(after)?, "updated_at", seen)?,
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

    /// Deletes an application and everything that belongs to it; `None` when it does not exist.
    ///
    /// The application is first marked as deleted: from then on it is not found, and nothing can be
    /// added to it. Its row and its uid are deleted last, so that an interrupted deletion can be
    /// repeated.
    pub async fn delete_application(&self, app: AppKey<'_>) -> Result<Option<Written>, StoreError> {
        for _ in 0..MAX_TRIES {
            let item = self.get(application_key(app), Consistency::Strong).await?;
            let Some(found) = item.map(entity::<Application>).transpose()? else {
                return Ok(None);
            };
            if !found.deleted {
                // The next read shows whether it is marked, by this request or by another.
                self.mark_deleted(app, &found).await?;
                continue;
            }
            self.delete_parts(app).await?;
            let (key, seen) = (application_key(app), found.updated_at.as_millis());
            let mut rest = vec![self.delete_seen(key, "updated_at", seen)?];
            if let Some(uid) = &found.uid {
                rest.push(self.delete(uid_key(app.organization, uid))?);
            }
            // If another request was faster, the uid may already belong to a new application.
            self.transact(rest).await?;
            return Ok(Some(Written::Yes));
        }
        Ok(Some(Written::Conflict))
    }

    async fn mark_deleted(
        &self,
        app: AppKey<'_>,
        found: &Application,
    ) -> Result<Written, StoreError> {
        let marked = Application {
            deleted: true,
            // A new version, so that a concurrent change cannot overwrite the mark.
            updated_at: found.updated_at.plus(Duration::from_millis(1)),
            ..found.clone()
        };
        let item = application_key(app).with(&marked)?;
        let over = self.put_over(item, "updated_at", found.updated_at.as_millis())?;
        let unlisted = self.delete(list_key(app))?;
        self.transact(vec![over, unlisted]).await
    }

    /// Deletes the endpoints of an application and their uids.
    async fn delete_parts(&self, app: AppKey<'_>) -> Result<(), StoreError> {
        let pk = application_pk(app);
        let query = self.query(pk.clone(), Range::prefix("ep"));
        let mut pages = query.projection_expression("sk").into_paginator().send();
        while let Some(page) = pages.next().await {
            let items = page
                .map_err(StoreError::aws("Query"))?
                .items
                .unwrap_or_default();
            for some in items.chunks(MAX_WRITES) {
                let delete = |item| self.delete(Key::new(pk.clone(), sort_key(item)?));
                self.transact(some.iter().map(delete).collect::<Result<_, _>>()?)
                    .await?;
            }
        }
        Ok(())
    }

    pub(crate) fn require_application(
        &self,
        app: AppKey<'_>,
    ) -> Result<TransactWriteItem, StoreError> {
        self.require(application_key(app))
    }

    /// The writes that free the old uid and take the new one.
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

/// An item that maps a uid to an id.
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
