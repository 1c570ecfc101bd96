//! Settings from environment variables; an error names the variable.

use std::{fmt::Display, str::FromStr};

/// Why a setting could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// The variable's value is invalid.
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

/// A variable that must be set, parsed as a `T`.
pub fn parsed<T: FromStr<Err: Display>>(name: &'static str) -> Result<T, EnvError> {
    let invalid = |error: T::Err| EnvError::Invalid {
        name,
        reason: error.to_string(),
    };
    required(name)?.parse().map_err(invalid)
}

/// A comma-separated list; empty if the variable is not set.
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

/// Which URLs and addresses endpoints may have: from `ALLOW_HTTP_ENDPOINTS`, which the template
/// sets, and `ALLOW_SUBNETS`, which only the local stack sets.
pub fn address_policy() -> Result<posthorn_domain::address::Policy, EnvError> {
    Ok(posthorn_domain::address::Policy {
        allow_http: parsed("ALLOW_HTTP_ENDPOINTS")?,
        allow_subnets: list("ALLOW_SUBNETS")?,
    })
}
