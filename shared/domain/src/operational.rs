//! Operational events: notifications for operators about endpoints and deliveries.
//!
//! They are messages of the organization's built-in application
//! ([`crate::application::Application::operational`]), so they are filtered, signed, retried and
//! listed like any other. Names and fields are those of the contract's webhooks.

use serde::Serialize;

use crate::{
    application::Application,
    attempt::Attempt,
    delivery::Notice,
    endpoint::Endpoint,
    id::{AttemptId, EndpointId, MessageId},
    message::Message,
    name::{EventId, Uid},
    timestamp::{Timestamp, rfc3339},
};

/// The event types that endpoints of the built-in application may filter on.
pub const EVENT_TYPES: [&str; 7] = [
    "endpoint.created",
    "endpoint.updated",
    "endpoint.deleted",
    "endpoint.disabled",
    "message.attempt.failing",
    "message.attempt.exhausted",
    "message.attempt.recovered",
];

/// An event, serialized as its message's payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "data")]
pub enum OperationalEvent {
    /// An endpoint was created.
    #[serde(rename = "endpoint.created")]
    EndpointCreated(EndpointData),
    /// An endpoint was changed.
    #[serde(rename = "endpoint.updated")]
    EndpointUpdated(EndpointData),
    /// An endpoint was deleted.
    #[serde(rename = "endpoint.deleted")]
    EndpointDeleted(EndpointData),
    /// An endpoint was disabled because it kept failing or was gone (410).
    #[serde(rename = "endpoint.disabled")]
    EndpointDisabled(EndpointData),
    /// A message failed a few times and will be retried.
    #[serde(rename = "message.attempt.failing")]
    AttemptFailing(AttemptData),
    /// A message failed and will not be retried.
    #[serde(rename = "message.attempt.exhausted")]
    AttemptExhausted(AttemptData),
    /// A message succeeded after one of the above.
    #[serde(rename = "message.attempt.recovered")]
    AttemptRecovered(AttemptData),
}

/// The endpoint of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointData {
    app_id: String,
    app_uid: Option<Uid>,
    endpoint_id: EndpointId,
    endpoint_uid: Option<Uid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fail_since: Option<String>,
}

/// The message and the endpoint of an event, and the last attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptData {
    app_id: String,
    app_uid: Option<Uid>,
    endpoint_id: EndpointId,
    msg_id: MessageId,
    msg_event_id: Option<EventId>,
    last_attempt: LastAttempt,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct LastAttempt {
    id: AttemptId,
    response_status_code: u16,
    #[serde(with = "rfc3339")]
    timestamp: Timestamp,
}

impl EndpointData {
    /// An endpoint of an application.
    pub fn new(application: &Application, endpoint: &Endpoint) -> Self {
        Self {
            app_id: application.id.to_string(),
            app_uid: application.uid.clone(),
            endpoint_id: endpoint.id.clone(),
            endpoint_uid: endpoint.uid.clone(),
            fail_since: None,
        }
    }

    /// Adds since when it failed, for [`OperationalEvent::EndpointDisabled`].
    pub fn failing_since(self, since: Timestamp) -> Self {
        Self {
            fail_since: Some(since.to_rfc3339()),
            ..self
        }
    }
}

impl OperationalEvent {
    /// The event for a delivery's notice.
    pub fn of_delivery(
        notice: Notice,
        application: &Application,
        endpoint: &EndpointId,
        message: &Message,
        last: &Attempt,
    ) -> Self {
        let data = AttemptData {
            app_id: application.id.to_string(),
            app_uid: application.uid.clone(),
            endpoint_id: endpoint.clone(),
            msg_id: message.id.clone(),
            msg_event_id: message.event_id.clone(),
            last_attempt: LastAttempt {
                id: last.id.clone(),
                response_status_code: last.status_code,
                timestamp: last.started_at,
            },
        };
        match notice {
            Notice::Failing => Self::AttemptFailing(data),
            Notice::Exhausted => Self::AttemptExhausted(data),
            Notice::Recovered => Self::AttemptRecovered(data),
        }
    }

    /// Its event type.
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::EndpointCreated(_) => EVENT_TYPES[0],
            Self::EndpointUpdated(_) => EVENT_TYPES[1],
            Self::EndpointDeleted(_) => EVENT_TYPES[2],
            Self::EndpointDisabled(_) => EVENT_TYPES[3],
            Self::AttemptFailing(_) => EVENT_TYPES[4],
            Self::AttemptExhausted(_) => EVENT_TYPES[5],
            Self::AttemptRecovered(_) => EVENT_TYPES[6],
        }
    }

    /// The id of its message: when a repeated task causes the same event again, it is the same
    /// message.
    pub fn message_id(&self, at: Timestamp, cause: &str) -> MessageId {
        MessageId::caused_by(&format!("{}\n{cause}", self.event_type()), at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        endpoint::tests::{NOW, endpoint},
        id::OrganizationId,
    };

    #[test]
    fn the_payload_has_the_contracts_shape() {
        let application = Application::operational(&OrganizationId::new(NOW, [1; 15]));
        let data = EndpointData::new(&application, &endpoint());
        let event = OperationalEvent::EndpointDisabled(data.failing_since(NOW));
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["type"], event.event_type());
        assert_eq!(json["data"]["appId"], application.id.as_str());
        assert_eq!(json["data"]["endpointUid"], serde_json::Value::Null);
        assert_eq!(json["data"]["failSince"], "2023-11-14T22:13:20Z");
    }

    #[test]
    fn a_repeated_event_is_the_same_message() {
        let application = Application::operational(&OrganizationId::new(NOW, [1; 15]));
        let data = EndpointData::new(&application, &endpoint());
        let event = OperationalEvent::EndpointCreated(data.clone());
        assert_eq!(event.message_id(NOW, "a"), event.message_id(NOW, "a"));
        assert_ne!(event.message_id(NOW, "a"), event.message_id(NOW, "b"));
        let other = OperationalEvent::EndpointDeleted(data);
        assert_ne!(event.message_id(NOW, "a"), other.message_id(NOW, "a"));
    }
}
