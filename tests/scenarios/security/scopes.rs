//! Which token may do what: every operation of the API with every kind of token.

use std::{collections::BTreeSet, time::Duration};

use posthorn_domain::{
    id::TokenId,
    token::{
        Capability::{self, *},
        Scope, TokenKey,
    },
};
use posthorn_runtime::{entropy, now};
use posthorn_tests::World;
use serde_json::{Value, json};

/// What a token of an application may not do at all.
const OPERATORS_ONLY: [&str; 13] = [
    "v1.application.list",
    "v1.application.create",
    "v1.application.update",
    "v1.application.patch",
    "v1.application.delete",
    "v1.event-type.create",
    "v1.event-type.update",
    "v1.event-type.patch",
    "v1.event-type.delete",
    "v1.authentication.app-portal-access",
    "v1.authentication.expire-all",
    "v1.background-task.list",
    "v1.authentication.logout",
];

/// What a customer in the portal may not do either.
const PRODUCERS_ONLY: [&str; 4] = [
    "v1.message.create",
    "v1.message.create-batch",
    "v1.message.expunge-content",
    "v1.message-attempt.expunge-content",
];

/// What a customer may do, and with which capability. A new operation must be added to one of these
/// lists.
const CUSTOMERS: &[(&str, Capability)] = &[
    ("v1.application.get", ViewBase),
    ("v1.authentication.logout", ViewBase),
    ("v1.background-task.get", ViewBase),
    ("v1.endpoint.create", ManageEndpoint),
    ("v1.endpoint.delete", ManageEndpoint),
    ("v1.endpoint.get", ViewBase),
    ("v1.endpoint.get-headers", ViewBase),
    ("v1.endpoint.get-secret", ViewEndpointSecret),
    ("v1.endpoint.get-stats", ViewBase),
    ("v1.endpoint.list", ViewBase),
    ("v1.endpoint.patch", ManageEndpoint),
    ("v1.endpoint.patch-headers", ManageEndpoint),
    ("v1.endpoint.recover", CreateAttempts),
    ("v1.endpoint.replay-missing", CreateAttempts),
    ("v1.endpoint.rotate-secret", ManageEndpointSecret),
    ("v1.endpoint.send-example", CreateAttempts),
    ("v1.endpoint.update", ManageEndpoint),
    ("v1.endpoint.update-headers", ManageEndpoint),
    ("v1.event-type.get", ViewBase),
    ("v1.event-type.list", ViewBase),
    ("v1.message-attempt.get", ViewBase),
    ("v1.message-attempt.list-attempted-destinations", ViewBase),
    ("v1.message-attempt.list-attempted-messages", ViewBase),
    ("v1.message-attempt.list-by-endpoint", ViewBase),
    ("v1.message-attempt.list-by-msg", ViewBase),
    ("v1.message-attempt.resend", CreateAttempts),
    ("v1.message.get", ViewBase),
    ("v1.message.list", ViewBase),
];

/// Takes its token from the body: an `Authorization` header has no effect.
const EXCHANGE: &str = "v1.authentication.exchange-one-time-token";

const HOUR: Duration = Duration::from_secs(3600);

const OPEN: [&str; 2] = ["v1.health.get", "v1.health.ping"];

/// A body for an operation: those of these fields that its description has.
fn body(schema: &Value) -> String {
    let mut fields = fields();
    let known = &schema["properties"];
    fields
        .as_object_mut()
        .unwrap()
        .retain(|name, _| !known[name].is_null());
    fields.to_string()
}

fn fields() -> Value {
    json!({
        "name": "x", "description": "x", "url": "https://example.com/", "headers": {}, "eventType": "a.b",
        "payload": {}, "since": posthorn_runtime::now().to_rfc3339(),
        "messages": [{ "eventType": "a.b", "payload": {} }], "oneTimeToken": "x",
    })
}

struct Operation {
    id: String,
    method: String,
    path: String,
    body: String,
}

async fn operations(world: &World) -> Vec<Operation> {
    let document = world.get("/api/v1/openapi.json").await.body;
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if let Some(id) = operation["operationId"].as_str() {
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                let schema = match schema["$ref"].as_str() {
                    Some(name) => document.pointer(&name[1..]).unwrap(),
                    None => schema,
                };
                operations.push(Operation {
                    id: id.to_owned(),
                    method: method.to_uppercase(),
                    path: path.clone(),
                    body: body(schema),
                });
            }
        }
    }
    // Operations that delete things come last.
    operations.sort_by_key(|one| (one.method == "DELETE", one.path.len()));
    operations
}

pub(crate) struct Matrix {
    pub(crate) world: World,
    operations: Vec<Operation>,
    /// The values of `{app_id}` and the like: an application with one of everything.
    names: Vec<(&'static str, String)>,
}

impl Matrix {
    async fn start() -> Self {
        Self::of(World::start().await).await
    }

    pub(crate) async fn of(world: World) -> Self {
        let operations = operations(&world).await;
        let application = world.application().await;
        world
            .expect(
                "PUT",
                "/api/v1/event-type/a.b",
                Some(json!({ "description": "" })),
            )
            .await;
        let path = format!("/api/v1/app/{}/endpoint", application.id);
        let receiver = posthorn_tests::Receiver::accepting().await;
        let endpoint = world
            .expect("POST", &path, Some(json!({ "url": receiver.url() })))
            .await;
        let endpoint = endpoint["id"].as_str().unwrap().to_owned();
        let message = world
            .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
            .await;
        let attempt = world.attempts(&application, &message, 1).await[0]
            .id
            .clone();
        let recover = format!("{path}/{endpoint}/recover");
        let since = json!({ "since": posthorn_runtime::now().to_rfc3339() });
        let job = world.expect("POST", &recover, Some(since)).await;
        let job = job["id"].as_str().unwrap().to_owned();
        let names = vec![
            ("app_id", application.id),
            ("endpoint_id", endpoint),
            ("msg_id", message),
            ("attempt_id", attempt),
            ("task_id", job),
            ("event_type_name", "a.b".to_owned()),
        ];
        Self {
            world,
            operations,
            names,
        }
    }

    async fn status(&self, operation: &Operation, token: Option<&str>) -> u16 {
        let mut path = operation.path.clone();
        for (name, value) in &self.names {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        let body = (operation.method != "GET").then_some(&*operation.body);
        self.world
            .request(&operation.method, &path, body, &[], token)
            .await
            .status
    }

    /// Calls every operation with the organization's token, whatever it responds.
    pub(crate) async fn call_all(&self) {
        for operation in &self.operations {
            self.status(operation, Some(&self.world.token)).await;
        }
    }

    /// Checks every operation with one token.
    async fn check(
        &self,
        kind: &str,
        token: &str,
        expected: impl Fn(&Operation) -> &'static [u16],
    ) {
        for operation in &self.operations {
            let status = self.status(operation, Some(token)).await;
            let Operation {
                id, method, path, ..
            } = operation;
            let allowed = match id.as_str() {
                id if OPEN.contains(&id) => &[204],
                EXCHANGE => &[401],
                _ => expected(operation),
            };
            assert!(
                allowed.contains(&status),
                "{kind}: {method} {path} is {status}, not {allowed:?}"
            );
        }
        println!("{kind}: {} operations", self.operations.len());
    }
}

/// Not refused because of the caller: done, or refused because of the body or the state.
const REACHED: &[u16] = &[200, 201, 202, 204, 409, 422];
const FORBIDDEN: &[u16] = &[403];
const NOT_FOUND: &[u16] = &[404];

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_answers_a_token_that_is_not_good() {
    let matrix = Matrix::start().await;
    let world = &matrix.world;
    let scope = Scope::organization(world.organization.parse().unwrap());
    let mint = |key: &[u8], at| {
        let key = TokenKey::new(key).unwrap();
        let id = TokenId::new(at, entropy());
        key.mint(&scope, id, at, HOUR).unwrap()
    };
    let foreign = mint(&[7; 64], now());
    let secret = world.token_secret().await;
    let early = mint(secret.as_bytes(), now().plus(HOUR));
    let changed = world.token.replace('.', ".e");
    for (kind, token) in [
        ("an empty token", ""),
        ("no JWT", "x"),
        ("without a signature", "eyJhbGciOiJub25lIn0.e30."),
        ("signed with another key", &foreign),
        ("not valid yet", &early),
        ("changed", &changed),
    ] {
        matrix.check(kind, token, |_| &[401]).await;
    }
    for operation in &matrix.operations {
        let status = matrix.status(operation, None).await;
        let is_open = OPEN.contains(&operation.id.as_str());
        assert_eq!(status, if is_open { 204 } else { 401 }, "{}", operation.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_ended_reaches_nothing() {
    let matrix = Matrix::start().await;
    let world = &matrix.world;
    let own = &matrix.names[0].1;
    let access = format!("/api/v1/auth/app-portal-access/{own}");
    let access = world.expect("POST", &access, Some(json!({}))).await;
    let ended = access["token"].as_str().unwrap();
    let logout = world.request("POST", "/api/v1/auth/logout", None, &[], Some(ended));
    assert_eq!(logout.await.status, 204);
    for operation in &matrix.operations {
        // Ingest does not look up sessions, because no portal token may post.
        let expected: &[u16] = match operation.id.as_str() {
            id if OPEN.contains(&id) => &[204],
            EXCHANGE => &[401],
            "v1.message.create" | "v1.message.create-batch" => FORBIDDEN,
            _ => &[401],
        };
        let status = matrix.status(operation, Some(ended)).await;
        assert!(
            expected.contains(&status),
            "ended: {} is {status}",
            operation.id
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_every_kind_of_token_as_it_should() {
    let matrix = Matrix::start().await;
    assert!(matrix.operations.len() >= 43);
    let world = &matrix.world;
    let other = world.application().await.id;
    let is_of = |list: &[&str], operation: &Operation| list.contains(&operation.id.as_str());
    let names_no_application = |operation: &Operation| {
        operation.path.contains("event-type") || operation.path.contains("auth/")
    };

    let organization = &world.organization;
    let expired = json!({ "organization": organization, "expires_in_seconds": 0 });
    matrix
        .check("expired", &world.mint(expired).await, |_| &[401])
        .await;
    let stranger = world.mint(json!({})).await;
    matrix
        .check("another organization", &stranger, |operation| {
            let creates = [
                "v1.application.list",
                "v1.application.create",
                "v1.background-task.list",
            ];
            match operation.id.as_str() {
                id if creates.contains(&id) => REACHED,
                "v1.event-type.list" | "v1.event-type.create" | "v1.event-type.update" => REACHED,
                // It has just created an event type of that name in its own organization. A name in the body
                // that is not the path's is refused.
                id if id.starts_with("v1.event-type") => &[200, 201, 204, 404, 409, 422],
                "v1.authentication.logout" => FORBIDDEN,
                _ => NOT_FOUND,
            }
        })
        .await;
    let reach = json!({ "organization": organization, "application": other });
    let of_another = world.mint(reach).await;
    matrix
        .check(
            "another application",
            &of_another,
            |operation| match operation {
                operation if is_of(&OPERATORS_ONLY, operation) => FORBIDDEN,
                operation if names_no_application(operation) => REACHED,
                _ => NOT_FOUND,
            },
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_decided_for_customers() {
    let world = World::start().await;
    for Operation { id, .. } in operations(&world).await {
        let id = id.as_str();
        let lists = [
            OPEN.contains(&id),
            id == EXCHANGE,
            id == "v1.authentication.logout" || OPERATORS_ONLY.contains(&id),
            PRODUCERS_ONLY.contains(&id),
            CUSTOMERS.iter().any(|(it, _)| *it == id) && id != "v1.authentication.logout",
        ];
        let count = lists.into_iter().filter(|is_in| *is_in).count();
        assert_eq!(count, 1, "{id} belongs into exactly one list");
    }
}

/// What a portal token is requested with, and the capabilities that it then has.
fn grants() -> Vec<(Value, BTreeSet<Capability>)> {
    let all = BTreeSet::from(Capability::ALL);
    let mut grants = vec![
        (json!({}), all),
        (json!({ "readOnly": true }), BTreeSet::from([ViewBase])),
    ];
    for one in Capability::ALL {
        let held = BTreeSet::from([ViewBase, one]);
        grants.push((json!({ "capabilities": held }), held));
    }
    grants
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_may_do_what_the_capabilities_allow_and_nothing_else() {
    let matrix = Matrix::start().await;
    let world = &matrix.world;
    let access = format!("/api/v1/auth/app-portal-access/{}", matrix.names[0].1);
    // The grant of all capabilities comes last, because it deletes things.
    let mut grants = grants();
    grants.rotate_left(1);
    for (asked, held) in &grants {
        for operation in &matrix.operations {
            // Each operation gets its own session, because logout ends one.
            let access = world.expect("POST", &access, Some(asked.clone())).await;
            let status = matrix.status(operation, access["token"].as_str()).await;
            let needed = CUSTOMERS.iter().find(|(id, _)| *id == operation.id);
            let may = |needed: Capability| needed.held_by().iter().any(|it| held.contains(it));
            let expected: &[u16] = match operation.id.as_str() {
                id if OPEN.contains(&id) => &[204],
                EXCHANGE => &[401],
                _ => match needed {
                    // Another grant may have deleted the resource, or changed it.
                    Some((_, needed)) if may(*needed) => &[200, 201, 202, 204, 404, 409, 422],
                    _ => FORBIDDEN,
                },
            };
            assert!(
                expected.contains(&status),
                "{asked}: {} {} is {status}, not {expected:?}",
                operation.method,
                operation.path
            );
        }
    }
    println!("{} grants", grants.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_token_and_an_organization_token_reach_what_is_theirs() {
    let matrix = Matrix::start().await;
    let world = &matrix.world;
    let own = &matrix.names[0].1;
    let reach = json!({ "organization": world.organization, "application": own });
    let application = world.mint(reach).await;
    for operation in &matrix.operations {
        let status = matrix.status(operation, Some(&application)).await;
        let expected = match operation.id.as_str() {
            id if OPEN.contains(&id) => &[204],
            EXCHANGE => &[401],
            id if OPERATORS_ONLY.contains(&id) => FORBIDDEN,
            _ => REACHED,
        };
        assert!(
            expected.contains(&status),
            "{} {} is {status}",
            operation.method,
            operation.path
        );
    }
    // The first token has deleted everything it could.
    let matrix = Matrix::start().await;
    let world = &matrix.world;
    for operation in &matrix.operations {
        let status = matrix.status(operation, Some(&world.token)).await;
        let expected = match operation.id.as_str() {
            "v1.authentication.logout" => FORBIDDEN,
            EXCHANGE => &[401],
            // Already deleted by earlier operations.
            _ if operation.method == "DELETE" => &[204, 404],
            _ => REACHED,
        };
        assert!(
            expected.contains(&status),
            "{} {} is {status}",
            operation.method,
            operation.path
        );
    }
}
