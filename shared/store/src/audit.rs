//! How far the auditor is in its round through all applications. Its row is in the schedule table.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use posthorn_domain::{
    application::Application,
    id::{MessageId, OrganizationId},
    key::AppKey,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    ConfigTable, Consistency, ScheduleTable, StoreError, Written,
    item::{Item, Key, entity, n, s},
    read::get,
};

/// The most items of the config table that one Scan reads to find applications.
const SCANNED: i32 = 1000;

/// A round of the auditor: it checks the messages of a span of time, and of earlier spans of the
/// same length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Counts writes, from 1, so that of two concurrent runs only one continues.
    pub version: u64,
    /// When the round started.
    pub started_at: Timestamp,
    /// The start of the span, included.
    pub from: Timestamp,
    /// The end of the span, excluded.
    pub until: Timestamp,
    /// Whether the round is complete.
    pub done: bool,
    /// Where the scan for applications continues; `None` at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<ScanCursor>,
    /// How far it is in the current application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// How many messages were checked.
    pub seen: u64,
    /// How many tasks were queued again.
    pub repaired: u64,
}

/// A key of the config table after which a scan continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanCursor {
    pk: String,
    sk: String,
}

/// How far the auditor is in one application. While it is set, no application after [`Audit::at`]
/// was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// The application's key.
    pub application: ScanCursor,
    /// The index of the span, from 0.
    pub span: u8,
    /// The shard of the messages.
    pub shard: u16,
    /// The last message that was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<MessageId>,
}

/// An application that the scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub at: ScanCursor,
    /// Its organization.
    pub organization: OrganizationId,
    /// The application.
    pub application: Application,
}

impl Found {
    /// The application's address.
    pub fn key(&self) -> AppKey<'_> {
        AppKey::new(&self.organization, &self.application.id)
    }
}

fn audit_key() -> Key {
    Key::new("audit", "audit")
}

impl ScheduleTable {
    /// The last round; `None` before the first.
    pub async fn audit(&self) -> Result<Option<Audit>, StoreError> {
        let key = audit_key();
        let item = get(&self.client, &self.name, key, Consistency::Eventual).await?;
        item.map(entity).transpose()
    }

    /// Replaces the previous version of the round; a conflict means that another run is ahead.
    pub async fn set_audit(&self, audit: &Audit) -> Result<Written, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(audit_key().with(audit)?))
            .condition_expression("attribute_not_exists(pk) OR version = :seen")
            .expression_attribute_values(":seen", n(audit.version - 1));
        match put.send().await {
            Ok(_) => Ok(Written::Yes),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(Written::Conflict),
                _ => Err(StoreError::aws("PutItem")(error)),
            },
        }
    }
}

impl ConfigTable {
    /// Applications of all organizations, in the order of the table, and the cursor to continue
    /// from; `None` at the end. One eventually consistent Scan of at most 1 MB.
    pub async fn all_applications(
        &self,
        after: Option<&ScanCursor>,
    ) -> Result<(Vec<Found>, Option<ScanCursor>), StoreError> {
        let scan = self
            .client
            .scan()
            .table_name(&self.name)
            // `shards` rules out the pointer of an application whose uid is `app`: it has that sort
            // key too.
            .filter_expression("sk = :app AND attribute_exists(shards)")
            .expression_attribute_values(":app", s("app"))
            .limit(SCANNED)
            .set_exclusive_start_key(after.map(|at| Key::new(&at.pk, &at.sk).item()));
        let output = scan.send().await.map_err(StoreError::aws("Scan"))?;
        let found = output.items.unwrap_or_default().into_iter();
        let next = output
            .last_evaluated_key
            .as_ref()
            .map(scan_cursor)
            .transpose()?;
        // An unreadable application must not stop the audit of all others.
        let mut found: Vec<_> = found.filter_map(|item| found_in(item).ok()).collect();
        found.retain(|found| !found.application.deleted);
        Ok((found, next))
    }
}

fn found_in(item: Item) -> Result<Found, StoreError> {
    let at = scan_cursor(&item)?;
    let organization = at.pk.split('#').next().and_then(|id| id.parse().ok());
    Ok(Found {
        organization: organization.ok_or(StoreError::Attribute("pk"))?,
        at,
        application: entity(item)?,
    })
}

fn scan_cursor(key: &Item) -> Result<ScanCursor, StoreError> {
    let Key { pk, sk } = Key::of(key)?;
    Ok(ScanCursor { pk, sk })
}
