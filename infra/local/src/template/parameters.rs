//! The template's parameters: defaults, overrides, and the rules that CloudFormation checks.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A parameter was given that the template does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parameter {name}: {reason}")]
pub struct ParameterError {
    /// The parameter.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    #[serde(rename = "Type")]
    kind: String,
    default: Value,
    #[serde(default)]
    allowed_values: Vec<Value>,
    min_value: Option<i64>,
    max_value: Option<i64>,
}

/// The value of every parameter.
pub(super) fn values(
    declared: &serde_yaml_ng::Value,
    overrides: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Value>, super::TemplateError> {
    let declared: BTreeMap<String, Parameter> = serde_yaml_ng::from_value(declared.clone())?;
    if let Some(name) = overrides.keys().find(|name| !declared.contains_key(*name)) {
        let names: Vec<_> = declared.keys().map(String::as_str).collect();
        let reason = format!(
            "the template has no such parameter; it has {}",
            names.join(", ")
        );
        return Err(ParameterError {
            name: name.clone(),
            reason,
        }
        .into());
    }
    let value = |(name, parameter): (String, Parameter)| {
        let value = match overrides.get(&name) {
            Some(text) => parameter.check(text).map_err(|reason| ParameterError {
                name: name.clone(),
                reason,
            })?,
            None => parameter.default,
        };
        Ok((name, value))
    };
    declared.into_iter().map(value).collect()
}

impl Parameter {
    fn check(&self, text: &str) -> Result<Value, String> {
        let value = match self.kind.as_str() {
            "Number" => Value::from(
                text.parse::<i64>()
                    .map_err(|_| format!("`{text}` is not a whole number"))?,
            ),
            _ => Value::from(text),
        };
        if !self.allowed_values.is_empty() && !self.allowed_values.contains(&value) {
            return Err(format!(
                "`{text}` is not one of {}",
                Value::from(self.allowed_values.clone())
            ));
        }
        let number = value.as_i64();
        match (self.min_value, self.max_value) {
            (Some(min), _) if number.is_some_and(|n| n < min) => {
                Err(format!("must be at least {min}"))
            }
            (_, Some(max)) if number.is_some_and(|n| n > max) => {
                Err(format!("must be at most {max}"))
            }
            _ => Ok(value),
        }
    }
}
