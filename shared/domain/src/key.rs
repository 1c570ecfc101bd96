//! Addresses: a key is the full address of one thing, passed as one value.
//!
//! Keys are borrowed and `Copy`, and lead from one to the next: [`AppKey`] → [`EndpointKey`], and
//! [`LogKey`] → [`MessageKey`] → [`DeliveryKey`].

use crate::{
    id::{ApplicationId, EndpointId, MessageId, OrganizationId},
    shard::shard_of,
};

/// An application of an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppKey<'a> {
    /// Its organization.
    pub organization: &'a OrganizationId,
    /// Its id.
    pub application: &'a ApplicationId,
}

impl<'a> AppKey<'a> {
    /// The application with this id in an organization.
    pub fn new(organization: &'a OrganizationId, application: &'a ApplicationId) -> Self {
        Self {
            organization,
            application,
        }
    }

    /// One of its endpoints.
    pub fn endpoint(self, id: &'a EndpointId) -> EndpointKey<'a> {
        EndpointKey { app: self, id }
    }

    /// Whether it is the organization's built-in application
    /// ([`crate::application::Application::operational`]).
    pub fn is_operational(self) -> bool {
        *self.application == ApplicationId::operational(self.organization)
    }
}

/// An endpoint of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey<'a> {
    /// Its application.
    pub app: AppKey<'a>,
    /// Its id.
    pub id: &'a EndpointId,
}

impl EndpointKey<'_> {
    /// The text that the endpoint's envelope is bound to: `organization|application|endpoint`.
    /// Changing it would make every sealed secret unreadable.
    pub fn envelope_owner(self) -> String {
        let AppKey {
            organization,
            application,
        } = self.app;
        format!("{organization}|{application}|{}", self.id)
    }
}

/// The messages of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogKey<'a> {
    /// The application.
    pub application: &'a ApplicationId,
    /// The number of shards that its messages are spread over.
    pub shards: u16,
}

impl<'a> LogKey<'a> {
    /// One of the messages.
    pub fn message(self, id: &'a MessageId) -> MessageKey<'a> {
        MessageKey { log: self, id }
    }
}

/// A message of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageKey<'a> {
    /// The messages that it is one of.
    pub log: LogKey<'a>,
    /// Its id.
    pub id: &'a MessageId,
}

impl<'a> MessageKey<'a> {
    /// Its shard, from 0 to `shards - 1`.
    pub fn shard(self) -> u16 {
        shard_of(self.id, self.log.shards)
    }

    /// Its delivery to an endpoint of its application.
    pub fn to(self, endpoint: &'a EndpointId) -> DeliveryKey<'a> {
        DeliveryKey {
            endpoint,
            message: self.id,
            shards: self.log.shards,
        }
    }
}

/// The delivery of a message to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryKey<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointId,
    /// The message.
    pub message: &'a MessageId,
    /// The number of shards that the application's messages are spread over.
    pub shards: u16,
}

impl DeliveryKey<'_> {
    /// The message's shard, from 0 to `shards - 1`.
    pub fn shard(self) -> u16 {
        shard_of(self.message, self.shards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn an_envelopes_owner_stays_the_same() {
        let organization: OrganizationId = "org_2KWPBgLlAfxdpx2AI54pPJ85f4W".parse().unwrap();
        let application: ApplicationId = "app_2KWPBgLlAfxdpx2AI54pPJ85f4W".parse().unwrap();
        let endpoint: EndpointId = "ep_2KWPBgLlAfxdpx2AI54pPJ85f4W".parse().unwrap();
        let app = AppKey::new(&organization, &application);
        assert_eq!(
            app.endpoint(&endpoint).envelope_owner(),
            "org_2KWPBgLlAfxdpx2AI54pPJ85f4W|app_2KWPBgLlAfxdpx2AI54pPJ85f4W|ep_2KWPBgLlAfxdpx2AI54pPJ85f4W",
            "another text would lock every secret"
        );
        assert!(
            app.is_operational(),
            "its id follows from the organization's"
        );
    }

    #[test]
    fn a_delivery_is_in_its_messages_shard() {
        let (application, endpoint) = (
            ApplicationId::new(NOW, [1; 15]),
            EndpointId::new(NOW, [2; 15]),
        );
        let log = LogKey {
            application: &application,
            shards: 4,
        };
        for n in 0..20 {
            let id = MessageId::new(NOW, [n; 15]);
            let message = log.message(&id);
            assert_eq!(message.shard(), shard_of(&id, 4));
            assert_eq!(message.to(&endpoint).shard(), message.shard());
        }
    }
}
