//! DynamoDB.

use serde_json::json;

use crate::{Folder, Options, Services};

#[tokio::test(flavor = "multi_thread")]
async fn the_templates_tables_exist_with_their_expiry() {
    let services = Services::start(Options::default()).await;
    let (_, answer) = services.dynamodb("ListTables", json!({})).await;
    let names = [
        "ConfigTable",
        "DeliveriesTable",
        "MessagesTable",
        "ScheduleTable",
    ];
    assert_eq!(answer["TableNames"], json!(names));
    for name in names {
        let request = json!({ "TableName": name });
        let (_, answer) = services.dynamodb("DescribeTimeToLive", request).await;
        let ttl = &answer["TimeToLiveDescription"];
        assert_eq!(ttl["TimeToLiveStatus"], "ENABLED", "{name}: {answer}");
        assert_eq!(ttl["AttributeName"], "ttl", "{name}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_survive_a_restart() {
    let folder = Folder::new("items");
    let item = json!({ "pk": { "S": "a" }, "sk": { "S": "b" } });
    let services = Services::in_folder(&folder).await;
    let put = json!({ "TableName": "ConfigTable", "Item": item });
    assert_eq!(services.dynamodb("PutItem", put).await.0, 200);
    drop(services);
    let services = Services::in_folder(&folder).await;
    let get = json!({ "TableName": "ConfigTable", "Key": item });
    assert_eq!(services.dynamodb("GetItem", get).await.1["Item"], item);
}
