//! What the local stack takes from template.yaml.

mod condition;
mod parameters;
mod resolve;
mod resources;
mod text;

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

pub use condition::{Condition, ConditionKey};
pub use parameters::ParameterError;
pub(crate) use text::last_part;

/// The resources that the local stack stands in for.
#[derive(Clone, Debug)]
pub struct Template {
    /// The Lambda functions.
    pub functions: Vec<FunctionSpec>,
    /// The DynamoDB tables.
    pub tables: Vec<TableSpec>,
    /// The SQS queues.
    pub queues: Vec<QueueSpec>,
    /// The Secrets Manager secrets, by logical id.
    pub secrets: Vec<String>,
    /// The KMS keys, by logical id.
    pub kms_keys: Vec<String>,
}

/// Something that a function's role allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The function, by logical id.
    pub function: String,
    /// The action, as `sqs:SendMessage`.
    pub action: String,
    /// The resource, by logical id.
    pub resource: String,
    /// What must hold of the request.
    pub conditions: Vec<Condition>,
}

/// A Lambda function.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    /// Its name in the template.
    pub logical_id: String,
    /// The binary that it runs.
    pub binary: String,
    /// The longest time for an invocation.
    pub timeout: Duration,
    /// Its memory, in MB.
    pub memory_mb: u64,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// Its role, by logical id.
    pub role: String,
    /// What its role allows.
    pub permissions: Vec<Permission>,
    /// The HTTP routes that it answers.
    pub routes: Vec<Route>,
    /// The queues that it consumes.
    pub sources: Vec<SourceSpec>,
    /// How often it is invoked by the clock.
    pub schedule: Option<Duration>,
}

/// An HTTP route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The path with its parameters in braces.
    pub path: String,
    /// The method, in capitals.
    pub method: String,
}

/// An SQS event source.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// The queue, by logical id.
    pub queue: String,
    /// The most records of an invocation.
    pub batch_size: u16,
    /// How long a batch that is not full waits for more records.
    pub window: Duration,
    /// The most invocations at the same time.
    pub max_concurrency: usize,
}

/// A DynamoDB table.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Its name: the logical id.
    pub name: String,
    /// The request that creates it.
    pub create: Value,
    /// The attribute that holds its items' expiry.
    pub ttl_attribute: Option<String>,
}

/// An SQS queue.
#[derive(Clone, Debug)]
pub struct QueueSpec {
    /// Its name: the logical id.
    pub name: String,
    /// The attributes that it is created with.
    pub attributes: BTreeMap<String, String>,
}

/// The template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It is not YAML.
    #[error("template.yaml cannot be read: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// Parameters were given that it does not take.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// It uses something that the local stack does not know.
    #[error("template.yaml, {at}: {reason}")]
    Unsupported {
        /// The resource.
        at: String,
        /// What it is.
        reason: String,
    },
}

impl Template {
    /// Reads the template of this repository. `queue_base` is what queue URLs begin with.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn load(
        overrides: &BTreeMap<String, String>,
        queue_base: &str,
    ) -> Result<Self, TemplateError> {
        const TEMPLATE: &str =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../template.yaml"));
        Self::parse(TEMPLATE, overrides, queue_base)
    }

    fn parse(
        text: &str,
        overrides: &BTreeMap<String, String>,
        queue_base: &str,
    ) -> Result<Self, TemplateError> {
        let document: serde_yaml_ng::Value = serde_yaml_ng::from_str(text)?;
        let parameters = parameters::values(&document["Parameters"], overrides)?;
        let types = resources::types(&document["Resources"]);
        let mut resolver = resolve::Resolver {
            parameters,
            types,
            conditions: BTreeMap::new(),
            queue_base: queue_base.to_owned(),
        };
        resolver.conditions = resolver.conditions_of(&document["Conditions"])?;
        resources::read(&document, &resolver)
    }
}

#[cfg(test)]
mod tests {
    use super::{text::text, *};

    fn load(overrides: &[(&str, &str)]) -> Result<Template, TemplateError> {
        let overrides = overrides
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Template::load(&overrides, "http://127.0.0.1:1/000000000000")
    }

    fn dispatcher(template: &Template) -> &FunctionSpec {
        template
            .functions
            .iter()
            .find(|function| function.binary == "dispatcher")
            .unwrap()
    }

    #[test]
    fn the_real_template_is_understood() {
        let template = load(&[]).unwrap();
        let functions = template.functions.iter();
        let binaries: Vec<_> = functions.map(|function| function.binary.as_str()).collect();
        let expected = ["ingest", "dispatcher", "dispatcher", "scheduler", "api"];
        assert_eq!(binaries, expected);
        assert_eq!(template.tables.len(), 4);
        assert!(
            template
                .tables
                .iter()
                .all(|table| table.ttl_attribute.as_deref() == Some("ttl"))
        );
        let environment = &dispatcher(&template).environment;
        assert_eq!(environment["CONFIG_TABLE"], "ConfigTable");
        assert_eq!(
            environment["DELIVERIES_QUEUE_URL"],
            "http://127.0.0.1:1/000000000000/DeliveriesQueue"
        );
        assert_eq!(environment["LOG_LEVEL"], "info");
        let queue = template
            .queues
            .iter()
            .find(|queue| queue.name == "DeliveriesQueue")
            .unwrap();
        assert_eq!(queue.attributes["VisibilityTimeout"], "370");
        assert!(queue.attributes["RedrivePolicy"].contains(":DeliveriesDeadLetterQueue\""));
    }

    #[test]
    fn every_value_that_is_allowed_is_understood() {
        let template = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../template.yaml"));
        let document: serde_yaml_ng::Value = serde_yaml_ng::from_str(template).unwrap();
        let mut count = 0;
        for (name, parameter) in document["Parameters"].as_mapping().unwrap() {
            let allowed = parameter["AllowedValues"].as_sequence();
            for value in allowed.into_iter().flatten() {
                let value = serde_json::to_value(value).unwrap();
                let (name, value) = (name.as_str().unwrap(), text(&value));
                let loaded = load(&[(name, &value)]);
                assert!(loaded.is_ok(), "{name}={value}: {:?}", loaded.err());
                count += 1;
            }
        }
        assert!(count > 10, "{count}");
    }

    #[test]
    fn both_queues_have_a_function_of_their_own() {
        let template = load(&[("SlowBatchSize", "40")]).unwrap();
        let functions = template.functions.iter();
        let sources = functions.flat_map(|function| {
            let sources = function.sources.iter();
            sources.map(|it| (&*function.logical_id, &*it.queue, it.batch_size, it.window))
        });
        let fast = ("DispatcherFunction", "DeliveriesQueue", 10, Duration::ZERO);
        let second = Duration::from_secs(1);
        let slow = ("SlowDispatcherFunction", "SlowDeliveriesQueue", 40, second);
        assert_eq!(sources.collect::<Vec<_>>(), [fast, slow]);
    }

    #[test]
    fn parameters_reach_the_resources() {
        let template =
            load(&[("DispatcherTimeoutSeconds", "20"), ("RetrySchedule", "1,2")]).unwrap();
        assert_eq!(dispatcher(&template).timeout, Duration::from_secs(20));
        assert_eq!(dispatcher(&template).environment["RETRY_SCHEDULE"], "1,2");
    }

    #[test]
    fn a_condition_decides_what_is_there() {
        let with = load(&[]).unwrap();
        let without = load(&[("SecretsEncryption", "table")]).unwrap();
        let kms = |template: &Template| {
            let permissions = dispatcher(template).permissions.iter();
            let kms = permissions.filter(|it| it.action == "kms:Decrypt").count();
            (template.kms_keys.len(), kms)
        };
        assert_eq!((kms(&with), kms(&without)), ((1, 1), (0, 0)));
        let key = |template: &Template| dispatcher(template).environment["SECRETS_KEY"].clone();
        assert!(key(&with).ends_with(":SecretsKey"));
        assert_eq!(key(&without), "");
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let error = |given| load(&[given]).unwrap_err().to_string();
        assert!(error(("Nonsense", "1")).contains("Nonsense"));
        assert!(error(("BatchSize", "11")).contains("BatchSize"));
        assert!(error(("BatchSize", "many")).contains("BatchSize"));
        assert!(error(("LogLevel", "loud")).contains("LogLevel"));
        assert!(error(("RetrySchedule", "abc")).contains("'RetrySchedule' must match pattern"));
    }

    #[test]
    fn what_the_local_stack_does_not_know_is_named() {
        let error = |resource: &str| {
            let text = format!("Parameters: {{}}\nResources:\n  Thing: {resource}");
            let error = Template::parse(&text, &BTreeMap::new(), "").unwrap_err();
            error.to_string()
        };
        let queue = |value: &str| {
            error(&format!(
                "{{ Type: AWS::SQS::Queue, Properties: {{ A: {value} }} }}"
            ))
        };
        for (error, name) in [
            (error("{ Type: AWS::SNS::Topic }"), "AWS::SNS::Topic"),
            (
                error("{ Type: AWS::SQS::Queue, Condition: C }"),
                "condition",
            ),
            (queue("!If [C, a, b]"), "!If"),
            (queue("!Join [a, b]"), "!Join"),
            (queue("!Ref Other"), "!Ref Other"),
            (queue("!GetAtt Thing.Url"), "!GetAtt Thing.Url"),
            (queue("{ 'Fn::Sub': a }"), "Fn::Sub"),
            (queue("{ Ref: Thing }"), "Ref"),
        ] {
            assert!(error.contains("Thing") && error.contains(name), "{error}");
        }
    }
}
