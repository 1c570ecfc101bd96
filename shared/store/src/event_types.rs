//! Event types in the config table.

use posthorn_domain::{event_type::EventType, id::OrganizationId, name::EventTypeName};

use crate::{
    ConfigTable, Consistency, Page, Range, StoreError, Written,
    item::{Key, entity},
};

fn pk(organization: &OrganizationId) -> String {
    format!("{organization}#types")
}

fn key(organization: &OrganizationId, name: &EventTypeName) -> Key {
    Key::new(pk(organization), format!("type#{name}"))
}

impl ConfigTable {
    /// An event type.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event_type(
        &self,
        organization: &OrganizationId,
        name: &EventTypeName,
    ) -> Result<Option<EventType>, StoreError> {
        let item = self
            .get(key(organization, name), Consistency::Strong)
            .await?;
        item.map(entity).transpose()
    }

    /// Event types by name. The page's `after` is a name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event_types(
        &self,
        organization: &OrganizationId,
        page: &Page,
    ) -> Result<Vec<EventType>, StoreError> {
        let range = Range {
            low: "type#".to_owned(),
            high: "type$".to_owned(),
        };
        let page = Page {
            after: page.after.as_ref().map(|name| format!("type#{name}")),
            ..page.clone()
        };
        let items = self.page(pk(organization), range, &page).await?;
        items.into_iter().map(entity).collect()
    }

    /// Stores a new event type; a conflict means that the name is taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_event_type(
        &self,
        organization: &OrganizationId,
        new: &EventType,
    ) -> Result<Written, StoreError> {
        let item = key(organization, &new.name).with(new)?;
        self.transact(vec![self.put_new(item)?]).await
    }

    /// Replaces an event type that was read as `before`: creating an archived one again brings it back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_event_type(
        &self,
        organization: &OrganizationId,
        before: &EventType,
        after: &EventType,
    ) -> Result<Written, StoreError> {
        let item = key(organization, &after.name).with(after)?;
        let seen = before.updated_at.as_millis();
        self.transact(vec![self.put_over(item, "updated_at", seen)?])
            .await
    }
}
