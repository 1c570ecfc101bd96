//! Sessions of the application portal that were ended before their tokens expired.

use posthorn_domain::{
    id::{OrganizationId, SessionId},
    token::Session,
};

use crate::{
    ConfigTable, Consistency, StoreError,
    item::{Key, ttl},
};

fn key(organization: &OrganizationId, id: &SessionId) -> Key {
    Key::new(format!("{organization}#sessions"), id.as_str())
}

impl ConfigTable {
    /// Ends a session: its token is refused from now on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_session(
        &self,
        organization: &OrganizationId,
        session: &Session,
    ) -> Result<(), StoreError> {
        let mut item = key(organization, &session.id).item();
        item.extend([ttl(session.expires_at)]);
        self.put(item).await
    }

    /// Whether a session was ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_session_ended(
        &self,
        organization: &OrganizationId,
        session: &SessionId,
    ) -> Result<bool, StoreError> {
        let item = self
            .get(key(organization, session), Consistency::Strong)
            .await?;
        Ok(item.is_some())
    }
}
