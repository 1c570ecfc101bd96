//! CloudFormation's intrinsic functions, as far as the template uses them in resources.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use serde_yaml_ng::Value as Yaml;

use super::{TemplateError, text::text};
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
    /// Whether each condition holds: they are `!Equals` of two values, or the `!Not` of that.
    pub(super) fn conditions_of(
        &self,
        yaml: &Yaml,
    ) -> Result<BTreeMap<String, bool>, TemplateError> {
        let entries = yaml.as_mapping().into_iter().flatten();
        let condition = |(name, yaml): (&Yaml, &Yaml)| {
            let name = name.as_str().unwrap_or_default();
            Ok((name.to_owned(), self.holds(name, yaml)?))
        };
        entries.map(condition).collect()
    }

    fn holds(&self, name: &str, yaml: &Yaml) -> Result<bool, TemplateError> {
        let unsupported = || TemplateError::Unsupported {
            at: format!("Conditions, {name}"),
            reason: "expected !Equals with two values, or !Not of it".to_owned(),
        };
        let Yaml::Tagged(tagged) = yaml else {
            return Err(unsupported());
        };
        let tag = tagged.tag.to_string();
        match (tag.as_str(), tagged.value.as_sequence().map(Vec::as_slice)) {
            ("!Equals", Some([left, right])) => {
                // Numbers and texts are alike, as they are for CloudFormation.
                let [left, right] = [self.resolve(name, left)?, self.resolve(name, right)?];
                Ok(text(&left) == text(&right))
            }
            ("!Not", Some([inner])) => Ok(!self.holds(name, inner)?),
            _ => Err(unsupported()),
        }
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
                    "!Sub" => self.substitute(at, &tagged.value),
                    "!Split" => self.split(at, &tagged.value),
                    _ => None,
                };
                resolved.ok_or_else(|| {
                    unsupported(format!("{} {argument} is not supported", tagged.tag))
                })
            }
        }
    }

    /// A text with `${Name}` in it, or that with names of its own.
    fn substitute(&self, at: &str, argument: &Yaml) -> Option<Value> {
        let (text, own) = match argument.as_sequence().map(Vec::as_slice) {
            Some([text, own]) => (text.as_str()?, self.resolve(at, own).ok()?),
            Some(_) => return None,
            None => (argument.as_str()?, Value::Null),
        };
        let mut parts = text.split("${");
        let mut filled = parts.next()?.to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}')?;
            let own = own.get(name).cloned();
            let value = own.or_else(|| self.reference(name));
            let value = value.or_else(|| self.attribute(name))?;
            filled += &value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            filled += rest;
        }
        Some(filled.into())
    }

    /// The parts of a text between separators.
    fn split(&self, at: &str, argument: &Yaml) -> Option<Value> {
        let [separator, whole] = argument.as_sequence()?.as_slice() else {
            return None;
        };
        let whole = self.resolve(at, whole).ok()?;
        Some(whole.as_str()?.split(separator.as_str()?).collect())
    }

    fn reference(&self, name: &str) -> Option<Value> {
        // SAM's name for the alias that a function is published under: the local stack has no versions.
        let name = name.strip_suffix(".Alias").unwrap_or(name);
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
            // A nested stack is not started; what it would tell keeps its name.
            "AWS::CloudFormation::Stack" => return Some(name.into()),
            _ => return None,
        };
        (attribute == "Arn")
            .then(|| format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}").into())
    }
}
