//! Types of query parameters.

use std::collections::BTreeMap;

use posthorn_domain::{
    error::FieldError,
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
            .ok_or("must be an RFC 3339 date and time")
    }
}

/// The pairs of a query string by name. A list may come as `name=a,b`, `name=a&name=b`, `name[]=a` or
/// `name[0]=a`: all mean `a,b`.
///
/// # Errors
/// When a percent sign is not followed by two hexadecimal digits, or the bytes are not UTF-8.
pub(crate) fn pairs(query: &str) -> Result<BTreeMap<String, String>, FieldError> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let malformed = || FieldError::at("query", name, "has a malformed percent-encoding");
        let (name, value) = decode(name).zip(decode(value)).ok_or_else(malformed)?;
        let all = joined.entry(without_index(&name).to_owned());
        all.and_modify(|all| *all = format!("{all},{value}"))
            .or_insert(value);
    }
    Ok(joined)
}

/// The name of `name[]` and `name[0]`.
fn without_index(name: &str) -> &str {
    let parts = name
        .strip_suffix(']')
        .and_then(|name| name.rsplit_once('['));
    match parts {
        Some((name, index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => name,
    }
}

fn decode(text: &str) -> Option<String> {
    let is_encoded = text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !is_encoded {
        return None;
    }
    // Alone, without `&` and `=`, this is one name.
    let text = text.replace('=', "%3D");
    let decoded = form_urlencoded::parse(text.as_bytes()).next();
    let decoded = decoded
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default();
    (!decoded.contains(char::REPLACEMENT_CHARACTER)).then_some(decoded)
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
#[serde(try_from = "String")]
pub(crate) struct StatusFilter(pub(crate) u8);

impl TryFrom<String> for StatusFilter {
    type Error = &'static str;

    fn try_from(status: String) -> Result<Self, Self::Error> {
        match status.parse() {
            Ok(status @ 0..=3) => Ok(Self(status)),
            _ => Err("must be 0 (success), 1 (pending), 2 (fail) or 3 (sending)"),
        }
    }
}

/// A `StatusCodeClass` of the contract: 0 without a response, 100 to 500.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct CodeClass(u16);

impl CodeClass {
    pub(crate) fn admits(self, status_code: u16) -> bool {
        status_code / 100 * 100 == self.0
    }
}

impl TryFrom<String> for CodeClass {
    type Error = &'static str;

    fn try_from(class: String) -> Result<Self, Self::Error> {
        match class.parse() {
            Ok(class @ (0 | 100 | 200 | 300 | 400 | 500)) => Ok(Self(class)),
            _ => Err("must be 0, 100, 200, 300, 400 or 500"),
        }
    }
}

/// A switch of the contract that cannot be switched on here: some clients send `false`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct NotTrue;

impl TryFrom<String> for NotTrue {
    type Error = &'static str;

    fn try_from(switch: String) -> Result<Self, Self::Error> {
        match &*switch {
            "false" => Ok(Self),
            "true" => Err("is not supported"),
            _ => Err("must be true or false"),
        }
    }
}

/// For parameters that are on unless they are switched off.
pub(crate) fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_be_written_in_every_way_that_clients_do() {
        for query in [
            "event_types=a.b,c",
            "event_types=a.b&event_types=c",
            "event_types[]=a.b&event_types[]=c",
            "event_types%5B%5D=a.b&event_types%5B%5D=c",
            "event_types[0]=a.b&event_types[1]=c",
            "&event_types=a%2eb%2Cc&",
        ] {
            let found = pairs(query).unwrap();
            assert_eq!(found.len(), 1, "{query}");
            assert_eq!(found["event_types"], "a.b,c", "{query}");
        }
        let found = pairs("a=x+y%3Dz=&b&c[d]=1").unwrap();
        assert_eq!((&*found["a"], &*found["b"]), ("x y=z=", ""));
        assert_eq!(found["c[d]"], "1");
    }

    #[test]
    fn a_malformed_percent_encoding_is_refused_by_name() {
        for value in ["%", "%4", "%zz", "a%2", "%+1", "%ff", "%é"] {
            let error = pairs(&format!("tag={value}")).unwrap_err();
            assert_eq!(error.loc, ["query", "tag"], "{value}");
        }
    }
}
