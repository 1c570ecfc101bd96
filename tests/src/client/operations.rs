//! The operations, grouped by resource.

use reqwest::Method;

use super::{
    ApplicationIn, ApplicationOut, Client, CreateOptions, EndpointIn, EndpointOut,
    EndpointSecretOut, EventTypeIn, EventTypeOut, ListOptions, MessageAttemptOut,
    MessageGetOptions, MessageIn, MessageOut, Page, Result, with_json,
};

/// The operations on applications.
#[derive(Debug)]
pub struct Applications<'a>(pub(super) &'a Client);

impl Applications<'_> {
    /// `POST app`.
    pub async fn create(
        &self,
        application: ApplicationIn,
        options: Option<CreateOptions>,
    ) -> Result<ApplicationOut> {
        self.0.create("app", &application, options).await
    }

    /// `POST app`, or the one that has the uid.
    pub async fn get_or_create(
        &self,
        application: ApplicationIn,
        options: Option<CreateOptions>,
    ) -> Result<ApplicationOut> {
        let path = "app?get_if_exists=true";
        self.0.create(path, &application, options).await
    }

    /// `GET app/{id}`.
    pub async fn get(&self, id: String) -> Result<ApplicationOut> {
        self.0.get(&format!("app/{id}")).await
    }

    /// `GET app`.
    pub async fn list(&self, options: Option<ListOptions>) -> Result<Page<ApplicationOut>> {
        self.0.list("app", options).await
    }

    /// `PUT app/{id}`.
    pub async fn update(&self, id: String, application: ApplicationIn) -> Result<ApplicationOut> {
        let path = format!("app/{id}");
        let request = self.0.request(Method::PUT, &path);
        self.0.answer(with_json(request, &application)).await
    }

    /// `DELETE app/{id}`.
    pub async fn delete(&self, id: String) -> Result<()> {
        self.0.delete(&format!("app/{id}")).await
    }
}

/// The operations on endpoints.
#[derive(Debug)]
pub struct Endpoints<'a>(pub(super) &'a Client);

impl Endpoints<'_> {
    /// `POST app/{app}/endpoint`.
    pub async fn create(
        &self,
        app: String,
        endpoint: EndpointIn,
        options: Option<CreateOptions>,
    ) -> Result<EndpointOut> {
        let path = format!("app/{app}/endpoint");
        self.0.create(&path, &endpoint, options).await
    }

    /// `GET app/{app}/endpoint/{id}`.
    pub async fn get(&self, app: String, id: String) -> Result<EndpointOut> {
        self.0.get(&format!("app/{app}/endpoint/{id}")).await
    }

    /// `GET app/{app}/endpoint`.
    pub async fn list(
        &self,
        app: String,
        options: Option<ListOptions>,
    ) -> Result<Page<EndpointOut>> {
        self.0.list(&format!("app/{app}/endpoint"), options).await
    }

    /// `DELETE app/{app}/endpoint/{id}`.
    pub async fn delete(&self, app: String, id: String) -> Result<()> {
        self.0.delete(&format!("app/{app}/endpoint/{id}")).await
    }

    /// `GET app/{app}/endpoint/{id}/secret`.
    pub async fn get_secret(&self, app: String, id: String) -> Result<EndpointSecretOut> {
        self.0.get(&format!("app/{app}/endpoint/{id}/secret")).await
    }
}

/// The operations on event types.
#[derive(Debug)]
pub struct EventTypes<'a>(pub(super) &'a Client);

impl EventTypes<'_> {
    /// `POST event-type`.
    pub async fn create(
        &self,
        event_type: EventTypeIn,
        options: Option<CreateOptions>,
    ) -> Result<EventTypeOut> {
        self.0.create("event-type", &event_type, options).await
    }

    /// `GET event-type/{name}`.
    pub async fn get(&self, name: String) -> Result<EventTypeOut> {
        self.0.get(&format!("event-type/{name}")).await
    }

    /// `GET event-type`.
    pub async fn list(&self, options: Option<ListOptions>) -> Result<Page<EventTypeOut>> {
        self.0.list("event-type", options).await
    }
}

/// The operations on messages.
#[derive(Debug)]
pub struct Messages<'a>(pub(super) &'a Client);

impl Messages<'_> {
    /// `POST app/{app}/msg`.
    pub async fn create(
        &self,
        app: String,
        message: MessageIn,
        options: Option<CreateOptions>,
    ) -> Result<MessageOut> {
        let path = format!("app/{app}/msg");
        self.0.create(&path, &message, options).await
    }

    /// `GET app/{app}/msg/{id}`.
    pub async fn get(
        &self,
        app: String,
        id: String,
        options: Option<MessageGetOptions>,
    ) -> Result<MessageOut> {
        let with_content = options.and_then(|options| options.with_content);
        let with_content = with_content.unwrap_or(true);
        let path = format!("app/{app}/msg/{id}?with_content={with_content}");
        self.0.get(&path).await
    }

    /// `GET app/{app}/msg`.
    pub async fn list(
        &self,
        app: String,
        options: Option<ListOptions>,
    ) -> Result<Page<MessageOut>> {
        self.0.list(&format!("app/{app}/msg"), options).await
    }
}

/// The operations on attempts.
#[derive(Debug)]
pub struct Attempts<'a>(pub(super) &'a Client);

impl Attempts<'_> {
    /// `GET app/{app}/attempt/endpoint/{endpoint}`.
    pub async fn list_by_endpoint(
        &self,
        app: String,
        endpoint: String,
        options: Option<ListOptions>,
    ) -> Result<Page<MessageAttemptOut>> {
        let path = format!("app/{app}/attempt/endpoint/{endpoint}");
        self.0.list(&path, options).await
    }

    /// `GET app/{app}/attempt/msg/{message}`.
    pub async fn list_by_msg(
        &self,
        app: String,
        message: String,
        options: Option<ListOptions>,
    ) -> Result<Page<MessageAttemptOut>> {
        let path = format!("app/{app}/attempt/msg/{message}");
        self.0.list(&path, options).await
    }
}
