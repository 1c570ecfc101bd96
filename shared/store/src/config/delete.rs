//! Deleting an application with all that belongs to it.

use std::time::Duration;

use posthorn_domain::{application::Application, key::AppKey};

use super::{
    Applications, application_key, application_pk,
    applications::{list_key, uid_key},
};
use crate::{
    Consistency, Range, StoreError, Tries, Written,
    dynamo::{Key, entity, sort_key},
};

/// How often a deletion is tried when it conflicts with other changes.
const TRIES: Tries = Tries::at_once(5);

/// The most writes in one transaction (Amazon DynamoDB: TransactWriteItems).
const MAX_WRITES: usize = 100;

impl Applications {
    /// Deletes an application and everything that belongs to it; `None` when it does not exist.
    ///
    /// The application is first marked as deleted: from then on it is not found, and nothing can be
    /// added to it. Its row and its uid are deleted last, so that an interrupted deletion can be
    /// repeated.
    pub async fn delete(&self, app: AppKey<'_>) -> Result<Option<Written>, StoreError> {
        let deleted = TRIES.until(|| self.try_delete(app)).await?;
        Ok(match deleted {
            Some(true) => Some(Written::Yes),
            Some(false) => None,
            None => Some(Written::Conflict),
        })
    }

    /// Marks the application, or deletes it when it is marked: then returns `true`, or `false` when
    /// there is none.
    async fn try_delete(&self, app: AppKey<'_>) -> Result<Option<bool>, StoreError> {
        let key = application_key(app);
        let item = self.0.get(key.clone(), Consistency::Strong).await?;
        let Some(found) = item.map(entity::<Application>).transpose()? else {
            return Ok(Some(false));
        };
        if !found.deleted {
            // The next read shows whether it is marked, by this request or by another.
            self.mark_deleted(app, &found).await?;
            return Ok(None);
        }
        self.delete_parts(app).await?;
        let seen = found.updated_at.as_millis();
        let mut rest = vec![self.0.delete_seen(key, "updated_at", seen)?];
        if let Some(uid) = &found.uid {
            rest.push(self.0.delete(uid_key(app.organization, uid))?);
        }
        // If another request was faster, the uid may already belong to a new application.
        self.0.transact(rest).await?;
        Ok(Some(true))
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
        let over = self
            .0
            .put_over(item, "updated_at", found.updated_at.as_millis())?;
        let unlisted = self.0.delete(list_key(app))?;
        self.0.transact(vec![over, unlisted]).await
    }

    /// Deletes the endpoints of an application and their uids.
    async fn delete_parts(&self, app: AppKey<'_>) -> Result<(), StoreError> {
        let pk = application_pk(app);
        let query = self.0.query(pk.clone(), Range::prefix("ep"));
        let mut pages = query.projection_expression("sk").into_paginator().send();
        while let Some(page) = pages.next().await {
            let items = page
                .map_err(StoreError::aws("Query"))?
                .items
                .unwrap_or_default();
            for some in items.chunks(MAX_WRITES) {
                let delete = |item| self.0.delete(Key::new(pk.clone(), sort_key(item)?));
                self.0
                    .transact(some.iter().map(delete).collect::<Result<_, _>>()?)
                    .await?;
            }
        }
        Ok(())
    }
}
