//! Types of query parameters.

use posthorn_domain::{
    name::{EventTypeName, NameError},
    timestamp::Timestamp,
};
use serde::Deserialize;

/// A point in time: RFC 3339.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Time(pub(crate) Timestamp);

impl TryFrom<String> for Time {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Timestamp::parse_rfc3339(&text)
            .map(Self)
            .ok_or("not an RFC 3339 date and time")
    }
}

/// Event types, separated by commas; the parameter may also be repeated. None means all.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct EventTypes(Vec<EventTypeName>);

impl EventTypes {
    pub(crate) fn admits(&self, name: &EventTypeName) -> bool {
        self.0.is_empty() || self.0.contains(name)
    }
}

impl TryFrom<String> for EventTypes {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let names = text.split(',').filter(|_| !text.is_empty());
        let names = names.map(|name| name.to_owned().try_into());
        names.collect::<Result<_, _>>().map(Self)
    }
}

/// A `MessageStatus` of the contract: 0 success, 1 pending, 2 fail, 3 sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub(crate) struct StatusFilter(pub(crate) u8);

impl TryFrom<u64> for StatusFilter {
    type Error = &'static str;

    fn try_from(status: u64) -> Result<Self, Self::Error> {
        match status {
            0..=3 => Ok(Self(status as u8)),
            _ => Err("must be 0 (success), 1 (pending), 2 (fail) or 3 (sending)"),
        }
    }
}

/// A `StatusCodeClass` of the contract: 0 without a response, 100 to 500.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
pub(crate) struct CodeClass(u16);

impl CodeClass {
    pub(crate) fn admits(self, status_code: u16) -> bool {
        status_code / 100 * 100 == self.0
    }
}

impl TryFrom<u64> for CodeClass {
    type Error = &'static str;

    fn try_from(class: u64) -> Result<Self, Self::Error> {
        match class {
            0 | 100 | 200 | 300 | 400 | 500 => Ok(Self(class as u16)),
            _ => Err("must be 0, 100, 200, 300, 400 or 500"),
        }
    }
}

/// For parameters that are on unless they are switched off.
pub(crate) fn yes() -> bool {
    true
}
