//! How an attempt is shown.

use posthorn_domain::{
    attempt::{Attempt, TriggerType},
    id::{AttemptId, EndpointId, MessageId},
    timestamp::{Timestamp, rfc3339},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::status::MessageStatus;

/// `MessageAttemptOut` of the contract.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttemptOut {
    id: AttemptId,
    msg_id: MessageId,
    endpoint_id: EndpointId,
    url: String,
    /// The response body, or why there is none.
    response: String,
    /// What is to be known of the body besides: that it was cut off, or its encoding. An addition to the
    /// contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_note: Option<String>,
    /// 0 without a response.
    response_status_code: u16,
    response_duration_ms: u64,
    /// 0 success, 2 fail: an attempt is shown when it ended.
    #[schema(maximum = 3)]
    status: u8,
    status_text: MessageStatus,
    /// 0 by the schedule, 1 by an operator's request.
    #[schema(value_type = u8, maximum = 1)]
    trigger_type: TriggerType,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

impl AttemptOut {
    pub(crate) fn id(&self) -> &AttemptId {
        &self.id
    }
}

impl MessageStatus {
    /// Of an attempt.
    pub(crate) fn of(attempt: &Attempt) -> Self {
        if attempt.is_success() {
            Self::Success
        } else {
            Self::Fail
        }
    }
}

pub(crate) fn show(
    endpoint: &EndpointId,
    message: &MessageId,
    attempt: Attempt,
    with_content: bool,
) -> AttemptOut {
    let status_text = MessageStatus::of(&attempt);
    let response = match with_content {
        true => attempt.response_shown(),
        false => String::new(),
    };
    AttemptOut {
        msg_id: message.clone(),
        endpoint_id: endpoint.clone(),
        response,
        response_note: attempt.response_note(),
        response_status_code: attempt.status_code,
        response_duration_ms: attempt.duration_ms,
        status: status_text.number(),
        status_text,
        trigger_type: attempt.trigger,
        timestamp: attempt.started_at,
        url: attempt.url,
        id: attempt.id,
    }
}
