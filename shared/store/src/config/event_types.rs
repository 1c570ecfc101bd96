//! Event types in the config table.

use std::future::ready;

use posthorn_domain::{event_type::EventType, id::OrganizationId, name::EventTypeName};

use crate::{
    Changed, Consistency, Page, Range, Slice, StoreError, Tries, Written,
    change::{Rows, change},
    dynamo::{Key, Table, entity},
};

/// Event types of an organization.
#[derive(Clone, Debug)]
pub struct EventTypes(pub(super) Table);

fn pk(organization: &OrganizationId) -> String {
    format!("{organization}#types")
}

fn key(organization: &OrganizationId, name: &EventTypeName) -> Key {
    Key::new(pk(organization), format!("type#{name}"))
}

impl EventTypes {
    /// An event type.
    pub async fn get(
        &self,
        organization: &OrganizationId,
        name: &EventTypeName,
    ) -> Result<Option<EventType>, StoreError> {
        let item = self
            .0
            .get(key(organization, name), Consistency::Strong)
            .await?;
        item.map(entity).transpose()
    }

    /// The event types with these names; missing ones are left out. One BatchGetItem per 100.
    pub async fn named(
        &self,
        organization: &OrganizationId,
        names: impl IntoIterator<Item = &EventTypeName>,
    ) -> Result<Vec<EventType>, StoreError> {
        let keys = names.into_iter().map(|name| key(organization, name));
        let items = self.0.get_many(keys.collect(), Consistency::Strong).await?;
        items.into_iter().map(entity).collect()
    }

    /// Event types in the order of their names. The page's `after` is a name.
    pub async fn list(
        &self,
        organization: &OrganizationId,
        page: &Page,
    ) -> Result<Slice<EventType>, StoreError> {
        let range = Range::prefix("type#");
        let page = Page {
            after: page.after.as_ref().map(|name| format!("type#{name}")),
            ..page.clone()
        };
        let slice = self.0.slice(pk(organization), range, &page).await?;
        Ok(slice.without_prefix("type#"))
    }

    /// Stores a new event type; [`Written::Conflict`] means that the name is taken.
    pub async fn create(
        &self,
        organization: &OrganizationId,
        new: &EventType,
    ) -> Result<Written, StoreError> {
        let item = key(organization, &new.name).with(new)?;
        self.0.transact(vec![self.0.put_new(item)?]).await
    }

    /// Removes an event type; one that does not exist counts as removed.
    pub async fn delete(
        &self,
        organization: &OrganizationId,
        name: &EventTypeName,
    ) -> Result<(), StoreError> {
        let delete = self.0.delete(key(organization, name))?;
        self.0.transact(vec![delete]).await.map(|_| ())
    }

    /// Replaces the event type that was read as `before`.
    pub async fn update(
        &self,
        organization: &OrganizationId,
        before: &EventType,
        after: &EventType,
    ) -> Result<Written, StoreError> {
        let item = key(organization, &after.name).with(after)?;
        let seen = before.updated_at.as_millis();
        self.0
            .transact(vec![self.0.put_over(item, "updated_at", seen)?])
            .await
    }

    /// Changes an event type, or creates it; `decide` returns what to store instead of what is
    /// there.
    pub async fn change<E: From<StoreError>>(
        &self,
        tries: Tries,
        organization: &OrganizationId,
        name: &EventTypeName,
        mut decide: impl FnMut(Option<&EventType>) -> Result<Option<EventType>, E>,
    ) -> Result<Changed<EventType>, E> {
        let decide = |before: Option<_>| ready(decide(before.as_ref()));
        change(tries, self, (organization, name), None, decide).await
    }
}

type TypeKey<'a, 'b> = (&'a OrganizationId, &'b EventTypeName);

impl<'a, 'b> Rows<TypeKey<'a, 'b>> for EventTypes {
    type Row = EventType;

    async fn read(&self, key: TypeKey<'a, 'b>) -> Result<Option<EventType>, StoreError> {
        self.get(key.0, key.1).await
    }

    async fn write(
        &self,
        (organization, _): TypeKey<'a, 'b>,
        before: Option<&EventType>,
        after: &EventType,
    ) -> Result<Written, StoreError> {
        match before {
            Some(before) => self.update(organization, before, after).await,
            None => self.create(organization, after).await,
        }
    }
}
