//! Checks that JSON is a JSON Schema: each keyword has a value of its kind, in any of the drafts 4
//! to 2020-12. Keywords that no draft has mean nothing to validators, and may have any value.

use serde_json::Value;

/// What the value of a keyword must be.
#[derive(Clone, Copy)]
enum Kind {
    Type,
    Schema,
    Schemas,
    SchemaOrSchemas,
    Named(&'static Kind),
    SchemaOrNames,
    Names,
    List,
    Text,
    Flag,
    Number,
    /// A flag in draft 4, a number in later drafts.
    Bound,
    Positive,
    Count,
}

/// The keywords of a kind.
type Row = (Kind, &'static [&'static str]);

const KEYWORDS: [Row; 15] = [
    (Kind::Type, &["type"]),
    (
        Kind::Schema,
        &[
            "additionalItems",
            "additionalProperties",
            "contains",
            "contentSchema",
            "else",
            "if",
            "not",
            "propertyNames",
            "then",
            "unevaluatedItems",
            "unevaluatedProperties",
        ],
    ),
    (Kind::Schemas, &["allOf", "anyOf", "oneOf", "prefixItems"]),
    (Kind::SchemaOrSchemas, &["items"]),
    (
        Kind::Named(&Kind::Schema),
        &[
            "$defs",
            "definitions",
            "dependentSchemas",
            "patternProperties",
            "properties",
        ],
    ),
    (Kind::Named(&Kind::SchemaOrNames), &["dependencies"]),
    (Kind::Named(&Kind::Names), &["dependentRequired"]),
    (Kind::Names, &["required"]),
    (Kind::List, &["enum", "examples"]),
    (
        Kind::Text,
        &[
            "$anchor",
            "$comment",
            "$dynamicAnchor",
            "$dynamicRef",
            "$id",
            "$ref",
            "$schema",
            "contentEncoding",
            "contentMediaType",
            "description",
            "format",
            "pattern",
            "title",
        ],
    ),
    (
        Kind::Flag,
        &["deprecated", "readOnly", "uniqueItems", "writeOnly"],
    ),
    (Kind::Number, &["maximum", "minimum"]),
    (Kind::Bound, &["exclusiveMaximum", "exclusiveMinimum"]),
    (Kind::Positive, &["multipleOf"]),
    (
        Kind::Count,
        &[
            "maxContains",
            "maxItems",
            "maxLength",
            "maxProperties",
            "minContains",
            "minItems",
            "minLength",
            "minProperties",
        ],
    ),
];

const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];

/// Checks a schema and all schemas inside it.
///
/// # Errors
/// The first wrong keyword, with the path to it, and what its value must be.
pub fn check(schema: &Value) -> Result<(), String> {
    let mut way = Vec::new();
    Kind::Schema.check(schema, &mut way).map_err(|rule| {
        let way = way.join(".");
        format!("is not a JSON Schema: `{way}` {rule}")
    })
}

impl Kind {
    /// On an error, `way` is the path to the wrong value.
    fn check(self, value: &Value, way: &mut Vec<String>) -> Result<(), &'static str> {
        let holds = match self {
            Self::Schema => return check_schema(value, way),
            Self::Schemas => return check_list(value, way),
            Self::SchemaOrSchemas if value.is_array() => return check_list(value, way),
            Self::SchemaOrNames if value.is_array() => return Self::Names.check(value, way),
            Self::SchemaOrSchemas | Self::SchemaOrNames => return check_schema(value, way),
            Self::Named(kind) => return check_named(*kind, value, way),
            Self::Type => match value {
                Value::Array(names) => !names.is_empty() && names.iter().all(is_type),
                name => is_type(name),
            },
            Self::Names => value
                .as_array()
                .is_some_and(|names| names.iter().all(Value::is_string)),
            Self::List => value.is_array(),
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Number => value.is_number(),
            Self::Bound => value.is_number() || value.is_boolean(),
            Self::Positive => value.as_f64().is_some_and(|number| number > 0.0),
            Self::Count => value
                .as_f64()
                .is_some_and(|count| count >= 0.0 && count.fract() == 0.0),
        };
        if holds { Ok(()) } else { Err(self.rule()) }
    }

    fn rule(self) -> &'static str {
        match self {
            Self::Type => {
                "must be array, boolean, integer, null, number, object or string, or a list of these"
            }
            Self::Schema | Self::SchemaOrNames => "must be a schema: an object, true or false",
            Self::Schemas | Self::SchemaOrSchemas => "must be a list of schemas",
            Self::Named(_) => "must be an object",
            Self::Names => "must be a list of names",
            Self::List => "must be a list",
            Self::Text => "must be a string",
            Self::Flag => "must be true or false",
            Self::Number | Self::Bound => "must be a number",
            Self::Positive => "must be a number greater than 0",
            Self::Count => "must be a whole number, not negative",
        }
    }
}

fn check_schema(value: &Value, way: &mut Vec<String>) -> Result<(), &'static str> {
    let schema = match value {
        Value::Object(schema) => schema,
        Value::Bool(_) => return Ok(()),
        _ => return Err(Kind::Schema.rule()),
    };
    for (keyword, value) in schema {
        let is_of = |(_, names): &&Row| names.contains(&keyword.as_str());
        if let Some((kind, _)) = KEYWORDS.iter().find(is_of) {
            inside(*kind, keyword, value, way)?;
        }
    }
    Ok(())
}

fn check_list(value: &Value, way: &mut Vec<String>) -> Result<(), &'static str> {
    let list = value.as_array().ok_or(Kind::Schemas.rule())?;
    for (index, schema) in list.iter().enumerate() {
        inside(Kind::Schema, &index.to_string(), schema, way)?;
    }
    Ok(())
}

fn check_named(kind: Kind, value: &Value, way: &mut Vec<String>) -> Result<(), &'static str> {
    let named = value.as_object().ok_or("must be an object")?;
    for (name, value) in named {
        inside(kind, name, value, way)?;
    }
    Ok(())
}

fn inside(
    kind: Kind,
    name: &str,
    value: &Value,
    way: &mut Vec<String>,
) -> Result<(), &'static str> {
    way.push(name.to_owned());
    kind.check(value, way)?;
    way.pop();
    Ok(())
}

fn is_type(name: &Value) -> bool {
    name.as_str().is_some_and(|name| TYPES.contains(&name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_of_every_draft_are_taken() {
        for schema in [
            json!({}),
            json!({ "type": ["object", "null"], "properties": { "type": { "type": "string" } }, "required": ["type"] }),
            json!({ "$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1.5, "exclusiveMinimum": true }),
            json!({ "items": [{ "type": "integer" }, true], "additionalItems": false }),
            json!({ "items": { "$ref": "#/$defs/a" }, "$defs": { "a": { "enum": [1, "a", null] } } }),
            json!({ "dependencies": { "a": ["b"], "c": { "minItems": 1 } }, "minLength": 2.0 }),
            json!({ "x-own": { "type": "nonsense" }, "default": { "type": 5 }, "const": 1, "example": {} }),
        ] {
            assert_eq!(check(&schema), Ok(()), "{schema}");
        }
    }

    #[test]
    fn a_keyword_of_the_wrong_kind_is_named() {
        for (schema, way) in [
            (json!({ "type": "nonsense" }), "type"),
            (json!({ "type": [] }), "type"),
            (json!({ "type": ["object", 5] }), "type"),
            (json!({ "properties": [] }), "properties"),
            (
                json!({ "properties": { "a": { "type": 5 } } }),
                "properties.a.type",
            ),
            (json!({ "properties": { "a": "string" } }), "properties.a"),
            (json!({ "required": "a" }), "required"),
            (json!({ "required": [1] }), "required"),
            (json!({ "items": { "enum": {} } }), "items.enum"),
            (json!({ "items": [{}, 5] }), "items.1"),
            (
                json!({ "anyOf": [{}, { "minimum": "1" }] }),
                "anyOf.1.minimum",
            ),
            (
                json!({ "not": { "if": { "maxLength": -1 } } }),
                "not.if.maxLength",
            ),
            (json!({ "multipleOf": 0 }), "multipleOf"),
            (json!({ "minItems": 1.5 }), "minItems"),
            (json!({ "uniqueItems": "yes" }), "uniqueItems"),
            (json!({ "pattern": 5 }), "pattern"),
            (
                json!({ "dependentRequired": { "a": "b" } }),
                "dependentRequired.a",
            ),
            (
                json!({ "$defs": { "a": { "description": {} } } }),
                "$defs.a.description",
            ),
        ] {
            let error = check(&schema).unwrap_err();
            assert!(
                error.contains(&format!("`{way}` must")),
                "{schema}: {error}"
            );
        }
    }
}
