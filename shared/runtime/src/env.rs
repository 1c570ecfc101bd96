//! Settings from environment variables; an error names the variable.

use std::{fmt::Display, str::FromStr};

/// A setting is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// The variable's value cannot be used.
    #[error("the environment variable {name} is invalid: {reason}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
}

/// A variable that must be set.
pub fn required(name: &'static str) -> Result<String, EnvError> {
    std::env::var(name).map_err(|_| EnvError::Missing(name))
}

/// A variable that must be set to a value of a type.
pub fn parsed<T: FromStr<Err: Display>>(name: &'static str) -> Result<T, EnvError> {
    let invalid = |error: T::Err| EnvError::Invalid {
        name,
        reason: error.to_string(),
    };
    required(name)?.parse().map_err(invalid)
}

/// A list, separated by commas; not set means empty.
///
/// # Errors
/// [`EnvError::Invalid`].
pub fn list<T: FromStr<Err: Display>>(name: &'static str) -> Result<Vec<T>, EnvError> {
    let text = std::env::var(name).unwrap_or_default();
    let invalid = |error: T::Err| EnvError::Invalid {
        name,
        reason: error.to_string(),
    };
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(invalid)).collect()
}

/// Which URLs and addresses endpoints may have: `ALLOW_HTTP_ENDPOINTS` from the template, and
/// `ALLOW_SUBNETS`, which the template cannot set and the local stack does.
pub fn address_policy() -> Result<posthorn_domain::address::Policy, EnvError> {
    Ok(posthorn_domain::address::Policy {
        allow_http: parsed("ALLOW_HTTP_ENDPOINTS")?,
        allow_subnets: list("ALLOW_SUBNETS")?,
    })
}
