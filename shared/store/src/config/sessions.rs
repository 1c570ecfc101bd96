//! Sessions of the application portal that were ended before their tokens expired: a single one,
//! all of an application, or all with a tag.

use std::time::Duration;

use posthorn_domain::{
    id::OrganizationId,
    key::AppKey,
    timestamp::Timestamp,
    token::{Ending, Session, SessionTag},
};
use serde::{Deserialize, Serialize};

use crate::{
    Consistency, StoreError, Tries, Written,
    dynamo::{Key, Table, entity, ttl},
};

/// Sessions of the application portal that were ended.
#[derive(Clone, Debug)]
pub struct Sessions(pub(super) Table);

/// The longest lifetime of a session's token. After it, an order to end sessions can be forgotten.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// How often an order is tried when it conflicts with another one.
const TRIES: Tries = Tries::at_once(5);

/// How many rows one transaction writes.
const ROWS_AT_ONCE: usize = 100;

/// An order to end sessions, as it is stored.
#[derive(Default, Serialize, Deserialize)]
struct Order {
    version: u64,
    ending: Ending,
}

fn session_key(organization: &OrganizationId, session: &Session) -> Key {
    Key::new(format!("{organization}#sessions"), session.id.as_str())
}

/// The key of the order for all sessions of an application, or for those with a tag.
fn order_key(app: AppKey<'_>, tag: Option<&SessionTag>) -> Key {
    let sk = match tag {
        None => "all".to_owned(),
        Some(tag) => format!("tag#{}", tag.as_str()),
    };
    let pk = format!("{}#sessions#{}", app.organization, app.application);
    Key::new(pk, sk)
}

impl Sessions {
    /// Ends a session: its token is refused from now on. [`Written::Conflict`] means that it had
    /// already ended.
    pub async fn end(
        &self,
        organization: &OrganizationId,
        session: &Session,
    ) -> Result<Written, StoreError> {
        let mut item = session_key(organization, session).item();
        item.extend([ttl(session.expires_at)]);
        self.0.transact(vec![self.0.put_new(item)?]).await
    }

    /// Ends the sessions of an application that were granted so far: all, or those with the given
    /// tags (one transaction per 100); at once, or after a grace period.
    pub async fn end_all(
        &self,
        app: AppKey<'_>,
        tags: &[SessionTag],
        now: Timestamp,
        grace: Duration,
    ) -> Result<Written, StoreError> {
        let of_tags = tags.iter().map(|tag| order_key(app, Some(tag)));
        let keys: Vec<_> = match tags.is_empty() {
            true => vec![order_key(app, None)],
            false => of_tags.collect(),
        };
        for some in keys.chunks(ROWS_AT_ONCE) {
            let order = || self.order(some, now, grace);
            if TRIES.until(order).await?.is_none() {
                return Ok(Written::Conflict);
            }
        }
        Ok(Written::Yes)
    }

    /// Writes one order in all these rows; `None` when others did so meanwhile.
    async fn order(
        &self,
        keys: &[Key],
        now: Timestamp,
        grace: Duration,
    ) -> Result<Option<()>, StoreError> {
        let rows = self.0.get_many(keys.to_vec(), Consistency::Strong).await?;
        let mut writes = Vec::new();
        for key in keys {
            let row = rows.iter().find(|row| key.is_of(row)).cloned();
            let Order { version, ending } =
                row.map(entity::<Order>).transpose()?.unwrap_or_default();
            let after = Order {
                version: version + 1,
                ending: ending.end_all(now, grace),
            };
            let mut item = key.clone().with(&after)?;
            item.extend([ttl(now.plus(grace + LONGEST))]);
            writes.push(match version {
                0 => self.0.put_new(item)?,
                seen => self.0.put_over(item, "version", seen)?,
            });
        }
        let written = self.0.transact(writes).await?;
        Ok((written == Written::Yes).then_some(()))
    }

    /// Whether a session was ended. One BatchGetItem of two or three rows.
    pub async fn is_ended(
        &self,
        app: AppKey<'_>,
        session: &Session,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let own = session_key(app.organization, session);
        let mut keys = vec![own.clone(), order_key(app, None)];
        if let Some(tag) = &session.tag {
            keys.push(order_key(app, Some(tag)));
        }
        let rows = self.0.get_many(keys, Consistency::Strong).await?;
        for row in rows {
            if own.is_of(&row) || entity::<Order>(row)?.ending.ends(session.granted_at, now) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
