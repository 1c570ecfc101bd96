//! The contract's bodies, as far as scenarios need them.

#![allow(missing_docs, reason = "the contract says what its fields mean")]

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a list is read.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// The most items of a page.
    pub limit: Option<i32>,
    /// Where the page starts.
    pub iterator: Option<String>,
}

/// How something is created.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// Requests with the same key create it only once.
    pub idempotency_key: Option<String>,
}

/// How a message is read.
#[derive(Clone, Debug, Default)]
pub struct MessageGetOptions {
    /// Whether to include its payload.
    pub with_content: Option<bool>,
}

/// One page of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    pub data: Vec<T>,
    pub done: bool,
    pub iterator: Option<String>,
    pub prev_iterator: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationIn {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

impl ApplicationIn {
    /// With the required fields.
    pub fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationOut {
    pub id: String,
    pub name: String,
    pub uid: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointIn {
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<HashMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl EndpointIn {
    /// With the required fields.
    pub fn new(url: String) -> Self {
        Self {
            url,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointOut {
    pub id: String,
    pub url: String,
    pub description: String,
    pub filter_types: Option<Vec<String>>,
    pub channels: Option<Vec<String>>,
    pub rate_limit: Option<u16>,
    pub metadata: HashMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSecretOut {
    pub key: String,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTypeIn {
    pub description: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
}

impl EventTypeIn {
    /// With the required fields.
    pub fn new(description: String, name: String) -> Self {
        Self {
            description,
            name,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTypeOut {
    pub name: String,
    pub description: String,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageIn {
    pub event_type: String,
    pub payload: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
}

impl MessageIn {
    /// With the required fields.
    pub fn new(event_type: String, payload: Value) -> Self {
        Self {
            event_type,
            payload,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageOut {
    pub id: String,
    pub event_type: String,
    pub payload: Value,
    pub timestamp: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageAttemptOut {
    pub id: String,
    pub endpoint_id: String,
    pub msg_id: String,
    pub url: String,
    pub status: MessageStatus,
    pub response: String,
    pub response_status_code: i16,
    pub response_duration_ms: i32,
    /// 0 by the schedule, 1 by hand.
    pub trigger_type: u8,
    pub timestamp: String,
}

/// The statuses, which the contract numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum MessageStatus {
    Success,
    Pending,
    Fail,
    Sending,
    Canceled,
}

impl TryFrom<u8> for MessageStatus {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        Ok(match number {
            0 => Self::Success,
            1 => Self::Pending,
            2 => Self::Fail,
            3 => Self::Sending,
            4 => Self::Canceled,
            _ => return Err(format!("no status {number}")),
        })
    }
}
