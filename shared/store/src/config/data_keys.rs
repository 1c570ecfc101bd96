//! Data keys in the config table, encrypted by KMS. They are never removed: whatever a key sealed
//! can only be opened with it.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use posthorn_domain::id::DataKeyId;

use crate::{
    Consistency, Range, StoreError,
    dynamo::{Item, Key, Table, s, sort_key},
};

/// The partition of all data keys.
const PK: &str = "keys";

/// A data key as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Its bytes, encrypted by KMS.
    pub wrapped: Vec<u8>,
    /// The KMS key that encrypted them: an ARN.
    pub kms_key: String,
}

/// The data keys of the deployment.
#[derive(Clone, Debug)]
pub struct DataKeys(pub(super) Table);

impl DataKeys {
    /// The newest data key.
    pub async fn newest(&self) -> Result<Option<(DataKeyId, WrappedKey)>, StoreError> {
        let query = self
            .0
            .query(PK.to_owned(), Range::prefix(DataKeyId::PREFIX));
        let newest = query.scan_index_forward(false).limit(1).send().await;
        let newest = newest.map_err(StoreError::aws("Query"))?;
        let read = |item: Item| {
            let id = sort_key(&item)?.parse();
            let id = id.map_err(|_| StoreError::Attribute("sk"))?;
            Ok((id, wrapped(item)?))
        };
        newest.items.unwrap_or_default().pop().map(read).transpose()
    }

    /// A data key.
    pub async fn get(
        &self,
        id: &DataKeyId,
        consistency: Consistency,
    ) -> Result<Option<WrappedKey>, StoreError> {
        let item = self.0.get(Key::new(PK, id.as_str()), consistency).await?;
        item.map(wrapped).transpose()
    }

    /// Stores a new data key.
    pub async fn put(&self, id: &DataKeyId, key: WrappedKey) -> Result<(), StoreError> {
        let mut item = Key::new(PK, id.as_str()).item();
        let wrapped = AttributeValue::B(Blob::new(key.wrapped));
        let kms_key = s(key.kms_key);
        item.extend([
            ("wrapped".to_owned(), wrapped),
            ("kms_key".to_owned(), kms_key),
        ]);
        self.0.put(item).await
    }
}

fn wrapped(mut item: Item) -> Result<WrappedKey, StoreError> {
    match (item.remove("wrapped"), item.remove("kms_key")) {
        (Some(AttributeValue::B(wrapped)), Some(AttributeValue::S(kms_key))) => Ok(WrappedKey {
            wrapped: wrapped.into_inner(),
            kms_key,
        }),
        _ => Err(StoreError::Attribute("wrapped")),
    }
}
