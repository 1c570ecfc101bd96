//! The keys that verify tokens, and the tokens that are revoked: one item of the config table.

use std::future::ready;

use posthorn_domain::token::Trust;

use crate::{
    Changed, Consistency, StoreError, Tries, Written,
    change::{Rows, change},
    dynamo::{Key, Table, entity},
};

/// The row of what verifiers know.
#[derive(Clone, Debug)]
pub struct TrustRow(pub(super) Table);

fn key() -> Key {
    Key::new("tokens", "trust")
}

impl TrustRow {
    /// What verifiers know, strongly consistent. Empty before the first token is created.
    pub async fn get(&self) -> Result<Trust, StoreError> {
        let item = self.0.get(key(), Consistency::Strong).await?;
        Ok(item.map(entity).transpose()?.unwrap_or_default())
    }

    /// Replaces the revision that was read (0 if there was none).
    pub async fn put(&self, trust: &Trust, seen: u64) -> Result<Written, StoreError> {
        let item = key().with(trust)?;
        let put = match seen {
            0 => self.0.put_new(item)?,
            seen => self.0.put_over(item, "revision", seen)?,
        };
        self.0.transact(vec![put]).await
    }

    /// Changes what verifiers know; `decide` returns what to store instead.
    pub async fn change<E: From<StoreError>>(
        &self,
        tries: Tries,
        mut decide: impl FnMut(Trust) -> Result<Trust, E>,
    ) -> Result<Changed<Trust>, E> {
        let decide = |before: Option<Trust>| ready(decide(before.unwrap_or_default()).map(Some));
        change(tries, self, (), None, decide).await
    }
}

impl Rows<()> for TrustRow {
    type Row = Trust;

    async fn read(&self, (): ()) -> Result<Option<Trust>, StoreError> {
        self.get().await.map(Some)
    }

    async fn write(
        &self,
        (): (),
        before: Option<&Trust>,
        after: &Trust,
    ) -> Result<Written, StoreError> {
        let seen = before.map_or(0, |before| before.revision);
        self.put(after, seen).await
    }
}
