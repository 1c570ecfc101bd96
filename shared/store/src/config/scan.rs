//! Applications of all organizations, for the auditor.

use posthorn_domain::{application::Application, id::OrganizationId, key::AppKey};
use serde::{Deserialize, Serialize};

use crate::{
    StoreError,
    dynamo::{Item, Key, Table, entity, s},
};

/// The most items of the config table that one Scan reads to find applications.
const SCANNED: i32 = 1000;

/// Applications of all organizations.
#[derive(Clone, Debug)]
pub struct ApplicationScan(pub(super) Table);

/// A key of the config table after which a scan continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanCursor {
    pk: String,
    sk: String,
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

impl ApplicationScan {
    /// Applications of all organizations, in the order of the table, and the cursor to continue
    /// from; `None` at the end. One eventually consistent Scan of at most 1 MB.
    pub async fn page(
        &self,
        after: Option<&ScanCursor>,
    ) -> Result<(Vec<Found>, Option<ScanCursor>), StoreError> {
        let scan = self
            .0
            .client
            .scan()
            .table_name(&self.0.name)
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
