//! Values and names as text.

use serde_json::Value;

/// A value as text, for environments and queue attributes.
pub(super) fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The resource's name from an ARN, a URL or the name itself.
pub(crate) fn last_part(resource: &str) -> String {
    resource
        .rsplit([':', '/'])
        .next()
        .unwrap_or_default()
        .to_owned()
}
