//! PATCH tells absent, null and a value apart, for every field.

use posthorn_tests::World;
use serde_json::{Value, json};

/// A field, a value of it that differs from the first one, and what null makes of it; `None`: refused.
struct Field(&'static str, Value, Option<Value>);

async fn check(world: &World, path: &str, before: Value, fields: Vec<Field>) {
    for Field(name, value, cleared) in fields {
        let stored = world.expect("GET", path, None).await;
        let untouched = world.expect("PATCH", path, Some(json!({}))).await;
        assert_eq!(untouched, stored, "absent: nothing is written");
        let same = json!({ name: before[name] });
        let untouched = world.expect("PATCH", path, Some(same)).await;
        assert_eq!(
            untouched, stored,
            "the value that it has: nothing is written"
        );

        let changed = world
            .expect("PATCH", path, Some(json!({ name: value })))
            .await;
        assert_eq!(changed[name], value, "{name}");
        assert_eq!(world.expect("GET", path, None).await, changed);
        let mut expected = before.clone();
        expected[name] = value;
        for (alias, of) in [("filterTypes", "eventTypes"), ("rateLimit", "throttleRate")] {
            if name == of && !expected[alias].is_null() {
                expected[alias] = expected[of].clone();
            }
        }
        assert_eq!(
            without_version(changed),
            without_version(expected),
            "{name} alone"
        );

        let nulled = world.call("PATCH", path, Some(json!({ name: null }))).await;
        match cleared {
            Some(cleared) => assert_eq!(nulled.body[name], cleared, "{name}: {nulled:?}"),
            None => {
                assert_eq!(nulled.status, 422, "{name}: {nulled:?}");
                assert_eq!(nulled.body["detail"][0]["loc"], json!(["body", name]));
            }
        }
        let restored = world
            .expect("PATCH", path, Some(json!({ name: before[name] })))
            .await;
        assert_eq!(without_version(restored), without_version(before.clone()));
    }
}

/// What changes with every write.
fn without_version(mut body: Value) -> Value {
    let fields = body.as_object_mut().unwrap();
    fields.remove("updatedAt");
    fields.remove("version");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applications_fields_are_changed_one_by_one() {
    let world = World::start().await;
    let body =
        json!({ "name": "Acme", "uid": "acme", "throttleRate": 5, "metadata": { "a": "b" } });
    let before = world.expect("POST", "/api/v1/app", Some(body)).await;
    let path = format!("/api/v1/app/{}", before["id"].as_str().unwrap());
    let fields = vec![
        Field("name", json!("Other"), None),
        Field("uid", json!("other"), Some(Value::Null)),
        Field("throttleRate", json!(7), Some(Value::Null)),
        Field("metadata", json!({ "": "c" }), Some(json!({}))),
    ];
    check(&world, &path, before, fields).await;
    world
        .expect(
            "POST",
            "/api/v1/app",
            Some(json!({ "name": "B", "uid": "b" })),
        )
        .await;
    let taken = world
        .call("PATCH", &path, Some(json!({ "uid": "b" })))
        .await;
    assert_eq!(taken.status, 409, "the uid is another application's");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoints_fields_are_changed_one_by_one() {
    let world = World::start().await;
    world
        .expect(
            "POST",
            "/api/v1/app",
            Some(json!({ "name": "Acme", "uid": "acme" })),
        )
        .await;
    for name in ["a.b", "c.d"] {
        let event_type = json!({ "name": name, "description": "" });
        world
            .expect("POST", "/api/v1/event-type", Some(event_type))
            .await;
    }
    let body = json!({
        "url": "https://example.com/a", "uid": "first", "description": "d", "eventTypes": ["a.b"],
        "channels": ["x"], "disabled": false, "throttleRate": 5, "metadata": { "a": "b" },
    });
    let before = world
        .expect("POST", "/api/v1/app/acme/endpoint", Some(body))
        .await;
    let path = format!(
        "/api/v1/app/acme/endpoint/{}",
        before["id"].as_str().unwrap()
    );
    let fields = vec![
        Field("url", json!("https://example.com/b"), None),
        Field("description", json!("other"), Some(json!(""))),
        Field("uid", json!("second"), Some(Value::Null)),
        Field("eventTypes", json!(["c.d", "a.b"]), Some(Value::Null)),
        Field("channels", json!(["y", "z"]), Some(Value::Null)),
        Field("disabled", json!(true), None),
        Field("throttleRate", json!(7), Some(Value::Null)),
        Field("metadata", json!({ "c": "d" }), Some(json!({}))),
    ];
    check(&world, &path, before, fields).await;
    for (field, body) in [
        ("url", json!({ "url": "http://10.0.0.1/" })),
        ("eventTypes", json!({ "eventTypes": ["e.f"] })),
        ("throttleRate", json!({ "throttleRate": 0 })),
    ] {
        let refused = world.call("PATCH", &path, Some(body)).await;
        assert_eq!(refused.status, 422, "{field}: {refused:?}");
        assert_eq!(refused.body["detail"][0]["loc"], json!(["body", field]));
    }
    for field in ["eventTypes", "channels"] {
        let emptied = json!({ field: [] });
        let shown = world.expect("PATCH", &path, Some(emptied)).await;
        assert_eq!(shown[field], Value::Null, "no filter");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_can_be_put() {
    let world = World::start().await;
    for (collection, one, body) in [
        (
            "/api/v1/app",
            "/api/v1/app/acme",
            json!({ "name": "Acme", "uid": "acme" }),
        ),
        (
            "/api/v1/app/acme/endpoint",
            "/api/v1/app/acme/endpoint/first",
            json!({ "url": "https://example.com/", "uid": "first" }),
        ),
        (
            "/api/v1/event-type",
            "/api/v1/event-type/a.b",
            json!({ "name": "a.b", "description": "d", "schemas": { "1": {} } }),
        ),
    ] {
        let made = world.expect("POST", collection, Some(body)).await;
        for method in ["PUT", "PATCH"] {
            let mut read = world.expect("GET", one, None).await;
            if collection.ends_with("endpoint") {
                // As a disabled one is shown.
                read["disabledReason"] = json!("failing");
            }
            let put = world.expect(method, one, Some(read)).await;
            assert_eq!(put, made, "{method} {one}: nothing changed");
        }
    }
    let other = json!({ "name": "c.d", "description": "d" });
    for method in ["PUT", "PATCH"] {
        let refused = world
            .call(method, "/api/v1/event-type/a.b", Some(other.clone()))
            .await;
        let loc = &refused.body["detail"][0]["loc"];
        assert_eq!((refused.status, loc), (422, &json!(["body", "name"])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_types_fields_are_changed_one_by_one() {
    let world = World::start().await;
    let body = json!({
        "name": "a.b", "description": "d", "archived": false, "deprecated": false,
        "schemas": { "1": { "type": "object" } }, "featureFlag": "beta",
    });
    let before = world.expect("POST", "/api/v1/event-type", Some(body)).await;
    let fields = vec![
        Field("description", json!("other"), None),
        Field("archived", json!(true), None),
        Field("deprecated", json!(true), None),
        Field("schemas", json!({ "2": {} }), Some(Value::Null)),
        Field("featureFlag", json!("alpha"), Some(Value::Null)),
    ];
    check(&world, "/api/v1/event-type/a.b", before, fields).await;
}
