//! The template's parameters: defaults, overrides, and the rules that CloudFormation checks before it starts anything
//! (AWS CloudFormation: "CloudFormation template Parameters syntax").

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde::Deserialize;
use serde_json::Value;

/// Why the given parameters do not fit the template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// The template has no such parameters.
    #[error("Parameters: [{}] do not exist in the template; it has {}", names.join(", "), has.join(", "))]
    Unknown {
        /// The unknown names.
        names: Vec<String>,
        /// The names that the template has.
        has: Vec<String>,
    },
    /// Parameters without a default need values.
    #[error("Parameters: [{}] must have values", .0.join(", "))]
    Missing(Vec<String>),
    /// A value breaks a rule of its parameter.
    #[error("Parameter '{name}' {rule}; it is `{value}`")]
    Refused {
        /// The parameter.
        name: String,
        /// The rule, for example `must be one of AllowedValues: [a, b]`.
        rule: String,
        /// The value.
        value: String,
    },
}

/// A parameter as the template declares it. Any other rule is not supported here, and so is
/// refused.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Parameter {
    #[serde(rename = "Type")]
    kind: Kind,
    default: Option<Value>,
    #[serde(default)]
    allowed_values: Vec<Value>,
    allowed_pattern: Option<String>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    min_value: Option<f64>,
    max_value: Option<f64>,
    constraint_description: Option<String>,
    #[serde(rename = "Description")]
    _description: Option<String>,
    #[serde(rename = "NoEcho")]
    _no_echo: Option<bool>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
enum Kind {
    String,
    Number,
    CommaDelimitedList,
}

/// The value of every parameter: text, a number, or a list of texts.
pub(super) fn values(
    declared: &serde_yaml_ng::Value,
    overrides: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Value>, super::TemplateError> {
    let declared: BTreeMap<String, Parameter> = serde_yaml_ng::from_value(declared.clone())?;
    let given = overrides.keys();
    let unknown: Vec<_> = given.filter(|name| !declared.contains_key(*name)).collect();
    if !unknown.is_empty() {
        return Err(ParameterError::Unknown {
            names: unknown.into_iter().cloned().collect(),
            has: declared.keys().cloned().collect(),
        }
        .into());
    }
    let (mut values, mut missing) = (BTreeMap::new(), Vec::new());
    for (name, parameter) in declared {
        let default = parameter.default.as_ref().map(super::text::text);
        match overrides.get(&name).cloned().or(default) {
            Some(text) => {
                let value = parameter
                    .parse(&text)
                    .map_err(|rule| refused(&name, rule, text))?;
                values.insert(name, value);
            }
            None => missing.push(name),
        }
    }
    if !missing.is_empty() {
        return Err(ParameterError::Missing(missing).into());
    }
    Ok(values)
}

fn refused(name: &str, rule: String, value: String) -> ParameterError {
    ParameterError::Refused {
        name: name.to_owned(),
        rule,
        value,
    }
}

impl Parameter {
    /// Parses a value, or returns the rule that it breaks.
    fn parse(&self, text: &str) -> Result<Value, String> {
        let parsed = match self.kind {
            Kind::String => self.check_text(text).map(|()| text.into()),
            Kind::Number => self.number(text),
            Kind::CommaDelimitedList => {
                let items = text.split(',').map(str::trim);
                let checked = items.map(|item| self.check_text(item).map(|()| item.into()));
                checked.collect::<Result<Vec<Value>, _>>().map(Value::Array)
            }
        };
        let described = self.constraint_description.as_ref();
        parsed.map_err(|rule| {
            described.map_or(rule, |it| format!("failed to satisfy constraint: {it}"))
        })
    }

    /// CloudFormation accepts fractions, too, but no resource here has a number that may be one.
    fn number(&self, text: &str) -> Result<Value, String> {
        let number: i64 = text
            .parse()
            .map_err(|_| "must be a whole number".to_owned())?;
        if let Some(least) = self.min_value.filter(|least| (number as f64) < *least) {
            return Err(format!("must be a number not less than {least}"));
        }
        if let Some(most) = self.max_value.filter(|most| number as f64 > *most) {
            return Err(format!("must be a number not greater than {most}"));
        }
        self.check_allowed(&number.to_string())?;
        Ok(number.into())
    }

    fn check_text(&self, text: &str) -> Result<(), String> {
        let length = text.chars().count();
        if let Some(least) = self.min_length.filter(|least| length < *least) {
            return Err(format!("must contain at least {least} characters"));
        }
        if let Some(most) = self.max_length.filter(|most| length > *most) {
            return Err(format!("must contain at most {most} characters"));
        }
        if let Some(pattern) = &self.allowed_pattern {
            // "The pattern must match the entire parameter value provided."
            let whole = Regex::new(&format!("^(?:{pattern})$"))
                .map_err(|error| format!("has a pattern that is not understood here: {error}"))?;
            if !whole.is_match(text) {
                return Err(format!("must match pattern {pattern}"));
            }
        }
        self.check_allowed(text)
    }

    fn check_allowed(&self, text: &str) -> Result<(), String> {
        let allowed: Vec<_> = self.allowed_values.iter().map(super::text::text).collect();
        if allowed.is_empty() || allowed.iter().any(|one| one == text) {
            return Ok(());
        }
        Err(format!(
            "must be one of AllowedValues: [{}]",
            allowed.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::template::TemplateError;

    const DECLARED: &str = r#"
Text: { Type: String, Default: abc, MinLength: 2, MaxLength: 4 }
Pattern: { Type: String, Default: "1,2", AllowedPattern: "([0-9]+(,[0-9]+)*)?" }
Described: { Type: String, Default: a, AllowedPattern: "[a-z]+", ConstraintDescription: only small letters }
Choice: { Type: String, Default: "true", AllowedValues: ["true", "false"] }
Count: { Type: Number, Default: 5, MinValue: 2, MaxValue: 9 }
Days: { Type: Number, Default: 1, AllowedValues: [1, 3, 5] }
List: { Type: CommaDelimitedList, Default: "a, b", AllowedValues: [a, b, c] }
Needed: { Type: String }
"#;

    fn given(overrides: &[(&str, &str)]) -> Result<BTreeMap<String, Value>, String> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let overrides = overrides.iter().map(own).collect();
        let declared = serde_yaml_ng::from_str(DECLARED).unwrap();
        values(&declared, &overrides).map_err(|error| match error {
            TemplateError::Parameter(error) => error.to_string(),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn every_rule_of_a_parameter_is_checked() {
        for (name, value, expected) in [
            ("Text", "a", "'Text' must contain at least 2 characters"),
            ("Text", "", "'Text' must contain at least 2 characters"),
            ("Text", "äöüßa", "'Text' must contain at most 4 characters"),
            ("Pattern", "abc", "'Pattern' must match pattern ([0-9]"),
            ("Pattern", "1,2 x", "'Pattern' must match pattern"),
            ("Pattern", "1,2\n", "'Pattern' must match pattern"),
            ("Pattern", "x1,2", "'Pattern' must match pattern"),
            (
                "Described",
                "A",
                "'Described' failed to satisfy constraint: only small letters",
            ),
            (
                "Choice",
                "yes",
                "'Choice' must be one of AllowedValues: [true, false]",
            ),
            ("Choice", "True", "'Choice' must be one of AllowedValues"),
            ("Choice", "", "'Choice' must be one of AllowedValues"),
            ("Count", "1", "'Count' must be a number not less than 2"),
            ("Count", "10", "'Count' must be a number not greater than 9"),
            ("Count", "-3", "'Count' must be a number not less than 2"),
            ("Count", "five", "'Count' must be a whole number"),
            ("Count", "5.5", "'Count' must be a whole number"),
            ("Count", "", "'Count' must be a whole number"),
            (
                "Count",
                "99999999999999999999",
                "'Count' must be a whole number",
            ),
            (
                "Days",
                "2",
                "'Days' must be one of AllowedValues: [1, 3, 5]",
            ),
            (
                "List",
                "a,d",
                "'List' must be one of AllowedValues: [a, b, c]",
            ),
            (
                "Nonsense",
                "1",
                "Parameters: [Nonsense] do not exist in the template",
            ),
            (
                "text",
                "abc",
                "Parameters: [text] do not exist in the template",
            ),
        ] {
            let error = given(&[("Needed", "x"), (name, value)]).unwrap_err();
            assert!(error.contains(expected), "{name}={value}: {error}");
        }
        assert_eq!(
            given(&[]).unwrap_err(),
            "Parameters: [Needed] must have values"
        );
    }

    #[test]
    fn what_fits_is_taken_in_its_type() {
        let values = given(&[
            ("Needed", ""),
            ("Count", "9"),
            ("List", "c ,a"),
            ("Pattern", ""),
        ]);
        let values = values.unwrap();
        assert_eq!(values["Needed"], "");
        assert_eq!(values["Count"], 9);
        assert_eq!(values["List"], serde_json::json!(["c", "a"]));
        assert_eq!(
            (&values["Pattern"], &values["Text"]),
            (&"".into(), &"abc".into())
        );
    }

    #[test]
    fn a_rule_that_is_not_known_here_is_refused() {
        for declared in [
            "{ A: { Type: String, Default: a, Pattern: a } }",
            "{ A: { Type: 'AWS::EC2::VPC::Id', Default: a } }",
        ] {
            let declared = serde_yaml_ng::from_str(declared).unwrap();
            assert!(values(&declared, &BTreeMap::new()).is_err());
        }
    }

    /// A value that is not checked would fail halfway through a deployment, or later.
    #[test]
    fn every_parameter_of_the_template_says_what_it_takes() {
        for template in ["template.yaml", "infra/egress.yaml"] {
            let path = format!("{}/../../{template}", env!("CARGO_MANIFEST_DIR"));
            let document: serde_yaml_ng::Value =
                serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            let declared: BTreeMap<String, Parameter> =
                serde_yaml_ng::from_value(document["Parameters"].clone()).unwrap();
            let is_free = |parameter: &Parameter| match parameter.kind {
                _ if !parameter.allowed_values.is_empty() => false,
                Kind::Number => parameter.min_value.is_none() || parameter.max_value.is_none(),
                Kind::String | Kind::CommaDelimitedList => {
                    parameter.allowed_pattern.is_none() || parameter.max_length.is_none()
                }
            };
            let free = declared.iter().filter(|(_, parameter)| is_free(parameter));
            let free: BTreeSet<_> = free.map(|(name, _)| name.as_str()).collect();
            assert_eq!(free, BTreeSet::new(), "{template}");
        }
    }
}
