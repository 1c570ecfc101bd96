//! Reads resources that the local stack stands in for.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;

use super::{
    FunctionSpec, Permission, QueueSpec, Route, SourceSpec, TableSpec, Template, TemplateError,
    condition::Condition,
    resolve::Resolver,
    text::{last_part, text},
};

/// Types that mean nothing locally.
const IGNORED: [&str; 6] = [
    "AWS::CloudFormation::Stack",
    // Of the network that a nested stack makes.
    "AWS::IAM::Policy",
    "AWS::CloudWatch::Alarm",
    "AWS::Logs::LogGroup",
    "AWS::Serverless::HttpApi",
    "AWS::SQS::QueuePolicy",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Function {
    timeout: u64,
    memory_size: u64,
    environment: Environment,
    role: String,
    #[serde(default)]
    events: BTreeMap<String, Event>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Environment {
    variables: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    policy_document: Document,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    statement: Vec<Statement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    effect: String,
    action: OneOrMore,
    resource: OneOrMore,
    /// Operator → key → values.
    #[serde(default)]
    condition: BTreeMap<String, BTreeMap<String, OneOrMore>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::More(more) => more,
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "Type", content = "Properties")]
enum Event {
    HttpApi(Http),
    #[serde(rename = "SQS")]
    Sqs(Source),
    ScheduleV2(Schedule),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Http {
    method: String,
    path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mapping {
    function_name: String,
    event_source_arn: String,
    #[serde(flatten)]
    batches: Batches,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Source {
    queue: String,
    #[serde(flatten)]
    batches: Batches,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batches {
    batch_size: u16,
    maximum_batching_window_in_seconds: u64,
    scaling_config: Scaling,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Scaling {
    maximum_concurrency: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Schedule {
    schedule_expression: String,
}

/// The type of every resource, by logical id.
pub(super) fn types(resources: &Yaml) -> BTreeMap<String, String> {
    let entries = resources.as_mapping().into_iter().flatten();
    let kind = |(id, resource): (&Yaml, &Yaml)| {
        Some((
            id.as_str()?.to_owned(),
            resource["Type"].as_str()?.to_owned(),
        ))
    };
    entries.filter_map(kind).collect()
}

pub(super) fn read(document: &Yaml, resolver: &Resolver) -> Result<Template, TemplateError> {
    let mut template = Template {
        functions: Vec::new(),
        tables: Vec::new(),
        queues: Vec::new(),
        secrets: Vec::new(),
        kms_keys: Vec::new(),
    };
    let globals = resolver.resolve(
        "Globals",
        &document["Globals"]["Function"]["Environment"]["Variables"],
    )?;
    let mut mappings: Vec<(&str, Mapping)> = Vec::new();
    for (id, resource) in document["Resources"].as_mapping().into_iter().flatten() {
        let id = id.as_str().unwrap_or_default();
        if let Some(condition) = resource["Condition"].as_str() {
            let holds = resolver.conditions.get(condition);
            match holds.ok_or_else(|| unsupported(id, "there is no such condition"))? {
                true => {}
                false => continue,
            }
        }
        let properties = || resolver.resolve(id, &resource["Properties"]);
        match resource["Type"].as_str().unwrap_or_default() {
            "AWS::Serverless::Function" => {
                let binary = resource["Metadata"]["BuildProperties"]["Binary"].as_str();
                let binary =
                    binary.ok_or_else(|| unsupported(id, "no Metadata.BuildProperties.Binary"))?;
                let spec = function(id, binary, properties()?, &globals)?;
                let role = |name: &str| {
                    let role = &document["Resources"][name]["Properties"]["Policies"];
                    resolver.resolve(name, role)
                };
                template.functions.push(spec.with_role(role)?);
            }
            "AWS::Lambda::EventSourceMapping" => mappings.push((id, typed(id, properties()?)?)),
            "AWS::DynamoDB::Table" => template.tables.push(table(id, &properties()?)),
            "AWS::SQS::Queue" => template.queues.push(queue(id, properties()?)?),
            "AWS::SecretsManager::Secret" => template.secrets.push(id.to_owned()),
            // Read with the function that has it.
            "AWS::IAM::Role" => {}
            "AWS::KMS::Key" => template.kms_keys.push(id.to_owned()),
            kind if IGNORED.contains(&kind) => {}
            kind => return Err(unsupported(id, &format!("{kind} is not supported"))),
        }
    }
    for (id, mapping) in mappings {
        template.connect(id, &mapping)?;
    }
    Ok(template)
}

impl Template {
    fn connect(&mut self, id: &str, mapping: &Mapping) -> Result<(), TemplateError> {
        let mut functions = self.functions.iter_mut();
        let function = functions
            .find(|function| function.logical_id == mapping.function_name)
            .ok_or_else(|| unsupported(id, "FunctionName is no function of the template"))?;
        let source = source_spec(&mapping.event_source_arn, &mapping.batches);
        function.sources.push(source);
        Ok(())
    }
}

fn unsupported(at: &str, reason: &str) -> TemplateError {
    TemplateError::Unsupported {
        at: at.to_owned(),
        reason: reason.to_owned(),
    }
}

fn typed<T: DeserializeOwned>(at: &str, value: Value) -> Result<T, TemplateError> {
    serde_json::from_value(value).map_err(|error| unsupported(at, &error.to_string()))
}

fn function(
    id: &str,
    binary: &str,
    properties: Value,
    globals: &Value,
) -> Result<FunctionSpec, TemplateError> {
    let function: Function = typed(id, properties)?;
    let globals: BTreeMap<String, Value> = typed("Globals", globals.clone())?;
    let variables = globals.into_iter().chain(function.environment.variables);
    let mut spec = FunctionSpec {
        logical_id: id.to_owned(),
        binary: binary.to_owned(),
        timeout: Duration::from_secs(function.timeout),
        memory_mb: function.memory_size,
        environment: variables
            .map(|(name, value)| (name, text(&value)))
            .collect(),
        role: last_part(&function.role),
        permissions: Vec::new(),
        routes: Vec::new(),
        sources: Vec::new(),
        schedule: None,
    };
    for event in function.events.into_values() {
        match event {
            Event::HttpApi(http) => spec.routes.push(route(id, http)?),
            Event::Sqs(source) => spec
                .sources
                .push(source_spec(&source.queue, &source.batches)),
            Event::ScheduleV2(Schedule {
                schedule_expression,
            }) => {
                spec.schedule = Some(
                    rate(&schedule_expression)
                        .ok_or_else(|| unsupported(id, &schedule_expression))?,
                );
            }
        }
    }
    Ok(spec)
}

impl FunctionSpec {
    /// The same with the permissions of its role.
    fn with_role(
        self,
        policies: impl Fn(&str) -> Result<Value, TemplateError>,
    ) -> Result<Self, TemplateError> {
        let policies = typed(&self.role, policies(&self.role)?)?;
        Ok(Self {
            permissions: permissions(&self.logical_id, policies)?,
            ..self
        })
    }
}

/// What statements allow that have no wildcards in actions and resources.
fn permissions(id: &str, policies: Vec<Policy>) -> Result<Vec<Permission>, TemplateError> {
    let mut permissions = Vec::new();
    let statements = policies.into_iter();
    for statement in statements.flat_map(|policy| policy.policy_document.statement) {
        if statement.effect != "Allow" {
            return Err(unsupported(id, "a statement that does not allow"));
        }
        let resources = statement.resource.into_vec();
        let conditions = conditions(id, statement.condition)?;
        for action in statement.action.into_vec() {
            if action.contains('*') || resources.iter().any(|resource| resource.contains('*')) {
                return Err(unsupported(id, "a policy with a wildcard is not supported"));
            }
            permissions.extend(resources.iter().map(|resource| Permission {
                function: id.to_owned(),
                action: action.clone(),
                resource: last_part(resource),
                conditions: conditions.clone(),
            }));
        }
    }
    Ok(permissions)
}

fn conditions(
    id: &str,
    operators: BTreeMap<String, BTreeMap<String, OneOrMore>>,
) -> Result<Vec<Condition>, TemplateError> {
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        for (key, values) in keys {
            let condition = Condition::read(&operator, &key, values.into_vec());
            let reason = format!("the condition {operator} of {key} is not supported");
            conditions.push(condition.ok_or_else(|| unsupported(id, &reason))?);
        }
    }
    Ok(conditions)
}

/// A path may end in a greedy parameter, `{proxy+}`; the HTTP API's other wildcards are not understood here.
/// A slash at the end is refused, as the HTTP API refuses it.
fn route(id: &str, Http { method, path }: Http) -> Result<Route, TemplateError> {
    let method = method.to_uppercase();
    let is_greedy = path.ends_with("/{proxy+}");
    let wildcards = path.matches("+}").count() - usize::from(is_greedy);
    if path.starts_with('$') || path.ends_with('/') || wildcards > 0 {
        let reason = format!("the route {method} {path} is not supported");
        return Err(unsupported(id, &reason));
    }
    Ok(Route { path, method })
}

fn source_spec(queue: &str, batches: &Batches) -> SourceSpec {
    SourceSpec {
        queue: last_part(queue),
        batch_size: batches.batch_size,
        window: Duration::from_secs(batches.maximum_batching_window_in_seconds),
        max_concurrency: batches.scaling_config.maximum_concurrency,
    }
}

/// `rate(1 minute)`, `rate(5 minutes)`.
fn rate(expression: &str) -> Option<Duration> {
    let inner = expression.strip_prefix("rate(")?.strip_suffix(')')?;
    let minutes = inner
        .strip_suffix(" minute")
        .or_else(|| inner.strip_suffix(" minutes"))?;
    minutes
        .parse()
        .ok()
        .map(|minutes: u64| Duration::from_secs(60 * minutes))
}

/// CreateTable takes what the template says, under the same names.
fn table(id: &str, properties: &Value) -> TableSpec {
    TableSpec {
        name: id.to_owned(),
        create: json!({
            "TableName": id,
            "KeySchema": properties["KeySchema"],
            "AttributeDefinitions": properties["AttributeDefinitions"],
            "BillingMode": properties["BillingMode"],
        }),
        ttl_attribute: properties["TimeToLiveSpecification"]["AttributeName"]
            .as_str()
            .map(str::to_owned),
    }
}

fn queue(id: &str, properties: Value) -> Result<QueueSpec, TemplateError> {
    let properties: BTreeMap<String, Value> = typed(id, properties)?;
    let attributes = properties
        .into_iter()
        .map(|(name, value)| (name, text(&value)))
        .collect();
    Ok(QueueSpec {
        name: id.to_owned(),
        attributes,
    })
}
