//! Which endpoints a message reaches.

use crate::{
    endpoint::Endpoint,
    message::{Destination, MessageChannels, SkipReason},
    name::EventTypeName,
};

/// Whether an endpoint listens to an event type on these channels.
///
/// An endpoint without channels gets all messages. One with channels only gets messages that share
/// a channel with it, and none without channels.
pub fn matches(
    endpoint: &Endpoint,
    event_type: &EventTypeName,
    channels: Option<&MessageChannels>,
) -> bool {
    let wanted_type = endpoint
        .event_types
        .as_ref()
        .is_none_or(|types| types.contains(event_type));
    let wanted_channel = endpoint.channels.as_ref().is_none_or(|wanted| {
        channels.is_some_and(|sent| sent.iter().any(|channel| wanted.contains(channel)))
    });
    wanted_type && wanted_channel
}

/// The destinations of a message among an application's endpoints.
pub fn destinations(
    endpoints: &[Endpoint],
    event_type: &EventTypeName,
    channels: Option<&MessageChannels>,
) -> Vec<Destination> {
    endpoints
        .iter()
        .filter(|endpoint| matches(endpoint, event_type, channels))
        .map(|endpoint| Destination {
            endpoint: endpoint.id.clone(),
            skipped: endpoint.disabled.then_some(SkipReason::Disabled),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(event_types: &[&str], channels: &[&str]) -> Endpoint {
        let list = |items: &[&str]| (!items.is_empty()).then(|| serde_json::json!(items));
        Endpoint {
            event_types: list(event_types).map(|v| serde_json::from_value(v).unwrap()),
            channels: list(channels).map(|v| serde_json::from_value(v).unwrap()),
            ..crate::endpoint::tests::endpoint()
        }
    }

    fn reaches(endpoint: &Endpoint, event_type: &str, channels: &[&str]) -> bool {
        let event_type = event_type.to_owned().try_into().unwrap();
        let channels: Option<MessageChannels> = (!channels.is_empty())
            .then(|| serde_json::from_value(serde_json::json!(channels)).unwrap());
        matches(endpoint, &event_type, channels.as_ref())
    }

    #[test]
    fn event_types_filter() {
        assert!(reaches(&endpoint(&[], &[]), "a", &[]));
        assert!(reaches(&endpoint(&["a", "b"], &[]), "b", &[]));
        assert!(!reaches(&endpoint(&["a", "b"], &[]), "c", &[]));
    }

    #[test]
    fn channels_need_an_overlap() {
        assert!(reaches(&endpoint(&[], &[]), "a", &["x"]));
        assert!(reaches(&endpoint(&[], &["x", "y"]), "a", &["y", "z"]));
        assert!(!reaches(&endpoint(&[], &["x"]), "a", &["y"]));
        assert!(
            !reaches(&endpoint(&[], &["x"]), "a", &[]),
            "a message without channels"
        );
    }

    #[test]
    fn a_disabled_endpoint_is_a_visible_skip() {
        let disabled = Endpoint {
            disabled: true,
            ..endpoint(&[], &[])
        };
        let event_type = "a".to_owned().try_into().unwrap();
        let found = destinations(&[disabled], &event_type, None);
        assert_eq!(found[0].skipped, Some(SkipReason::Disabled));
    }
}
