//! DynamoDB: the crate `dynoxide-rs`, in memory or in a file.

use std::{path::Path, time::Duration};

use dynoxide::Database;
use serde_json::json;
use tokio::net::TcpListener;

use super::AwsError;
use crate::template::{TableSpec, Template};

/// Opens the database and creates the tables that it does not have.
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

fn request<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> Result<T, AwsError> {
    serde_json::from_value(json).map_err(fault)
}

fn fault(error: impl std::fmt::Display) -> AwsError {
    AwsError::DynamoDb(error.to_string())
}

pub(super) async fn serve(listener: TcpListener, database: Database) {
    dynoxide::server::serve_on(listener, database).await;
}

/// Removes expired items every minute; AWS takes up to days.
pub(super) async fn expire(database: Database) {
    let mut minutes = tokio::time::interval(Duration::from_secs(60));
    loop {
        minutes.tick().await;
        if let Err(error) = database.sweep_ttl() {
            eprintln!("expired items could not be removed: {error}");
        }
    }
}
