//! No field and no query parameter of the contract is ignored: each is carried out, refused by its name, or
//! listed in `docs/api.md` as harmless. And no refusal speaks a parser's language.

use std::{collections::BTreeSet, fs, path::Path};

use posthorn_tests::{Receiver, World};
use serde_json::{Map, Value, json};

const CONTRACTS: [&str; 2] = [
    include_str!("../../contract/server.json"),
    include_str!("../../contract/clients.json"),
];
const TABLE: &str = "../docs/api.md";
/// A name that no operation has.
const INVENTED: &str = "deliverSoon";
/// What only a parser would say.
const PARSERS_WORDS: [&str; 14] = [
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

/// Names of the properties of a body, with those of the parts that its schema is made of.
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

/// The ways to the properties of a body: its own, and those of objects in it whose fields the contract names.
fn ways(document: &Value, schema: &Value) -> BTreeSet<Vec<String>> {
    let own = properties(document, schema).into_iter();
    let mut ways: BTreeSet<_> = own.map(|name| vec![name]).collect();
    for name in NESTED {
        let Some(inner) = property(document, schema, name) else {
            continue;
        };
        let inner = properties(document, &inner)
            .into_iter()
            .chain([INVENTED.to_owned()]);
        ways.extend(inner.map(|field| vec![name.to_owned(), field]));
    }
    ways
}

/// Objects in a body that are not the caller's own.
const NESTED: [&str; 2] = ["application", "transformationsParams"];

fn property(document: &Value, schema: &Value, name: &str) -> Option<Value> {
    if let Some(to) = schema["$ref"].as_str() {
        return property(document, document.pointer(&to[1..]).unwrap(), name);
    }
    let own = schema["properties"].get(name).cloned();
    let parts = ["allOf", "oneOf", "anyOf"].map(|kind| schema[kind].as_array());
    let mut parts = parts.into_iter().flatten().flatten();
    own.or_else(|| parts.find_map(|part| property(document, part, name)))
}

/// An operation and the names that may be sent to it, by the contract and by our own description.
struct Operation {
    method: String,
    path: String,
    fields: BTreeSet<Vec<String>>,
    queries: BTreeSet<String>,
    has_body: bool,
    /// The smallest good body, so that the field asked about is what is wrong.
    required: Map<String, Value>,
}

/// A good value for a field that must be there.
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
                operation.fields.extend(ways(document, schema));
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

/// The ids that paths are filled with.
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

/// What is wrong with a refusal that has to name a field.
fn complaint(status: u16, body: &Value, part: &str, name: &str) -> Option<String> {
    complaint_at(status, body, &[part, name])
}

/// The same for a field in another one; the refusal may name more than the way.
fn complaint_at(status: u16, body: &Value, way: &[&str]) -> Option<String> {
    let details = body["detail"].as_array().cloned().unwrap_or_default();
    let is_named = |detail: &Value| {
        let loc = detail["loc"].as_array().cloned().unwrap_or_default();
        loc.len() >= way.len() && loc.iter().zip(way).all(|(found, name)| found == name)
    };
    if status != 422 || !details.iter().any(is_named) {
        return Some(format!("{status} {body}"));
    }
    details.iter().find_map(|detail| {
        let rule = detail["msg"].as_str().unwrap_or_default();
        let is_foreign = PARSERS_WORDS.iter().any(|words| rule.contains(words));
        (rule.is_empty() || is_foreign).then(|| format!("says {rule:?}"))
    })
}

/// What is the same before and after refused requests.
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

/// A body with a value in it that no field takes.
fn with_wrong(mut body: Map<String, Value>, way: &[String]) -> Value {
    let wrong = json!([[5]]);
    match way {
        [name] => body.insert(name.clone(), wrong),
        [name, field] => {
            let mut inner = Map::new();
            if name == "application" {
                inner.insert("name".to_owned(), json!("x"));
            }
            inner.insert(field.clone(), wrong);
            body.insert(name.clone(), Value::Object(inner))
        }
        _ => None,
    };
    Value::Object(body)
}

/// What is wrong with how each field of a message is refused that comes in a batch, and how many there were.
async fn each_in_a_batch(
    world: &World,
    path: &str,
    ways: &BTreeSet<Vec<String>>,
    harmless: &BTreeSet<String>,
) -> (Vec<String>, usize) {
    let mut good = Map::new();
    good.insert("eventType".to_owned(), json!("walk.made"));
    good.insert("payload".to_owned(), json!({}));
    let is_checked = |way: &&Vec<String>| way.iter().all(|name| !harmless.contains(name));
    let ways: Vec<_> = ways.iter().filter(is_checked).collect();
    let messages = ways.iter().map(|way| with_wrong(good.clone(), way));
    let batch = json!({ "messages": messages.collect::<Vec<_>>() });
    let answer = world.call("POST", path, Some(batch)).await;
    let mut complaints = Vec::new();
    for (place, way) in ways.iter().enumerate() {
        let result = &answer.body["results"][place];
        let status = result["status"].as_u64().unwrap_or_default() as u16;
        let place = place.to_string();
        let loc = ["body", "messages", &place].into_iter();
        let loc: Vec<_> = loc.chain(way.iter().map(|it| &**it)).collect();
        let wrong = complaint_at(status, &result["error"], &loc);
        complaints.extend(wrong.map(|it| format!("in a batch: {way:?}: {it}")));
    }
    (complaints, ways.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_and_no_query_parameter_is_ignored() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let names = Names::of(&world, &receiver).await;
    let (harmless, before) = (harmless(), stored(&world, &names).await);
    let ours = world.get("/api/v1/openapi.json").await.body;
    let (mut complaints, mut asked) = (Vec::new(), 0);
    let operations = operations(&ours);
    let is_post = |it: &&Operation| it.method == "POST" && it.path == "/api/v1/app/{app_id}/msg";
    let message_ways = operations.iter().find(is_post).unwrap().fields.clone();
    for operation in operations {
        let (method, path) = (&*operation.method, names.fill(&operation.path));
        let invented = [INVENTED.to_owned()];
        // Each message of a batch is refused by itself.
        let is_batch = |name: &String| path.ends_with("/msg/batch") && name == "messages";
        let is_checked = |name: &&String| !harmless.contains(*name) && !is_batch(name);
        let own = invented.clone().to_vec();
        for way in operation.fields.iter().chain([&own]) {
            let is_checked = way.last().is_some_and(|name| is_checked(&name));
            if !is_checked || !operation.has_body {
                continue;
            }
            let body = with_wrong(operation.required.clone(), way);
            let answer = world.call(method, &path, Some(body)).await;
            let loc: Vec<_> = ["body"]
                .into_iter()
                .chain(way.iter().map(|it| &**it))
                .collect();
            let wrong = complaint_at(answer.status, &answer.body, &loc);
            complaints.extend(wrong.map(|it| format!("{method} {path} body {way:?}: {it}")));
            asked += 1;
        }
        if path.ends_with("/msg/batch") {
            let (wrong, count) = each_in_a_batch(&world, &path, &message_ways, &harmless).await;
            complaints.extend(wrong);
            asked += count;
        }
        if !operation.has_body {
            let invented = json!({ INVENTED: 5 });
            let answer = world.call(method, &path, Some(invented)).await;
            let wrong = complaint(answer.status, &answer.body, "body", INVENTED);
            complaints.extend(wrong.map(|it| format!("{method} {path} with a body: {it}")));
            asked += 1;
        }
        for name in operation.queries.iter().chain(&invented).filter(is_checked) {
            // Not a number, a truth, a time, a name nor an iterator.
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

/// An empty body, and the empty object that some clients send.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_without_a_body_takes_an_empty_one() {
    let world = World::start().await;
    world.application().await;
    for body in [None, Some(""), Some("{}"), Some(r#"{"x":null}"#)] {
        let answer = world.request("GET", "/api/v1/app", body, &[], Some(&world.token));
        assert_eq!(answer.await.status, 200, "{body:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_of_another_operation_is_refused() {
    let world = World::start().await;
    let names = Names::of(&world, &Receiver::accepting().await).await;
    let path = names.fill("/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}?endpoint_id=x");
    let answer = world.get(&path).await;
    let wrong = complaint(answer.status, &answer.body, "query", "endpoint_id");
    assert_eq!(wrong, None);
    let path = names.fill("/api/v1/app/{app_id}/attempt/msg/{msg_id}?endpoint_id={endpoint_id}");
    assert_eq!(
        world.get(&path).await.body["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// Whatever the caller's text holds, the rule is ours, and the field is the one that is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_its_field_and_speaks_our_language() {
    let world = World::start().await;
    let application = world.application().await.id;
    let messages = format!("/api/v1/app/{application}/msg");
    let endpoints = format!("/api/v1/app/{application}/endpoint");
    let access = format!("/api/v1/auth/app-portal-access/{application}");
    for (path, body, field) in [
        (
            "/api/v1/app",
            r#"{"name":"A","rateLimit":"x, expected y"}"#,
            "rateLimit",
        ),
        (
            "/api/v1/app",
            r#"{"name":"A","rateLimit":1e400}"#,
            "rateLimit",
        ),
        ("/api/v1/app", r#"{"name":"A","name":"B"}"#, "name"),
        (
            "/api/v1/event-type",
            r#"{"name":"a","description":"","archived":"y, expected a map"}"#,
            "archived",
        ),
        (
            &access,
            r#"{"capabilities":["x, expected `Secret`, said at line 5"]}"#,
            "capabilities",
        ),
        (
            &endpoints,
            r#"{"url":"https://example.com/","filterTypes":["zz.unknown"]}"#,
            "filterTypes",
        ),
        (
            &messages,
            r#"{"eventType":"a","payload":{},"payload":{}}"#,
            "payload",
        ),
        (
            &messages,
            r#"{"eventType":"a","payload":{},"x":5,"x":null}"#,
            "x",
        ),
        (
            &messages,
            r#"{"eventType":"a","payload":{},"x/y":{"z":1}}"#,
            "x/y",
        ),
        (
            &messages,
            r#"{"eventType":"a","payload":{},"transformationsParams":{"rawPayload":"a\ud800b"}}"#,
            "transformationsParams",
        ),
    ] {
        let answer = world.post(path, body, &[]).await;
        let wrong = complaint(answer.status, &answer.body, "body", field);
        assert_eq!(wrong, None, "{body}");
        let rule = answer.body["detail"][0]["msg"].as_str().unwrap().to_owned();
        let is_foreign = ["must be y", "Secret`, said", "another type"];
        assert!(
            !is_foreign.iter().any(|it| rule.contains(it)),
            "{body}: {rule}"
        );
    }
    let answer = world.get("/api/v1/app?order=x,%20expected%20y").await;
    let rule = &answer.body["detail"][0]["msg"];
    assert_eq!(*rule, "must be `ascending` or `descending`");
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
