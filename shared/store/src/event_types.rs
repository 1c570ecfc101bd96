//! Event types in the config table.

use posthorn_domain::{event_type::EventType, id::OrganizationId, name::EventTypeName};

use crate::{
    ConfigTable, Consistency, Page, Range, Slice, StoreError, Written,
    item::{Key, entity},
    read::get_many,
};

fn pk(organization: &OrganizationId) -> String {
    format!("{organization}#types")
}

fn key(organization: &OrganizationId, name: &EventTypeName) -> Key {
    Key::new(pk(organization), format!("type#{name}"))
}

impl ConfigTable {
    /// An event type.
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

    /// The event types with these names; missing ones are left out. One BatchGetItem per 100.
    pub async fn event_types_named(
        &self,
        organization: &OrganizationId,
        names: impl IntoIterator<Item = &EventTypeName>,
    ) -> Result<Vec<EventType>, StoreError> {
        let keys = names.into_iter().map(|name| key(organization, name));
        let items = get_many(
            &self.client,
            &self.name,
            keys.collect(),
            Consistency::Strong,
        )
        .await?;
        items.into_iter().map(entity).collect()
    }

    /// Event types in the order of their names. The page's `after` is a name.
    pub async fn event_types(
        &self,
        organization: &OrganizationId,
        page: &Page,
    ) -> Result<Slice<EventType>, StoreError> {
        let range = Range::prefix("type#");
        let page = Page {
            after: page.after.as_ref().map(|name| format!("type#{name}")),
            ..page.clone()
        };
        let slice = self.slice(pk(organization), range, &page).await?;
        Ok(slice.without_prefix("type#"))
    }

    /// Stores a new event type; [`Written::Conflict`] means that the name is taken.
    pub async fn create_event_type(
        &self,
        organization: &OrganizationId,
        new: &EventType,
    ) -> Result<Written, StoreError> {
        let item = key(organization, &new.name).with(new)?;
        self.transact(vec![self.put_new(item)?]).await
    }

    /// Removes an event type; one that does not exist counts as removed.
    pub async fn delete_event_type(
        &self,
        organization: &OrganizationId,
        name: &EventTypeName,
    ) -> Result<(), StoreError> {
        let delete = self.delete(key(organization, name))?;
        self.transact(vec![delete]).await.map(|_| ())
    }

    /// Replaces the event type that was read as `before`.
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
