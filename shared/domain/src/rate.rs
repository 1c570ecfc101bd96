//! Rates: how much a second.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Requests or messages a second: 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i64", into = "u16")]
#[schema(value_type = u16, minimum = 1, maximum = 65535)]
pub struct Rate(u16);

impl Rate {
    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    /// A rate that was checked when it was stored.
    pub(crate) fn stored(rate: u16) -> Self {
        Self(rate.max(1))
    }
}

impl TryFrom<i64> for Rate {
    type Error = &'static str;

    fn try_from(rate: i64) -> Result<Self, Self::Error> {
        match u16::try_from(rate) {
            Ok(rate @ 1..) => Ok(Self(rate)),
            _ => Err("must be from 1 to 65535"),
        }
    }
}

impl From<Rate> for u16 {
    fn from(rate: Rate) -> Self {
        rate.0
    }
}
