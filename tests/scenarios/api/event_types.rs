//! The catalogue of event types, and examples made from it.

use posthorn_tests::{Receiver, World};
use serde_json::{Value, json};

async fn names(world: &World, query: &str) -> Vec<String> {
    let list = world
        .expect("GET", &format!("/api/v1/event-type{query}"), None)
        .await;
    let name = |item: &Value| item["name"].as_str().unwrap().to_owned();
    list["data"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_type_is_archived_brought_back_and_removed() {
    let world = World::start().await;
    let schemas = json!({ "1": { "z": 1, "a": { "type": "object" } } });
    let body = json!({ "name": "a.b", "description": "d", "schemas": schemas });
    let created = world
        .call("POST", "/api/v1/event-type", Some(body.clone()))
        .await;
    assert_eq!((created.status, &created.body["schemas"]), (201, &schemas));
    assert_eq!(
        world
            .call("POST", "/api/v1/event-type", Some(body.clone()))
            .await
            .status,
        409
    );
    let put = world
        .call(
            "PUT",
            "/api/v1/event-type/c.d",
            Some(json!({ "description": "" })),
        )
        .await;
    assert_eq!(put.status, 201, "put on an unknown name creates");

    let application = world.application().await;
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    let filter = json!({ "url": "https://example.com/", "eventTypes": ["a.b"] });
    let endpoint = world.expect("POST", &path, Some(filter.clone())).await;
    assert_eq!(
        world
            .call("DELETE", "/api/v1/event-type/a.b", None)
            .await
            .status,
        204
    );
    assert_eq!(names(&world, "").await, ["c.d"]);
    assert_eq!(
        names(&world, "?include_archived=true&order=descending").await,
        ["c.d", "a.b"]
    );
    assert_eq!(
        world.expect("GET", "/api/v1/event-type/a.b", None).await["archived"],
        true
    );
    let refused = world.call("POST", &path, Some(filter.clone())).await;
    assert_eq!(refused.status, 422, "no new endpoint may filter on it");
    assert!(
        refused.body["detail"][0]["msg"]
            .as_str()
            .unwrap()
            .contains("a.b"),
        "{refused:?}"
    );
    let own = format!("{path}/{}", endpoint["id"].as_str().unwrap());
    let kept = world.call("PUT", &own, Some(filter.clone())).await;
    assert_eq!(
        kept.status, 200,
        "an endpoint that filters on it already may go on"
    );

    assert_eq!(
        world
            .call("POST", "/api/v1/event-type", Some(body))
            .await
            .status,
        201
    );
    assert_eq!(
        names(&world, "").await,
        ["a.b", "c.d"],
        "create brings it back"
    );
    assert_eq!(
        world
            .call("DELETE", "/api/v1/event-type/a.b?expunge=true", None)
            .await
            .status,
        204
    );
    assert_eq!(
        world
            .call("GET", "/api/v1/event-type/a.b", None)
            .await
            .status,
        404
    );
    assert_eq!(
        world
            .call("DELETE", "/api/v1/event-type/a.b", None)
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_example_of_the_schema_is_sent_to_one_endpoint() {
    let world = World::start().await;
    let (wanted, other) = (Receiver::accepting().await, Receiver::accepting().await);
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &wanted).await;
    world.endpoint(&application, &other).await;
    let schemas = json!({ "1": { "examples": [{ "n": 1 }] }, "2": { "examples": [{ "n": 2 }] } });
    let body = json!({ "name": "a.b", "description": "", "schemas": schemas });
    world.expect("POST", "/api/v1/event-type", Some(body)).await;
    world
        .expect(
            "PUT",
            "/api/v1/event-type/plain",
            Some(json!({ "description": "" })),
        )
        .await;
    let path = format!(
        "/api/v1/app/{}/endpoint/{}/send-example",
        application.id, endpoint.id
    );
    let sent = world
        .expect("POST", &path, Some(json!({ "eventType": "a.b" })))
        .await;
    assert_eq!(sent["payload"], json!({ "n": 2 }), "the newest version's");
    let request = &wanted.wait_for(1).await[0];
    assert_eq!(
        (&request.body[..], request.header("webhook-id")),
        (&b"{\"n\":2}"[..], sent["id"].as_str().unwrap())
    );
    request
        .verify(&world.secret(&application, &endpoint).await)
        .unwrap();
    let none = world
        .call("POST", &path, Some(json!({ "eventType": "plain" })))
        .await;
    assert_eq!(
        (none.status, &none.body["detail"][0]["loc"]),
        (422, &json!(["body", "eventType"]))
    );
    let unknown = world
        .call("POST", &path, Some(json!({ "eventType": "x" })))
        .await;
    assert_eq!(unknown.status, 404);
    // A message after the example: if the example had gone to the other endpoint, it would come
    // first.
    let id = world
        .send(&application.id, r#"{"eventType":"a.b","payload":{}}"#)
        .await;
    assert_eq!(other.wait_for(1).await[0].header("webhook-id"), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ping_has_an_example_without_being_in_the_catalogue() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    let endpoint = world.endpoint(&application, &receiver).await;
    let path = format!(
        "/api/v1/app/{}/endpoint/{}/send-example",
        application.id, endpoint.id
    );
    let ping = json!({ "eventType": "svix.ping" });
    let sent = world.expect("POST", &path, Some(ping)).await;
    assert_eq!(sent["payload"], json!({ "success": true }));
    assert_eq!(sent["eventType"], "svix.ping");
    let request = &receiver.wait_for(1).await[0];
    assert_eq!(&request.body[..], br#"{"success":true}"#);
    request
        .verify(&world.secret(&application, &endpoint).await)
        .unwrap();
    assert!(names(&world, "?include_archived=true").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_must_be_json_schemas() {
    let world = World::start().await;
    let path = "/api/v1/event-type";
    let good = json!({ "1": { "type": "object", "properties": { "a": { "type": "string" } } } });
    let body = json!({ "name": "a.b", "description": "", "schemas": good });
    world.expect("POST", path, Some(body)).await;
    let nested = |levels: usize| {
        let inner = |schema, _| json!({ "not": schema });
        (1..levels).fold(json!({}), inner)
    };
    let one = format!("{path}/a.b");
    let other = format!("{path}/c.d");
    for (schema, rule) in [
        (json!({ "type": "nonsense" }), "`type`"),
        (
            json!({ "properties": { "a": { "required": true } } }),
            "`properties.a.required`",
        ),
        (json!([]), "object"),
        (nested(101), "100 levels"),
    ] {
        let schemas = json!({ "0": {}, "1": schema });
        let update = json!({ "description": "", "schemas": schemas });
        let new = json!({ "name": "c.d", "description": "", "schemas": schemas });
        for answer in [
            world.call("POST", path, Some(new)).await,
            world.call("PUT", &one, Some(update.clone())).await,
            world.call("PUT", &other, Some(update)).await,
            world
                .call("PATCH", &one, Some(json!({ "schemas": schemas })))
                .await,
        ] {
            let detail = &answer.body["detail"][0];
            let loc = json!(["body", "schemas", "1"]);
            assert_eq!((answer.status, &detail["loc"]), (422, &loc), "{answer:?}");
            assert!(detail["msg"].as_str().unwrap().contains(rule), "{answer:?}");
        }
    }
    assert_eq!(world.call("GET", &other, None).await.status, 404);
    assert_eq!(world.expect("GET", &one, None).await["schemas"], good);
    let deepest = json!({ "schemas": { "1": nested(100) } });
    world.expect("PATCH", &one, Some(deepest)).await;
}
