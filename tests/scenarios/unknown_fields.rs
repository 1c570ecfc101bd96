//! No field and no query parameter of the contract is ignored: each has an effect, is refused by
//! name, or is listed in `docs/api.md` as harmless. No refusal uses a parser's wording.

use std::{collections::BTreeSet, fs, path::Path};

use posthorn_tests::{Receiver, World};
use serde_json::{Map, Value, json};

const CONTRACTS: [&str; 2] = [
    include_str!("../contract/server.json"),
    include_str!("../contract/clients.json"),
];
const TABLE: &str = "../docs/api.md";
/// A name that no operation uses.
const INVENTED: &str = "deliverSoon";
/// Phrases that only a parser would use.
const PARSER_PHRASES: [&str; 14] = [
    "expected",
    "invalid type",
    "invalid value",
    "invalid digit",
    "invalid length",
    "unknown variant",
    "unknown field",
    "missing field",
    "duplicate field",
    "at line",
    "data did not match",
    "provided string",
    "target type",
    "u16",
];

/// Fields that are listed as harmless.
fn harmless() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE)).unwrap();
    let (_, rest) = text.split_once("| harmless field | why |").unwrap();
    let rows = rest.lines().skip(2).take_while(|row| row.starts_with('|'));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect()
}

/// Names of the properties of a body, including those of its schema's parts.
fn properties(document: &Value, schema: &Value) -> BTreeSet<String> {
    if let Some(name) = schema["$ref"].as_str() {
        return properties(document, document.pointer(&name[1..]).unwrap());
    }
    let own = schema["properties"].as_object().into_iter().flatten();
    let own = own.map(|(name, _)| name.clone());
    let parts = ["allOf", "oneOf", "anyOf"].map(|kind| schema[kind].as_array());
    let parts = parts.into_iter().flatten().flatten();
    own.chain(parts.flat_map(|part| properties(document, part)))
        .collect()
}

/// An operation and the names that may be sent to it, according to the contract and to our
/// description.
struct Operation {
    method: String,
    path: String,
    fields: BTreeSet<String>,
    queries: BTreeSet<String>,
    has_body: bool,
    /// The smallest valid body, so that only the tested field is wrong.
    required: Map<String, Value>,
}

/// A valid value for a required field.
fn good(name: &str) -> Value {
    match name {
        "url" => json!("https://example.com/"),
        "since" => json!("2026-01-01T00:00:00Z"),
        "eventType" | "name" => json!("walk.made"),
        "payload" | "headers" => json!({}),
        _ => json!("x"),
    }
}

fn required(document: &Value, operation: &Value) -> Map<String, Value> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let schema = schema["$ref"]
        .as_str()
        .and_then(|name| document.pointer(&name[1..]));
    let names = schema.and_then(|schema| schema["required"].as_array());
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.map(|name| (name.to_owned(), good(name))).collect()
}

fn operations(ours: &Value) -> Vec<Operation> {
    let mut documents: Vec<Value> = CONTRACTS
        .map(|text| serde_json::from_str(text).unwrap())
        .into();
    documents.push(ours.clone());
    let mut found = Vec::new();
    for (path, item) in ours["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            if item.get(method).is_none() {
                continue;
            }
            let mut operation = Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                fields: BTreeSet::new(),
                queries: BTreeSet::new(),
                has_body: !item[method]["requestBody"].is_null(),
                required: required(ours, &item[method]),
            };
            for document in &documents {
                let described = &document["paths"][path][method];
                let schema = &described["requestBody"]["content"]["application/json"]["schema"];
                operation.fields.extend(properties(document, schema));
                let parameters = described["parameters"].as_array().into_iter().flatten();
                let queries = parameters.filter(|parameter| parameter["in"] == "query");
                let names = queries.map(|query| query["name"].as_str().unwrap().to_owned());
                operation.queries.extend(names);
            }
            found.push(operation);
        }
    }
    found
}

/// The ids to fill paths with.
struct Names(Vec<(&'static str, String)>);

impl Names {
    async fn of(world: &World, receiver: &Receiver) -> Self {
        let application = world.application().await;
        let endpoint = world.endpoint(&application, receiver).await;
        let body = json!({"name": "walk.made", "description": "d"});
        world.expect("POST", "/api/v1/event-type", Some(body)).await;
        let message = world
            .send(&application.id, r#"{"eventType":"walk.made","payload":{}}"#)
            .await;
        let attempts = world.attempts(&application, &message, 1).await;
        Self(vec![
            ("app_id", application.id.clone()),
            ("endpoint_id", endpoint.id),
            ("attempt_id", attempts[0].id.clone()),
            ("msg_id", message),
            ("event_type_name", "walk.made".to_owned()),
            ("task_id", "qtask_2KWPBgLlAfxdpx2AI54pPJ85f4W".to_owned()),
        ])
    }

    fn fill(&self, path: &str) -> String {
        let names = self.0.iter();
        names.fold(path.to_owned(), |path, (name, id)| {
            path.replace(&format!("{{{name}}}"), id)
        })
    }
}

/// What is wrong with a refusal that must name a field.
fn complaint(status: u16, body: &Value, part: &str, name: &str) -> Option<String> {
    let details = body["detail"].as_array().cloned().unwrap_or_default();
    let is_named = |detail: &Value| detail["loc"][0] == part && detail["loc"][1] == name;
    if status != 422 || !details.iter().any(is_named) {
        return Some(format!("{status} {body}"));
    }
    details.iter().find_map(|detail| {
        let rule = detail["msg"].as_str().unwrap_or_default();
        let is_foreign = PARSER_PHRASES.iter().any(|words| rule.contains(words));
        (rule.is_empty() || is_foreign).then(|| format!("says {rule:?}"))
    })
}

/// What must be the same before and after refused requests.
async fn stored(world: &World, names: &Names) -> Vec<Value> {
    let mut all = Vec::new();
    for path in [
        "/api/v1/app",
        "/api/v1/app/{app_id}/endpoint",
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers",
        "/api/v1/app/{app_id}/msg",
        "/api/v1/app/{app_id}/attempt/msg/{msg_id}",
        "/api/v1/event-type?with_content=true&include_archived=true",
        "/api/v1/background-task",
    ] {
        all.push(world.get(&names.fill(path)).await.body);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_and_no_query_parameter_is_ignored() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let names = Names::of(&world, &receiver).await;
    let (harmless, before) = (harmless(), stored(&world, &names).await);
    let ours = world.get("/api/v1/openapi.json").await.body;
    let (mut complaints, mut asked) = (Vec::new(), 0);
    for operation in operations(&ours) {
        let (method, path) = (&*operation.method, names.fill(&operation.path));
        let invented = [INVENTED.to_owned()];
        // Each message of a batch is refused on its own.
        let is_batch = |name: &String| path.ends_with("/msg/batch") && name == "messages";
        let is_checked = |name: &&String| !harmless.contains(*name) && !is_batch(name);
        let fields = operation.fields.iter().chain(&invented);
        for name in fields.filter(is_checked).filter(|_| operation.has_body) {
            let mut body = operation.required.clone();
            body.insert(name.clone(), json!([[5]]));
            let body = Value::Object(body);
            let answer = world.call(method, &path, Some(body)).await;
            let wrong = complaint(answer.status, &answer.body, "body", name);
            complaints.extend(wrong.map(|it| format!("{method} {path} body {name}: {it}")));
            asked += 1;
        }
        for name in operation.queries.iter().chain(&invented).filter(is_checked) {
            // Not a number, boolean, time, name or iterator.
            let path = format!("{path}?{name}=%20%7B%00");
            let body = operation.has_body.then(|| json!({}));
            let answer = world.call(method, &path, body).await;
            let wrong = complaint(answer.status, &answer.body, "query", name);
            complaints.extend(wrong.map(|it| format!("{method} {path}: {it}")));
            asked += 1;
        }
    }
    println!("{asked} names asked");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(asked > 200, "{asked}");
    assert_eq!(stored(&world, &names).await, before, "nothing is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_malformed_or_out_of_range_is_refused() {
    let world = World::start().await;
    for query in [
        "limit=0",
        "limit=251",
        "limit=abc",
        "limit=%zz",
        "limit=",
        "order=up",
        "a",
    ] {
        let answer = world.get(&format!("/api/v1/app?{query}")).await;
        let name = query.split('=').next().unwrap();
        let wrong = complaint(answer.status, &answer.body, "query", name);
        assert_eq!(wrong, None, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_official_clients_send_by_themselves_is_taken() {
    let world = World::start().await;
    let names = Names::of(&world, &Receiver::accepting().await).await;
    for path in [
        "/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}",
        "/api/v1/app/{app_id}/attempt/msg/{msg_id}",
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg",
        "/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}",
    ] {
        let query = "expanded_statuses=true";
        let answer = world.get(&format!("{}?{query}", names.fill(path))).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    for path in ["/api/v1/app/{app_id}/msg", "/api/v1/event-type"] {
        let answer = world
            .get(&format!("{}?with_content=false", names.fill(path)))
            .await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_names_of_a_rate_are_taken_and_shown() {
    let world = World::start().await;
    let made = json!({"name": "A", "uid": "rates", "rateLimit": 5});
    let made = world.expect("POST", "/api/v1/app", Some(made)).await;
    assert_eq!(
        (&made["rateLimit"], &made["throttleRate"]),
        (&json!(5), &json!(5))
    );
    for (method, body, rate) in [
        ("PUT", json!({"name": "A", "throttleRate": 6}), 6),
        ("PATCH", json!({"rateLimit": 7}), 7),
        ("PATCH", json!({"rateLimit": 8, "throttleRate": 8}), 8),
    ] {
        let shown = world.expect(method, "/api/v1/app/rates", Some(body)).await;
        assert_eq!(
            (&shown["rateLimit"], &shown["throttleRate"]),
            (&json!(rate), &json!(rate))
        );
        assert_eq!(shown["uid"], "rates", "the path's uid stays");
    }
    let differing = json!({"name": "A", "rateLimit": 1, "throttleRate": 2});
    for method in ["PUT", "PATCH"] {
        let answer = world
            .call(method, "/api/v1/app/rates", Some(differing.clone()))
            .await;
        assert_eq!(
            complaint(answer.status, &answer.body, "body", "rateLimit"),
            None
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_the_contracts_server_hold() {
    let world = World::start().await;
    let application = world.application().await;
    let endpoints = format!("/api/v1/app/{}/endpoint", application.id);
    let notes = json!({"a": "x".repeat(4096 - r#"{"a":""}"#.len() + 1)});
    let url = "https://example.com/";
    for (method, path, body, field) in [
        (
            "POST",
            "/api/v1/app",
            json!({"name": "A", "metadata": notes}),
            "metadata",
        ),
        (
            "POST",
            &endpoints,
            json!({"url": url, "metadata": notes}),
            "metadata",
        ),
        (
            "POST",
            &endpoints,
            json!({"url": url, "eventTypes": ["a", "a"]}),
            "eventTypes",
        ),
    ] {
        let answer = world.call(method, path, Some(body)).await;
        assert_eq!(
            complaint(answer.status, &answer.body, "body", field),
            None,
            "{path}"
        );
    }
    let id = "2KWPBgLlAfxdpx2AI54pPJ85f4W";
    for (path, body) in [
        (format!("/api/v1/app/app_{id}"), json!({"name": "A"})),
        (format!("{endpoints}/ep_{id}"), json!({"url": url})),
    ] {
        let answer = world.call("PUT", &path, Some(body)).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
}
