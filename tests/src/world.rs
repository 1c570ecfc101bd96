//! A stack with an organization, a token and clients.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::config::{Credentials, Region};
use posthorn_local::{Stack, StackOptions, aws::Aws};
use posthorn_queue::DeliveriesQueue;
use posthorn_store::{ConfigTable, Deliveries, Guards, Messages, MessagesTable, ScheduleTable};
use serde_json::{Value, json};

use crate::{
    FaultyAws, Receiver,
    client::{ApplicationIn, ApplicationOut, Client, EndpointIn, EndpointOut, MessageAttemptOut},
    until,
};

/// A running stack in memory.
pub struct World {
    /// The stack.
    pub stack: Stack,
    /// The organization that the clients belong to.
    pub organization: String,
    /// Its token.
    pub token: String,
    /// A client whose operations are named as in the official clients.
    pub svix: Client,
    http: reqwest::Client,
}

/// A response to a plain HTTP request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The JSON body; null when there is none.
    pub body: Value,
}

impl World {
    /// A stack as the template describes it.
    pub async fn start() -> Self {
        Self::with_parameters([]).await
    }

    /// A stack with values for the template's parameters.
    pub async fn with_parameters<const N: usize>(parameters: [(&str, &str); N]) -> Self {
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self::with_options(StackOptions {
            parameters: BTreeMap::from(parameters),
            ..StackOptions::default()
        })
        .await
    }

    /// A stack with other options.
    pub async fn with_options(options: StackOptions) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::of(Stack::start(options).await.unwrap()).await
    }

    /// A stack whose functions reach AWS through faulty proxies.
    pub async fn with_options_through(options: StackOptions, faults: &FaultyAws) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = StackOptions {
            environment: faults.environment(),
            ..options
        };
        let stack = Stack::start(options).await.unwrap();
        // Creating the first token calls AWS.
        faults.connect(stack.aws());
        Self::of(stack).await
    }

    async fn of(stack: Stack) -> Self {
        let minted = until("a token", || async {
            let event = json!({ "mint": {} });
            stack.invoke("ApiFunction", &event).await.ok()
        })
        .await;
        let text = |field: &str| minted[field].as_str().unwrap().to_owned();
        let (organization, token) = (text("organization"), text("token"));
        let svix = Client::new(stack.api_url(), &token);
        Self {
            stack,
            organization,
            token,
            svix,
            http: reqwest::Client::new(),
        }
    }

    /// The client with another token.
    pub fn client_with(&self, token: &str) -> Client {
        Client::new(self.stack.api_url(), token)
    }

    /// Creates a token.
    pub async fn mint(&self, request: Value) -> String {
        let minted = self
            .stack
            .invoke("ApiFunction", &json!({ "mint": request }))
            .await
            .unwrap();
        minted["token"].as_str().unwrap().to_owned()
    }

    /// Creates an application.
    pub async fn application(&self) -> ApplicationOut {
        self.svix
            .application()
            .create(ApplicationIn::new("Acme".to_owned()), None)
            .await
            .unwrap()
    }

    /// Creates an endpoint that gets all messages.
    pub async fn endpoint(&self, application: &ApplicationOut, receiver: &Receiver) -> EndpointOut {
        let endpoint = EndpointIn::new(receiver.url().to_owned());
        self.svix
            .endpoint()
            .create(application.id.clone(), endpoint, None)
            .await
            .unwrap()
    }

    /// An endpoint's secret.
    pub async fn secret(&self, application: &ApplicationOut, endpoint: &EndpointOut) -> String {
        let secret = self
            .svix
            .endpoint()
            .get_secret(application.id.clone(), endpoint.id.clone())
            .await;
        secret.unwrap().key
    }

    /// Posts a message as text, without an idempotency key; returns its id.
    pub async fn send(&self, application: &str, body: &str) -> String {
        let answer = self
            .post(&format!("/api/v1/app/{application}/msg"), body, &[])
            .await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// A plain POST with the token.
    pub async fn post(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("POST", path, Some(body), headers, Some(&self.token))
            .await
    }

    /// A plain GET with the token.
    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, None, &[], Some(&self.token))
            .await
    }

    /// A plain request with the token and, optionally, a JSON body.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string());
        self.request(method, path, body.as_deref(), &[], Some(&self.token))
            .await
    }

    /// The same, but the response must be a success; returns its body.
    ///
    /// # Panics
    /// When it is not a success.
    pub async fn expect(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let answer = self.call(method, path, body).await;
        assert!(
            (200..300).contains(&answer.status),
            "{method} {path}: {answer:?}"
        );
        answer.body
    }

    /// All items of a list, read page by page, and the number of pages.
    ///
    /// # Panics
    /// When a page is not a list, or there are too many pages.
    pub async fn pages(&self, path: &str, limit: usize) -> (Vec<Value>, usize) {
        let (mut items, mut iterator) = (Vec::new(), String::new());
        let and = if path.contains('?') { '&' } else { '?' };
        for page in 1..=1000 {
            let list = format!("{path}{and}limit={limit}&iterator={iterator}");
            let mut body = self.expect("GET", &list, None).await;
            items.append(body["data"].as_array_mut().unwrap());
            if body["done"] == true {
                return (items, page);
            }
            iterator = body["iterator"].as_str().unwrap().to_owned();
        }
        panic!("{path} does not end");
    }

    /// Any plain request.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
        headers: &[(&str, &str)],
        token: Option<&str>,
    ) -> Answer {
        let url = format!("{}{path}", self.stack.api_url());
        let mut request = self.http.request(method.parse().unwrap(), url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_owned());
        }
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null);
        Answer { status, body }
    }

    /// Waits until a message has this many recorded attempts; newest first.
    pub async fn attempts(
        &self,
        application: &ApplicationOut,
        message: &str,
        count: usize,
    ) -> Vec<MessageAttemptOut> {
        until(&format!("{count} attempts of {message}"), || async {
            let attempts = self.svix.message_attempt();
            let list = attempts
                .list_by_msg(application.id.clone(), message.to_owned(), None)
                .await
                .unwrap();
            Some(list.data).filter(|data| data.len() >= count)
        })
        .await
    }

    /// Kills a function's processes as `kill -9` does; returns their ids.
    ///
    /// # Panics
    /// When one has already ended.
    pub fn kill(&self, function: &str) -> Vec<u32> {
        let killed = self.stack.process_ids(function);
        for process in &killed {
            let mut kill = std::process::Command::new("kill");
            let status = kill.args(["-9", &process.to_string()]).status();
            assert!(status.unwrap().success());
        }
        killed
    }

    /// Invokes the api function as an operator does.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn operate(&self, event: Value) -> Value {
        self.stack.invoke("ApiFunction", &event).await.unwrap()
    }

    /// The secret from which the key that signs tokens is derived.
    pub async fn token_secret(&self) -> String {
        let secrets = self.aws().await.secrets;
        let read = secrets.get_secret_value().secret_id("TokenKey").send();
        read.await.unwrap().secret_string.unwrap()
    }

    /// The clients that the functions use below the API, for states that the API cannot create.
    pub async fn aws(&self) -> Clients {
        Clients::of(self.stack.aws()).await
    }
}

/// Fails a scenario in which a function did something that the template does not allow, even if the
/// function only logged it.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let denied = self.stack.aws().roles().take_denied();
        assert_eq!(
            denied,
            Default::default(),
            "the template's policies do not allow it"
        );
    }
}

/// The store and the queue, on the emulators.
pub struct Clients {
    /// The config table.
    pub config: ConfigTable,
    /// Messages.
    pub messages: Messages,
    /// Guards against repeated messages.
    pub guards: Guards,
    /// Deliveries.
    pub deliveries: Deliveries,
    /// The schedule table.
    pub schedule: ScheduleTable,
    /// The queue.
    pub queue: DeliveriesQueue,
    /// DynamoDB itself.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Secrets Manager itself.
    pub secrets: aws_sdk_secretsmanager::Client,
    /// SQS itself.
    pub sqs: aws_sdk_sqs::Client,
    /// The queue's URL.
    pub queue_url: String,
}

impl Clients {
    /// The administrator's clients for running emulators, with the functions' own settings.
    pub async fn of(aws: &Aws) -> Self {
        Self::with_role(aws, None).await
    }

    /// The same with a function's role, by its logical id.
    pub async fn with_role(aws: &Aws, function: Option<&str>) -> Self {
        let key = aws.roles().access_key(function);
        let dynamodb = settings(aws.dynamodb_url(), key).await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&dynamodb);
        let others = settings(aws.sqs_url(), key).await;
        let sqs = aws_sdk_sqs::Client::new(&others);
        let queue_url = aws.queues().url("DeliveriesQueue");
        let messages = MessagesTable::new(dynamodb.clone(), "MessagesTable");
        Self {
            config: ConfigTable::new(dynamodb.clone(), "ConfigTable"),
            messages: messages.messages(),
            guards: messages.guards(),
            deliveries: Deliveries::new(dynamodb.clone(), "DeliveriesTable"),
            schedule: ScheduleTable::new(dynamodb.clone(), "ScheduleTable"),
            dynamodb,
            secrets: aws_sdk_secretsmanager::Client::new(&others),
            queue: DeliveriesQueue::new(sqs.clone(), &queue_url)
                .with_slow_lane(aws.queues().url("SlowDeliveriesQueue")),
            sqs,
            queue_url,
        }
    }
}

async fn settings(url: &str, key: &str) -> aws_config::SdkConfig {
    posthorn_runtime::aws::settings()
        .endpoint_url(url)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(key, "local", None, None, "local"))
        .load()
        .await
}
