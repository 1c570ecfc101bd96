//! Metadata: customers' own notes on an application or an endpoint.

use std::collections::BTreeMap;

use serde::{Deserializer, de::Error};

use crate::change::{Change, null_as_empty};

/// The most bytes of metadata as JSON, from the contract's server.
pub const MAX_METADATA_BYTES: usize = 4096;

/// Reads metadata; null counts as empty.
///
/// # Errors
/// When it is longer than [`MAX_METADATA_BYTES`], or a value is not a string.
pub fn read<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let metadata: BTreeMap<String, String> = null_as_empty(from)?;
    let bytes = serde_json::to_string(&metadata).map_or(0, |text| text.len());
    if bytes > MAX_METADATA_BYTES {
        let rule = format!("must have at most {MAX_METADATA_BYTES} bytes as JSON");
        return Err(D::Error::custom(rule));
    }
    Ok(metadata)
}

/// The same for a PATCH.
///
/// # Errors
/// As [`read`].
pub fn read_change<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Change<BTreeMap<String, String>>, D::Error> {
    read(from).map(Change::Set)
}
