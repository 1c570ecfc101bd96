//! The keys that verify tokens, and the tokens that are revoked: one item of the config table.

use posthorn_domain::token::Trust;

use crate::{
    ConfigTable, Consistency, StoreError, Written,
    item::{Key, entity},
};

fn key() -> Key {
    Key::new("tokens", "trust")
}

impl ConfigTable {
    /// What verifiers know, strongly consistent. Empty before the first token is created.
    pub async fn trust(&self) -> Result<Trust, StoreError> {
        let item = self.get(key(), Consistency::Strong).await?;
        Ok(item.map(entity).transpose()?.unwrap_or_default())
    }

    /// Replaces the revision that was read (0 if there was none).
    pub async fn put_trust(&self, trust: &Trust, seen: u64) -> Result<Written, StoreError> {
        let item = key().with(trust)?;
        let put = match seen {
            0 => self.put_new(item)?,
            seen => self.put_over(item, "revision", seen)?,
        };
        self.transact(vec![put]).await
    }
}
