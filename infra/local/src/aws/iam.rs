//! IAM: enforces what the template allows each function's role. Every caller signs with credentials
//! of this run: each function has its own, and so has the account's administrator. A caller without
//! them is refused, for example a delivery to an endpoint that somebody pointed at these ports.
//!
//! The access key's id is random and serves as the secret: signatures are not verified.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderMap, header};
use posthorn_runtime::entropy;
use serde_json::Value;

use crate::template::{FunctionSpec, Permission, last_part};

/// The roles, and a record of how they were used.
#[derive(Clone, Debug, Default)]
pub struct Roles(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The functions by access key; `None` is the administrator.
    callers: BTreeMap<String, Option<String>>,
    granted: BTreeSet<Permission>,
    used: Mutex<BTreeSet<Permission>>,
    denied: Mutex<BTreeSet<String>>,
}

/// Why a call is refused.
#[derive(Debug)]
pub(super) enum Denied {
    /// The caller has no credentials of this run.
    Unknown,
    /// The caller lacks a permission.
    Forbidden(String),
}

impl Denied {
    /// AWS's error code, and the message.
    pub(super) fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Unknown => (
                "UnrecognizedClientException",
                "the access key does not belong to this run: see .posthorn/env",
            ),
            Self::Forbidden(message) => ("AccessDeniedException", message),
        }
    }
}

impl Roles {
    pub(super) fn new(functions: &[FunctionSpec]) -> Self {
        let names = functions.iter().map(|it| Some(it.logical_id.clone()));
        let callers = names.chain([None]);
        Self(Arc::new(Inner {
            callers: callers.map(|caller| (access_key(), caller)).collect(),
            granted: functions
                .iter()
                .flat_map(|it| it.permissions.clone())
                .collect(),
            ..Inner::default()
        }))
    }

    /// The access key of a function (its logical id), or of the administrator.
    pub fn access_key(&self, function: Option<&str>) -> &str {
        let mut callers = self.0.callers.iter();
        let found = callers.find(|(_, caller)| caller.as_deref() == function);
        found.map_or("", |(key, _)| key)
    }

    /// What the template allows.
    pub fn granted(&self) -> &BTreeSet<Permission> {
        &self.0.granted
    }

    /// What functions have done since the start, whether it was allowed or not.
    pub fn used(&self) -> BTreeSet<Permission> {
        let used = self.0.used.lock();
        used.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What functions were denied since the start, or since the previous call of this function.
    pub fn take_denied(&self) -> BTreeSet<String> {
        let denied = self.0.denied.lock();
        std::mem::take(&mut *denied.unwrap_or_else(PoisonError::into_inner))
    }

    /// Allows a call, or returns which permission the caller lacks.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        target: &str,
        request: &Value,
    ) -> Result<(), Denied> {
        let key = headers.get(header::AUTHORIZATION);
        let key = key.and_then(|value| credential(value.to_str().ok()?));
        let caller = key.and_then(|key| self.0.callers.get(key));
        let Some(function) = caller.ok_or(Denied::Unknown)? else {
            return Ok(());
        };
        for call in calls(target, request) {
            if !self.allows(function, &call) {
                let message = format!(
                    "{function} is not authorized to perform: {} on resource: {}",
                    call.action, call.resource
                );
                let denied = self.0.denied.lock();
                let mut denied = denied.unwrap_or_else(PoisonError::into_inner);
                denied.insert(message.clone());
                return Err(Denied::Forbidden(message));
            }
        }
        Ok(())
    }

    /// Whether the function has a permission for the call's action and resource whose conditions
    /// hold.
    fn allows(&self, function: &str, call: &Call<'_>) -> bool {
        let is_meant = |it: &&Permission| {
            it.function == function && it.action == call.action && it.resource == call.resource
        };
        let holds = |it: &&Permission| {
            let mut conditions = it.conditions.iter();
            conditions.all(|condition| condition.holds(call.parameters))
        };
        let granted = self.0.granted.iter().filter(is_meant).find(holds);
        if let Some(granted) = granted {
            let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.insert(granted.clone());
        }
        granted.is_some()
    }
}

/// A random access key of 20 characters, like those of AWS.
fn access_key() -> String {
    let bytes = entropy::<16>();
    let random: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("AKIA{random}")
}

/// `AWS4-HMAC-SHA256 Credential=KEY/date/region/service/aws4_request, …`
fn credential(authorization: &str) -> Option<&str> {
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split(['/', ',']).next()
}

/// An action on a resource, with the request that conditions are evaluated on.
struct Call<'a> {
    action: String,
    resource: String,
    parameters: &'a Value,
}

/// The actions and resources that a call needs (AWS: "Service Authorization Reference").
fn calls<'a>(target: &str, request: &'a Value) -> Vec<Call<'a>> {
    let (service, operation) = target.split_once('.').unwrap_or(("", target));
    let one = |action: String, resource: &Value| {
        vec![Call {
            action,
            resource: last_part(resource.as_str().unwrap_or_default()),
            parameters: request,
        }]
    };
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
            let call = |(table, parameters): (&String, &'a Value)| Call {
                action: format!("dynamodb:{operation}"),
                resource: last_part(table),
                parameters,
            };
            tables.map(call).collect()
        }
        (_, operation) => one(format!("dynamodb:{operation}"), &request["TableName"]),
    }
}

/// Each part of a transaction needs the permission for its own action (Amazon DynamoDB: "IAM and
/// transactions").
fn in_transaction(item: &Value) -> Option<Call<'_>> {
    let (kind, part) = item.as_object()?.iter().next()?;
    let action = match kind.as_str() {
        "ConditionCheck" => "ConditionCheckItem".to_owned(),
        kind => format!("{kind}Item"),
    };
    Some(Call {
        action: format!("dynamodb:{action}"),
        resource: last_part(part["TableName"].as_str()?),
        parameters: part,
    })
}
