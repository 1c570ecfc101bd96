//! Applications in the config table.

use std::future::ready;

use posthorn_domain::{
    application::Application,
    endpoint::Endpoint,
    id::{ApplicationId, OrganizationId},
    key::AppKey,
    name::Uid,
};

use super::{
    application_key, application_pk,
    uids::{move_uid, pointed_id, pointer},
};
use crate::{
    Changed, Consistency, Page, Range, Slice, StoreError, Tries, Written,
    change::{Rows, change},
    dynamo::{Item, Key, Table, entity, s},
};

/// Applications of an organization.
#[derive(Clone, Debug)]
pub struct Applications(pub(super) Table);

pub(super) fn list_key(app: AppKey<'_>) -> Key {
    Key::new(
        format!("{}#apps", app.organization),
        app.application.as_str(),
    )
}

pub(super) fn uid_key(organization: &OrganizationId, uid: &Uid) -> Key {
    Key::new(format!("{organization}#appuid"), uid.as_str())
}

impl Applications {
    /// An application and all its endpoints, strongly consistent.
    pub async fn with_endpoints(
        &self,
        app: AppKey<'_>,
    ) -> Result<Option<(Application, Vec<Endpoint>)>, StoreError> {
        // `ep$` is the first key after all `ep#…` keys, and comes before `epuid#…`.
        let range = Range {
            low: "app".to_owned(),
            high: "ep$".to_owned(),
        };
        let query = self.0.query(application_pk(app), range);
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
    pub async fn get(&self, app: AppKey<'_>) -> Result<Option<Application>, StoreError> {
        let item = self
            .0
            .get(application_key(app), Consistency::Strong)
            .await?;
        let found: Option<Application> = item.map(entity).transpose()?;
        Ok(found.filter(|application| !application.deleted))
    }

    /// The id of the application with this uid.
    pub async fn by_uid(
        &self,
        organization: &OrganizationId,
        uid: &Uid,
    ) -> Result<Option<ApplicationId>, StoreError> {
        let item = self
            .0
            .get(uid_key(organization, uid), Consistency::Strong)
            .await?;
        item.map(|item| pointed_id(&item)).transpose()
    }

    /// Applications in the order they were created.
    pub async fn list(
        &self,
        organization: &OrganizationId,
        page: &Page,
    ) -> Result<Slice<Application>, StoreError> {
        let pk = format!("{organization}#apps");
        self.0.slice(pk, Range::prefix("app_"), page).await
    }

    /// Stores a new application; [`Written::Conflict`] means that its uid is taken.
    pub async fn create(
        &self,
        organization: &OrganizationId,
        new: &Application,
    ) -> Result<Written, StoreError> {
        let app = AppKey::new(organization, &new.id);
        let mut writes = vec![
            self.0.put_new(application_key(app).with(new)?)?,
            self.0.put_new(list_key(app).with(new)?)?,
        ];
        if let Some(uid) = &new.uid {
            writes.push(
                self.0
                    .put_new(pointer(uid_key(organization, uid), new.id.as_str()))?,
            );
        }
        self.0.transact(writes).await
    }

    /// Stores the organization's built-in application unless it exists. It needs no row in the list
    /// and none for its uid, because its id is derived from the organization's.
    pub async fn ensure_operational(
        &self,
        organization: &OrganizationId,
    ) -> Result<Application, StoreError> {
        let new = Application::operational(organization);
        let app = AppKey::new(organization, &new.id);
        if let Some(stored) = self.get(app).await? {
            return Ok(stored);
        }
        let item = application_key(app).with(&new)?;
        // A conflict means that another request stored the same application first.
        self.0.transact(vec![self.0.put_new(item)?]).await?;
        Ok(new)
    }

    /// Replaces the application that was read as `before`.
    pub async fn update(
        &self,
        organization: &OrganizationId,
        before: &Application,
        after: &Application,
    ) -> Result<Written, StoreError> {
        let seen = before.updated_at.as_millis();
        let app = AppKey::new(organization, &after.id);
        let mut writes = vec![
            self.0
                .put_over(application_key(app).with(after)?, "updated_at", seen)?,
            self.0
                .put_over(list_key(app).with(after)?, "updated_at", seen)?,
        ];
        if before.uid != after.uid {
            writes.extend(move_uid(
                &self.0,
                before.uid.as_ref().map(|uid| uid_key(organization, uid)),
                after.uid.as_ref().map(|uid| uid_key(organization, uid)),
                after.id.as_str(),
            )?);
        }
        self.0.transact(writes).await
    }

    /// Changes an application that was read as `before`; `decide` returns what to store instead.
    pub async fn change<E: From<StoreError>>(
        &self,
        tries: Tries,
        app: AppKey<'_>,
        before: Application,
        mut decide: impl FnMut(&Application) -> Result<Option<Application>, E>,
    ) -> Result<Changed<Application>, E> {
        let decide = |before: Option<_>| ready(before.as_ref().map_or(Ok(None), &mut decide));
        change(tries, self, app, Some(Some(before)), decide).await
    }
}

impl<'a> Rows<AppKey<'a>> for Applications {
    type Row = Application;

    async fn read(&self, app: AppKey<'a>) -> Result<Option<Application>, StoreError> {
        self.get(app).await
    }

    async fn write(
        &self,
        app: AppKey<'a>,
        before: Option<&Application>,
        after: &Application,
    ) -> Result<Written, StoreError> {
        match before {
            Some(before) => self.update(app.organization, before, after).await,
            None => self.create(app.organization, after).await,
        }
    }
}
