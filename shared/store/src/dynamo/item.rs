//! Items: an entity's attributes with its keys beside them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use posthorn_domain::timestamp::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_dynamo::aws_sdk_dynamodb_1::{from_item, to_item};

use crate::StoreError;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// A primary key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

impl Key {
    pub(crate) fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self {
            pk: pk.into(),
            sk: sk.into(),
        }
    }

    /// The key of an item.
    pub(crate) fn of(item: &Item) -> Result<Self, StoreError> {
        let text = |name: &'static str| {
            let value = item.get(name).and_then(|value| value.as_s().ok());
            value.cloned().ok_or(StoreError::Attribute(name))
        };
        Ok(Self {
            pk: text("pk")?,
            sk: text("sk")?,
        })
    }

    /// Whether an item has this key.
    pub(crate) fn is_of(&self, item: &Item) -> bool {
        let is = |name: &str, value: &str| {
            item.get(name)
                .and_then(|it| it.as_s().ok())
                .is_some_and(|it| it == value)
        };
        is("sk", &self.sk) && is("pk", &self.pk)
    }

    /// The key alone, for reads and deletes.
    pub(crate) fn item(self) -> Item {
        HashMap::from([("pk".to_owned(), s(self.pk)), ("sk".to_owned(), s(self.sk))])
    }

    /// The key with an entity's attributes.
    pub(crate) fn with<T: Serialize>(self, entity: &T) -> Result<Item, StoreError> {
        let mut item: Item = to_item(entity)?;
        item.extend(self.item());
        Ok(item)
    }
}

/// Reads an entity from an item; keys and unknown attributes are ignored.
pub(crate) fn entity<T: DeserializeOwned>(item: Item) -> Result<T, StoreError> {
    Ok(from_item(item)?)
}

pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// The TTL attribute: DynamoDB removes the item some time after `expires_at`.
pub(crate) fn ttl(expires_at: Timestamp) -> (String, AttributeValue) {
    ("ttl".to_owned(), n(expires_at.as_seconds()))
}
