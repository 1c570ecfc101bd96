//! The API keeps to its contract, to the table in `docs/api.md`, and to its tokens.
//!
//! `tests/contract/digest.py` made the digests of the contract that are compared here.

use std::{collections::BTreeSet, fs, path::Path};

use posthorn_tests::World;
use serde_json::{Map, Value};

const CONTRACT: &str = include_str!("../../contract/server.json");
/// What newer official clients know: of the operations that are here.
const CLIENTS: &str = include_str!("../../contract/clients.json");
const TABLE: &str = "../docs/api.md";
const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

struct Document(Value);

impl Document {
    fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| {
            let operations = METHODS
                .iter()
                .filter_map(|method| Some((*method, item.get(method)?)));
            operations.map(|(method, operation)| (method, path.as_str(), operation))
        })
    }

    /// A schema with its references, and the choice between it and null, resolved.
    fn resolve<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        loop {
            if let Some(name) = schema["$ref"].as_str() {
                schema = self.0.pointer(&name[1..]).unwrap();
            } else if let Some(choice) = schema["oneOf"].as_array() {
                schema = choice.iter().find(|one| one["type"] != "null").unwrap();
            } else {
                return schema;
            }
        }
    }

    /// Properties and required names, with those of the parts that a schema is made of.
    fn fields<'a>(&'a self, schema: &'a Value) -> (Map<String, Value>, BTreeSet<&'a str>) {
        let schema = self.resolve(schema);
        let mut fields = schema["properties"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let names = |schema: &'a Value| {
            let names = schema["required"].as_array().into_iter().flatten();
            names.filter_map(Value::as_str)
        };
        let mut required: BTreeSet<&str> = names(schema).collect();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let (more, names) = self.fields(part);
            fields.extend(more);
            required.extend(names);
        }
        (fields, required)
    }

    fn kind<'a>(&'a self, schema: &'a Value) -> Option<&'a str> {
        match &self.resolve(schema)["type"] {
            Value::String(kind) => Some(kind),
            Value::Array(kinds) => kinds
                .iter()
                .filter_map(Value::as_str)
                .find(|k| *k != "null"),
            _ => None,
        }
    }
}

fn schema(content: &Value) -> Option<&Value> {
    content.pointer("/content/application~1json/schema")
}

/// What is missing or different, each with where it is.
struct Comparison<'a> {
    ours: &'a Document,
    theirs: &'a Document,
    differences: Vec<String>,
}

impl Comparison<'_> {
    fn operation(&mut self, at: &str, ours: &Value, theirs: &Value) {
        let names = |operation: &Value| -> BTreeSet<String> {
            let parameters = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let named = parameters
                .iter()
                .map(|p| format!("{} {}", p["in"], p["name"]));
            named.collect()
        };
        // Path parameters are in the path's text already.
        let missing: Vec<_> = names(theirs).difference(&names(ours)).cloned().collect();
        let missing = missing
            .into_iter()
            .filter(|name| !name.starts_with("\"path\""));
        self.differences
            .extend(missing.map(|name| format!("{at}: parameter {name}")));
        if let Some(theirs) = schema(&theirs["requestBody"]) {
            match schema(&ours["requestBody"]) {
                Some(ours) => self.body(&format!("{at} body"), ours, theirs),
                None => self.differences.push(format!("{at}: no body")),
            }
        }
        for (status, theirs) in theirs["responses"].as_object().unwrap() {
            let ours = &ours["responses"][status];
            // Nothing is throttled by the API itself so far, and health needs no token.
            let is_never_given = status == "429" || at.contains("/api/v1/health");
            if ours.is_null() && !is_never_given {
                self.differences.push(format!("{at}: status {status}"));
            }
            if let (Some(ours), Some(theirs)) = (schema(ours), schema(theirs)) {
                self.answer(&format!("{at} {status}"), ours, theirs);
            }
        }
    }

    /// Every field may be sent, and no other has to be.
    fn body(&mut self, at: &str, ours: &Value, theirs: &Value) {
        let (our_fields, our_required) = self.ours.fields(ours);
        let (their_fields, their_required) = self.theirs.fields(theirs);
        self.fields(at, &our_fields, &their_fields);
        let more = our_required.difference(&their_required);
        let more: Vec<_> = more.map(|name| format!("{at}: requires {name}")).collect();
        self.differences.extend(more);
    }

    /// Every field is there, and those that are always there are so here.
    fn answer(&mut self, at: &str, ours: &Value, theirs: &Value) {
        let (our_fields, our_required) = self.ours.fields(ours);
        let (their_fields, their_required) = self.theirs.fields(theirs);
        self.fields(at, &our_fields, &their_fields);
        let fewer = their_required.difference(&our_required);
        let fewer: Vec<_> = fewer.map(|name| format!("{at}: may lack {name}")).collect();
        self.differences.extend(fewer);
        if let (Some(ours), Some(theirs)) = (our_fields.get("data"), their_fields.get("data"))
            && theirs["type"] == "array"
        {
            self.answer(&format!("{at} data"), &ours["items"], &theirs["items"]);
        }
    }

    fn fields(&mut self, at: &str, ours: &Map<String, Value>, theirs: &Map<String, Value>) {
        for (name, theirs) in theirs {
            let Some(ours) = ours.get(name) else {
                self.differences.push(format!("{at}: field {name}"));
                continue;
            };
            let (our_kind, their_kind) = (self.ours.kind(ours), self.theirs.kind(theirs));
            if our_kind != their_kind {
                let text = format!("{at}: {name} is {our_kind:?} instead of {their_kind:?}");
                self.differences.push(text);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_and_field_of_the_contract_is_here() {
    let world = World::start().await;
    let theirs = Document(serde_json::from_str(CONTRACT).unwrap());
    let ours = Document(world.get("/api/v1/openapi.json").await.body);
    let mut comparison = Comparison {
        ours: &ours,
        theirs: &theirs,
        differences: Vec::new(),
    };
    let mut count = 0;
    for (method, path, operation) in theirs.operations() {
        let at = format!("{} {path}", method.to_uppercase());
        match ours.0["paths"][path].get(method) {
            Some(own) => comparison.operation(&at, own, operation),
            None => comparison.differences.push(format!("{at}: missing")),
        }
        count += 1;
    }
    let differences = comparison.differences;
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
    println!("{count} operations compared (41, and HEAD of two)");
    assert_eq!(count, 43);
}

/// Differences from what newer clients know. The table of `docs/api.md` names each.
const KNOWN: [(&str, &str); 13] = [
    ("parameter \"query\" \"with_msg\"", "with_msg"),
    (
        "parameter \"query\" \"expanded_statuses\"",
        "expanded_statuses",
    ),
    ("field exampleIndex", "exampleIndex"),
    ("field deliverAt", "deliverAt"),
    ("field msg", "`msg`"),
    ("field featureFlags", "`featureFlags`"),
    ("field groupName", "`groupName`"),
    (
        "background-task: parameter \"query\" \"status\"",
        "`status` and `task`",
    ),
    (
        "background-task: parameter \"query\" \"task\"",
        "`status` and `task`",
    ),
    (
        "\"exclude_apps_with_disabled_endpoints\"",
        "`exclude_apps_with_disabled_endpoints`",
    ),
    (
        "\"exclude_apps_with_no_endpoints\"",
        "`exclude_apps_with_no_endpoints`",
    ),
    (
        "\"exclude_apps_with_svix_play_endpoints\"",
        "`exclude_apps_with_svix_play_endpoints`",
    ),
    ("send-example: status 202", "send-example"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_newer_clients_know_is_here_or_listed() {
    let world = World::start().await;
    let theirs = Document(serde_json::from_str(CLIENTS).unwrap());
    let ours = Document(world.get("/api/v1/openapi.json").await.body);
    let mut comparison = Comparison {
        ours: &ours,
        theirs: &theirs,
        differences: Vec::new(),
    };
    let mut count = 0;
    for (method, path, operation) in theirs.operations() {
        let at = format!("{} {path}", method.to_uppercase());
        comparison.operation(&at, &ours.0["paths"][path][method], operation);
        count += 1;
    }
    println!("{count} operations compared");
    assert!(count >= 43, "{count}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    let table = fs::read_to_string(file).unwrap();
    let differences = comparison.differences.into_iter();
    let unlisted: Vec<_> = differences
        .filter(|found| {
            let known = KNOWN
                .iter()
                .find(|(difference, _)| found.ends_with(difference));
            !known.is_some_and(|(_, name)| table.contains(name))
        })
        .collect();
    assert!(unlisted.is_empty(), "{}", unlisted.join("\n"));
}

/// The table of `docs/api.md`: `POSTHORN_WRITE_DOCS=1 cargo test contract` writes it anew.
#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_operations_is_what_the_api_describes() {
    let world = World::start().await;
    let ours = Document(world.get("/api/v1/openapi.json").await.body);
    let mut rows: Vec<String> = Vec::new();
    for (method, path, operation) in ours.operations() {
        let [tag, id, summary] = ["/tags/0", "/operationId", "/summary"].map(|at| {
            operation
                .pointer(at)
                .and_then(Value::as_str)
                .unwrap_or_default()
        });
        let method = method.to_uppercase();
        rows.push(format!(
            "| {tag} | `{method} {path}` | `{id}` | {} |",
            summary.replace('\n', " ")
        ));
    }
    rows.sort();
    let table = format!(
        "| | operation | id | |\n|---|---|---|---|\n{}\n",
        rows.join("\n")
    );
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    let text = fs::read_to_string(&file).unwrap();
    let (head, rest) = text.split_once("<!-- operations -->\n").unwrap();
    let (old, tail) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("POSTHORN_WRITE_DOCS").is_some() {
        let new = format!("{head}<!-- operations -->\n{table}<!-- end -->{tail}");
        fs::write(&file, new).unwrap();
        return;
    }
    assert_eq!(
        old, table,
        "POSTHORN_WRITE_DOCS=1 cargo test contract writes it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_health_and_the_description_is_open() {
    let world = World::start().await;
    let ours = Document(world.get("/api/v1/openapi.json").await.body);
    let mut checked = 0;
    for (method, path, operation) in ours.operations() {
        let path = path.replace(['{', '}'], "");
        let method = method.to_uppercase();
        // Where the body holds the token, that is no good one either.
        let body = (!operation["requestBody"].is_null()).then_some(r#"{"oneTimeToken":"x"}"#);
        let answer = world.request(&method, &path, body, &[], None).await;
        let expected = if path.starts_with("/api/v1/health") {
            204
        } else {
            401
        };
        assert_eq!(answer.status, expected, "{method} {path}: {answer:?}");
        checked += 1;
    }
    assert!(checked >= 43, "{checked} operations");
    let unknown = world.get("/api/v1/nothing").await;
    assert_eq!(
        (unknown.status, unknown.body["code"].as_str()),
        (404, Some("not_found"))
    );
}
