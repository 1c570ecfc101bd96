//! Conditions of a policy statement, as DynamoDB evaluates them (Amazon DynamoDB: "Using IAM policy
//! conditions for fine-grained access control").
//!
//! `dynamodb:LeadingKeys` are the partition keys of a request; `dynamodb:Attributes` the top-level attributes that it
//! writes, reads or names in an expression.

use std::collections::BTreeSet;

use serde_json::Value;

/// `ForAllValues:StringEquals` or `ForAllValues:StringLike` on a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// The key that is checked.
    pub key: ConditionKey,
    /// Whether `*` stands for any characters and `?` for one.
    pub is_pattern: bool,
    /// The values among which every value of the key must be.
    pub values: Vec<String>,
}

/// The keys that are supported here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionKey {
    /// `dynamodb:LeadingKeys`.
    LeadingKeys,
    /// `dynamodb:Attributes`.
    Attributes,
}

impl Condition {
    /// The condition of an operator and a key; `None` when it is not supported here.
    pub(crate) fn read(operator: &str, key: &str, values: Vec<String>) -> Option<Self> {
        let is_pattern = match operator {
            "ForAllValues:StringEquals" => false,
            "ForAllValues:StringLike" => true,
            _ => return None,
        };
        let key = match key {
            "dynamodb:LeadingKeys" => ConditionKey::LeadingKeys,
            "dynamodb:Attributes" => ConditionKey::Attributes,
            _ => return None,
        };
        Some(Self {
            key,
            is_pattern,
            values,
        })
    }

    /// Whether a request satisfies the condition. A request without such keys never does, although
    /// AWS would let `ForAllValues` pass without a value.
    pub(crate) fn holds(&self, request: &Value) -> bool {
        let found = match self.key {
            ConditionKey::LeadingKeys => leading_keys(request),
            ConditionKey::Attributes => attributes(request),
        };
        let is_allowed = |text: &String| {
            let mut values = self.values.iter();
            values.any(|value| match self.is_pattern {
                true => is_like(value.as_bytes(), text.as_bytes()),
                false => value == text,
            })
        };
        !found.is_empty() && found.iter().all(is_allowed)
    }
}

/// The partition keys of a request that names an item or a key.
fn leading_keys(request: &Value) -> BTreeSet<String> {
    let places = [&request["Item"]["pk"]["S"], &request["Key"]["pk"]["S"]];
    let keys = places.into_iter().filter_map(Value::as_str);
    keys.map(str::to_owned).collect()
}

/// The attributes of an item or a key, and those that expressions name, as placeholders or as
/// words.
fn attributes(request: &Value) -> BTreeSet<String> {
    let objects = [&request["Item"], &request["Key"]];
    let items = objects.into_iter().filter_map(Value::as_object);
    let mut found: BTreeSet<String> = items.flat_map(|item| item.keys().cloned()).collect();
    let names = request["ExpressionAttributeNames"].as_object();
    let names = names.into_iter().flat_map(|names| names.values());
    found.extend(names.filter_map(Value::as_str).map(str::to_owned));
    for expression in [
        "ConditionExpression",
        "UpdateExpression",
        "ProjectionExpression",
    ] {
        let text = request[expression].as_str().unwrap_or_default();
        found.extend(words(text).map(str::to_owned));
    }
    found
}

/// Words of DynamoDB's expressions that are not attributes.
const KEYWORDS: [&str; 17] = [
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "SET",
    "REMOVE",
    "ADD",
    "DELETE",
    "attribute_exists",
    "attribute_not_exists",
    "attribute_type",
    "begins_with",
    "contains",
    "size",
    "if_not_exists",
    "list_append",
];

fn words(expression: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '#' | '.');
    let words = expression.split(move |c| !is_part(c));
    let words = words.filter(|word| !word.is_empty() && !word.starts_with([':', '#']));
    let attributes = words.map(|word| word.split('.').next().unwrap_or(word));
    attributes.filter(|word| !KEYWORDS.iter().any(|it| it.eq_ignore_ascii_case(word)))
}

/// IAM's `StringLike`: `*` is any text, `?` any character.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            is_like(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(_, text)| is_like(pattern, text))
        }
        (Some((b'?', rest)), Some((_, text))) => is_like(rest, text),
        (Some((wanted, rest)), Some((found, text))) => wanted == found && is_like(rest, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(key: &str, values: &[&str]) -> Condition {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Condition::read("ForAllValues:StringLike", key, values).unwrap()
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("org_*#apps", "org_1#apps", true),
            ("org_*#apps", "org_1#apps2", false),
            ("org_*#app_*", "org_1#app_2", true),
            ("org_*#app_*", "tokens", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
        ] {
            let found = is_like(pattern.as_bytes(), text.as_bytes());
            assert_eq!(found, expected, "{pattern} {text}");
        }
    }

    #[test]
    fn an_attribute_counts_wherever_a_request_names_it() {
        let allowed = condition("dynamodb:Attributes", &["pk", "sk", "name"]);
        let put = |more: Value| {
            let mut request = json!({ "Item": { "pk": { "S": "a" }, "sk": { "S": "b" } } });
            let more = more.as_object().cloned().unwrap_or_default();
            request.as_object_mut().unwrap().extend(more);
            request
        };
        for (request, expected) in [
            (put(json!({})), true),
            (put(json!({ "Item": { "pk": {}, "url": {} } })), false),
            (
                put(json!({ "ConditionExpression": "attribute_not_exists(pk)" })),
                true,
            ),
            (
                put(json!({ "ConditionExpression": "attribute_exists(pk) AND url = :a" })),
                false,
            ),
            (
                put(json!({ "ExpressionAttributeNames": { "#a": "sealed" } })),
                false,
            ),
            (
                json!({ "Key": { "pk": {}, "sk": {} }, "UpdateExpression": "SET url = :u" }),
                false,
            ),
            (
                json!({ "Key": { "pk": {}, "sk": {} }, "UpdateExpression": "SET name = :u" }),
                true,
            ),
            (json!({}), false),
        ] {
            assert_eq!(allowed.holds(&request), expected, "{request}");
        }
    }

    #[test]
    fn every_partition_key_must_match() {
        let apps = condition("dynamodb:LeadingKeys", &["org_*#apps"]);
        let put = |pk: &str| json!({ "Item": { "pk": { "S": pk } } });
        assert!(apps.holds(&put("org_1#apps")));
        assert!(!apps.holds(&put("tokens")) && !apps.holds(&json!({})));
        assert!(!apps.holds(&json!({ "Key": { "pk": { "S": "keys" } } })));
    }
}
