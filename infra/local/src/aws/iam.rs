//! IAM: what each function's role allows, as the template says. A function signs with its logical id
//! as access key; any other access key is the account's administrator.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderMap, header};
use serde_json::Value;

use crate::template::{FunctionSpec, Permission};

/// The roles, and what was done with them.
#[derive(Clone, Debug, Default)]
pub struct Roles(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    functions: BTreeSet<String>,
    granted: BTreeSet<Permission>,
    used: Mutex<BTreeSet<Permission>>,
}

impl Roles {
    pub(super) fn new(functions: &[FunctionSpec]) -> Self {
        Self(Arc::new(Inner {
            functions: functions.iter().map(|it| it.logical_id.clone()).collect(),
            granted: functions
                .iter()
                .flat_map(|it| it.permissions.clone())
                .collect(),
            used: Mutex::default(),
        }))
    }

    /// What the template allows.
    pub fn granted(&self) -> &BTreeSet<Permission> {
        &self.0.granted
    }

    /// What functions did since the start, denied calls included.
    pub fn used(&self) -> BTreeSet<Permission> {
        let used = self.0.used.lock();
        used.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets a call pass, or says what the caller lacks.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        target: &str,
        request: &Value,
    ) -> Result<(), String> {
        let caller = headers.get(header::AUTHORIZATION);
        let caller = caller.and_then(|value| access_key(value.to_str().ok()?));
        let Some(function) = caller.filter(|key| self.0.functions.contains(*key)) else {
            return Ok(());
        };
        for (action, resource) in actions(target, request) {
            let needed = Permission {
                function: function.to_owned(),
                action,
                resource,
            };
            let is_granted = self.0.granted.contains(&needed);
            let message = format!(
                "{function} is not authorized to perform: {} on resource: {}",
                needed.action, needed.resource
            );
            let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.insert(needed);
            if !is_granted {
                return Err(message);
            }
        }
        Ok(())
    }
}

/// `AWS4-HMAC-SHA256 Credential=KEY/date/region/service/aws4_request, …`
fn access_key(authorization: &str) -> Option<&str> {
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split(['/', ',']).next()
}

/// The actions and resources that a call needs (AWS: "Service Authorization Reference").
fn actions(target: &str, request: &Value) -> Vec<(String, String)> {
    let (service, operation) = target.split_once('.').unwrap_or(("", target));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |action: String, resource: &Value| vec![(action, last_part(&text(resource)))];
    match (service, operation) {
        ("AmazonSQS", operation) => {
            let action = operation.strip_suffix("Batch").unwrap_or(operation);
            one(format!("sqs:{action}"), &request["QueueUrl"])
        }
        ("secretsmanager", operation) => {
            one(format!("secretsmanager:{operation}"), &request["SecretId"])
        }
        ("TrentService", operation) => one(format!("kms:{operation}"), &request["KeyId"]),
        (_, "TransactWriteItems" | "TransactGetItems") => {
            let items = request["TransactItems"].as_array().into_iter().flatten();
            items.filter_map(in_transaction).collect()
        }
        (_, "BatchGetItem" | "BatchWriteItem") => {
            let tables = request["RequestItems"].as_object().into_iter().flatten();
            let needed = |table: &String| (format!("dynamodb:{operation}"), table.clone());
            tables.map(|(table, _)| needed(table)).collect()
        }
        (_, operation) => one(format!("dynamodb:{operation}"), &request["TableName"]),
    }
}

/// Each part of a transaction needs the permission of its own kind (Amazon DynamoDB: "IAM and
/// transactions").
fn in_transaction(item: &Value) -> Option<(String, String)> {
    let (kind, part) = item.as_object()?.iter().next()?;
    let action = match kind.as_str() {
        "ConditionCheck" => "ConditionCheckItem".to_owned(),
        kind => format!("{kind}Item"),
    };
    Some((
        format!("dynamodb:{action}"),
        part["TableName"].as_str()?.to_owned(),
    ))
}

/// The resource's name in an ARN, a URL or by itself.
pub(crate) fn last_part(resource: &str) -> String {
    resource
        .rsplit([':', '/'])
        .next()
        .unwrap_or_default()
        .to_owned()
}
