//! CloudFormation's intrinsic functions, as far as the template uses them in resources.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use serde_yaml_ng::Value as Yaml;

use super::TemplateError;
use crate::{ACCOUNT, REGION};

/// Turns a resource's YAML into plain JSON.
pub(super) struct Resolver {
    pub(super) parameters: BTreeMap<String, Value>,
    /// Resource types by logical id.
    pub(super) types: BTreeMap<String, String>,
    pub(super) queue_base: String,
}

impl Resolver {
    /// `at` names the resource in errors.
    pub(super) fn resolve(&self, at: &str, yaml: &Yaml) -> Result<Value, TemplateError> {
        let unsupported = |reason: String| TemplateError::Unsupported {
            at: at.to_owned(),
            reason,
        };
        match yaml {
            Yaml::Null => Ok(Value::Null),
            Yaml::Bool(value) => Ok(Value::from(*value)),
            Yaml::Number(value) => Ok(value
                .as_i64()
                .map_or_else(|| Value::from(value.as_f64()), Value::from)),
            Yaml::String(text) => Ok(Value::from(text.as_str())),
            Yaml::Sequence(items) => items.iter().map(|item| self.resolve(at, item)).collect(),
            Yaml::Mapping(entries) => {
                let entry = |(key, value): (&Yaml, &Yaml)| {
                    let key = key
                        .as_str()
                        .ok_or_else(|| unsupported("a key that is not text".to_owned()))?;
                    if key == "Ref" || key.starts_with("Fn::") {
                        return Err(unsupported(format!("the long form {key} is not supported")));
                    }
                    Ok((key.to_owned(), self.resolve(at, value)?))
                };
                entries
                    .iter()
                    .map(entry)
                    .collect::<Result<Map<_, _>, _>>()
                    .map(Value::Object)
            }
            Yaml::Tagged(tagged) => {
                let argument = tagged.value.as_str().unwrap_or_default();
                let resolved = match tagged.tag.to_string().as_str() {
                    "!Ref" => self.reference(argument),
                    "!GetAtt" => self.attribute(argument),
                    _ => None,
                };
                resolved.ok_or_else(|| {
                    unsupported(format!("{} {argument} is not supported", tagged.tag))
                })
            }
        }
    }

    fn reference(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.parameters.get(name) {
            return Some(value.clone());
        }
        match (name, self.types.get(name).map(String::as_str)) {
            ("AWS::Region", _) => Some(REGION.into()),
            ("AWS::AccountId", _) => Some(ACCOUNT.into()),
            (_, Some("AWS::SQS::Queue")) => Some(format!("{}/{name}", self.queue_base).into()),
            (_, Some(_)) => Some(name.into()),
            (_, None) => None,
        }
    }

    fn attribute(&self, name: &str) -> Option<Value> {
        let (resource, attribute) = name.split_once('.')?;
        let service = match self.types.get(resource)?.as_str() {
            "AWS::SQS::Queue" => "sqs",
            "AWS::DynamoDB::Table" => "dynamodb",
            "AWS::Serverless::Function" => "lambda",
            "AWS::Logs::LogGroup" => "logs",
            _ => return None,
        };
        (attribute == "Arn")
            .then(|| format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}").into())
    }
}
