//! DynamoDB itself: one table with its items, and the reads and writes that every concern makes.

mod batch;
mod item;
mod page;
mod read;
mod transact;
mod write;

use aws_sdk_dynamodb::Client;

pub(crate) use batch::get_batch;
pub(crate) use item::{Item, Key, entity, n, s, ttl};
pub(crate) use page::Part;
pub use page::{Page, Range, Slice};
pub(crate) use read::sort_key;
pub(crate) use write::Condition;
pub use write::Written;

/// A table, and the client that reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
}

impl Table {
    pub(crate) fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }
}
