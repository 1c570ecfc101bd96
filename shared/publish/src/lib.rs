//! Publishing: store a message and queue one task per destination.
//!
//! Ingest publishes what producers post, the api function publishes examples, and all functions
//! publish operational events ([`posthorn_domain::operational`]) to the organization's built-in
//! application.

use std::collections::HashMap;

use posthorn_domain::{
    application::Application,
    endpoint::Endpoint,
    filter::destinations,
    id::{EndpointId, OrganizationId},
    key::AppKey,
    message::{Message, RetentionDays},
    operational::OperationalEvent,
    payload::Payload,
    timestamp::Timestamp,
    trace::TraceParent,
};
use posthorn_queue::{DeliveriesQueue, QueueError, Task};
use posthorn_store::{Applications, Messages, Put, StoreError};

/// Stores messages and queues their tasks.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// The built-in application and its endpoints.
    pub applications: Applications,
    /// Messages.
    pub messages: Messages,
    /// Tasks.
    pub queue: DeliveriesQueue,
}

/// Why a message was not published, or not to all of its destinations.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its tasks could not be queued.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// An event could not be serialized as JSON.
    #[error("an event could not be serialized: {0}")]
    Event(#[from] serde_json::Error),
}

/// An application with its endpoints: where messages go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The organization of the application.
    pub organization: OrganizationId,
    /// The application.
    pub application: Application,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A stored message, and the tasks to queue for it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The message, as it is stored.
    pub message: Message,
    /// One for each destination that is not skipped.
    pub tasks: Vec<Task>,
}

impl Publisher {
    /// Stores a message and queues its tasks. If an earlier try stored a message with that id, it
    /// stays as it is, and its tasks are queued again. `trace` is the span that publishes it.
    ///
    /// # Errors
    /// When a step fails; repeating the call completes the rest.
    pub async fn publish(
        &self,
        target: &Target,
        message: Message,
        trace: Option<TraceParent>,
    ) -> Result<Message, PublishError> {
        let Stored { message, tasks } = self.store(target, message, trace).await?;
        self.queue.send_all(&tasks).await?;
        Ok(message)
    }

    /// The first half of [`Self::publish`]: stores the message and returns the tasks to queue.
    pub async fn store(
        &self,
        target: &Target,
        message: Message,
        trace: Option<TraceParent>,
    ) -> Result<Stored, StoreError> {
        let message = match self
            .messages
            .put(target.application.log(), &message)
            .await?
        {
            Put::New => message,
            Put::Existed(stored) => *stored,
        };
        let mut tasks = tasks(target, &message);
        for task in &mut tasks {
            task.trace = trace;
        }
        Ok(Stored { message, tasks })
    }

    /// Notifies operators of an event. `cause` and `at` identify it: the same event again is the
    /// same message. Costs one Query when nobody has subscribed.
    pub async fn notify_operators(
        &self,
        organization: &OrganizationId,
        event: &OperationalEvent,
        at: Timestamp,
        cause: &str,
    ) -> Result<(), PublishError> {
        let id = Application::operational(organization).id;
        let app = AppKey::new(organization, &id);
        let Some((application, endpoints)) = self.applications.with_endpoints(app).await? else {
            return Ok(());
        };
        let Ok(event_type) = event.event_type().to_owned().try_into() else {
            return Ok(());
        };
        let destinations = destinations(&endpoints, &event_type, None);
        if destinations.is_empty() {
            return Ok(());
        }
        let message = Message {
            id: event.message_id(at, cause),
            destinations,
            event_type,
            event_id: None,
            channels: None,
            tags: None,
            payload: Some(Payload::raw(serde_json::to_string(event)?, None)),
            created_at: at,
            expires_at: RetentionDays::default().end(at),
        };
        let target = Target {
            organization: organization.clone(),
            application,
            endpoints,
        };
        self.publish(&target, message, None).await?;
        Ok(())
    }
}

/// One task for each destination that is not skipped.
fn tasks(target: &Target, message: &Message) -> Vec<Task> {
    let Target {
        organization,
        application,
        endpoints,
    } = target;
    let endpoints: HashMap<&EndpointId, &Endpoint> = endpoints
        .iter()
        .map(|endpoint| (&endpoint.id, endpoint))
        .collect();
    let wanted = message
        .destinations
        .iter()
        .filter(|destination| destination.skipped.is_none());
    // An endpoint that was deleted after an earlier try stored the message gets nothing.
    wanted
        .filter_map(|destination| endpoints.get(&destination.endpoint))
        .map(|endpoint| task(organization, application, endpoint, message))
        .collect()
}

/// The task of a message's first attempt at an endpoint. Small payloads travel along.
pub fn task(
    organization: &OrganizationId,
    application: &Application,
    endpoint: &Endpoint,
    message: &Message,
) -> Task {
    let task = Task {
        organization: organization.clone(),
        application: application.id.clone(),
        endpoint: endpoint.id.clone(),
        revision: endpoint.revision,
        message: message.id.clone(),
        event_type: message.event_type.clone(),
        shards: application.shards,
        attempt: 0,
        expires_at: message.expires_at,
        manual: None,
        hops: 0,
        slot: None,
        trace: None,
        payload: None,
        lane: endpoint.health.lane(),
    };
    match &message.payload {
        Some(payload) => task.with_payload(payload),
        None => task,
    }
}
