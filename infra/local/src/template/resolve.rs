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
    /// Whether each condition holds.
    pub(super) conditions: BTreeMap<String, bool>,
    pub(super) queue_base: String,
}

/// What `AWS::NoValue` stands for: the entry is left out.
fn is_no_value(yaml: &Yaml) -> bool {
    matches!(yaml, Yaml::Tagged(tagged) if tagged.tag == "!Ref" && tagged.value == "AWS::NoValue")
}

impl Resolver {
    /// Whether each condition holds: they are `!Equals` of two values.
    pub(super) fn conditions_of(
        &self,
        yaml: &Yaml,
    ) -> Result<BTreeMap<String, bool>, TemplateError> {
        let entries = yaml.as_mapping().into_iter().flatten();
        let condition = |(name, yaml): (&Yaml, &Yaml)| {
            let name = name.as_str().unwrap_or_default();
            let unsupported = || TemplateError::Unsupported {
                at: format!("Conditions, {name}"),
                reason: "expected !Equals with two values".to_owned(),
            };
            let Yaml::Tagged(tagged) = yaml else {
                return Err(unsupported());
            };
            match tagged.value.as_sequence().map(Vec::as_slice) {
                Some([left, right]) if tagged.tag == "!Equals" => {
                    let holds = self.resolve(name, left)? == self.resolve(name, right)?;
                    Ok((name.to_owned(), holds))
                }
                _ => Err(unsupported()),
            }
        };
        entries.map(condition).collect()
    }

    /// The side of an `!If` that holds; anything else is itself.
    fn chosen<'a>(&self, yaml: &'a Yaml) -> Option<&'a Yaml> {
        let Yaml::Tagged(tagged) = yaml else {
            return Some(yaml);
        };
        if tagged.tag != "!If" {
            return Some(yaml);
        }
        match tagged.value.as_sequence()?.as_slice() {
            [condition, yes, no] => {
                let holds = *self.conditions.get(condition.as_str()?)?;
                self.chosen(if holds { yes } else { no })
            }
            _ => None,
        }
    }

    /// `at` names the resource in errors.
    pub(super) fn resolve(&self, at: &str, yaml: &Yaml) -> Result<Value, TemplateError> {
        let unsupported = |reason: String| TemplateError::Unsupported {
            at: at.to_owned(),
            reason,
        };
        let yaml = self
            .chosen(yaml)
            .ok_or_else(|| unsupported("an !If that is not understood".to_owned()))?;
        let is_there = |yaml: &Yaml| !self.chosen(yaml).is_some_and(is_no_value);
        match yaml {
            Yaml::Null => Ok(Value::Null),
            Yaml::Bool(value) => Ok(Value::from(*value)),
            Yaml::Number(value) => Ok(value
                .as_i64()
                .map_or_else(|| Value::from(value.as_f64()), Value::from)),
            Yaml::String(text) => Ok(Value::from(text.as_str())),
            Yaml::Sequence(items) => {
                let items = items.iter().filter(|item| is_there(item));
                items.map(|item| self.resolve(at, item)).collect()
            }
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
                    .filter(|(_, value)| is_there(value))
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
            "AWS::IAM::Role" => "iam",
            "AWS::KMS::Key" => "kms",
            _ => return None,
        };
        (attribute == "Arn")
            .then(|| format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}").into())
    }
}
