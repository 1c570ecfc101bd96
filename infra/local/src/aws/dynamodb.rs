//! DynamoDB: the crate `dynoxide-rs`, in memory or in a file. It is called within this process, so
//! no port is open without a check of credentials.

use std::{path::Path, time::Duration};

use dynoxide::{Database, DynoxideError};
use serde_json::{Value, json};

use super::AwsError;
use crate::template::{TableSpec, Template};

/// Opens the database and creates missing tables.
pub(super) fn open(template: &Template, data: Option<&Path>) -> Result<Database, AwsError> {
    let database = match data {
        None => Database::memory(),
        Some(folder) => Database::new(&folder.join("dynamodb.sqlite").to_string_lossy()),
    };
    let database = database.map_err(fault)?;
    let existing = database
        .list_tables(request(json!({}))?)
        .map_err(fault)?
        .table_names;
    for table in template
        .tables
        .iter()
        .filter(|table| !existing.contains(&table.name))
    {
        create(&database, table)?;
    }
    Ok(database)
}

fn create(database: &Database, table: &TableSpec) -> Result<(), AwsError> {
    database
        .create_table(request(table.create.clone())?)
        .map_err(fault)?;
    if let Some(attribute) = &table.ttl_attribute {
        let ttl = json!({
            "TableName": table.name,
            "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": true },
        });
        database.update_time_to_live(request(ttl)?).map_err(fault)?;
    }
    Ok(())
}

fn request<T: serde::de::DeserializeOwned>(json: Value) -> Result<T, AwsError> {
    serde_json::from_value(json).map_err(fault)
}

fn fault(error: impl std::fmt::Display) -> AwsError {
    AwsError::DynamoDb(error.to_string())
}

/// Executes an operation; returns the response's status and body.
pub(super) fn serve(database: &Database, operation: &str, body: &[u8]) -> (u16, String) {
    macro_rules! operations {
        ($($name:literal => $method:ident,)*) => {
            match operation {
                $($name => call(body, |request| database.$method(request)),)*
                _ => return (400, unknown()),
            }
        };
    }
    let result = operations! {
        "BatchGetItem" => batch_get_item,
        "BatchWriteItem" => batch_write_item,
        "CreateTable" => create_table,
        "DeleteItem" => delete_item,
        "DescribeTable" => describe_table,
        "DescribeTimeToLive" => describe_time_to_live,
        "GetItem" => get_item,
        "ListTables" => list_tables,
        "PutItem" => put_item,
        "Query" => query,
        "Scan" => scan,
        "TransactGetItems" => transact_get_items,
        "TransactWriteItems" => transact_write_items,
        "UpdateItem" => update_item,
    };
    match result {
        Ok(answer) => (200, answer),
        Err(error) => (error.status_code(), error.to_json()),
    }
}

fn call<I: serde::de::DeserializeOwned, O: serde::Serialize>(
    body: &[u8],
    operation: impl FnOnce(I) -> dynoxide::Result<O>,
) -> dynoxide::Result<String> {
    let wrong = |error: serde_json::Error| DynoxideError::ValidationException(error.to_string());
    let answer = operation(serde_json::from_slice(body).map_err(wrong)?)?;
    serde_json::to_string(&answer).map_err(wrong)
}

fn unknown() -> String {
    json!({ "__type": "com.amazon.coral.service#UnknownOperationException" }).to_string()
}

/// Removes expired items every minute; AWS may take days.
pub(super) async fn expire(database: Database) {
    let mut minutes = tokio::time::interval(Duration::from_secs(60));
    loop {
        minutes.tick().await;
        if let Err(error) = database.sweep_ttl() {
            eprintln!("expired items could not be removed: {error}");
        }
    }
}
