//! Applications, endpoints and event types, as official clients use them.

use posthorn_tests::World;
use posthorn_tests::client::{
    ApplicationIn, ApplicationOut, EndpointIn, EventTypeIn, ListOptions, Page,
};

fn acme() -> ApplicationIn {
    ApplicationIn {
        uid: Some("acme".into()),
        ..ApplicationIn::new("Acme".into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_created_read_replaced_and_deleted_by_uid() {
    let world = World::start().await;
    let applications = world.svix.application();
    let created = applications.create(acme(), None).await.unwrap();
    assert!(
        applications.create(acme(), None).await.is_err(),
        "the uid is taken"
    );
    assert_eq!(
        applications.get_or_create(acme(), None).await.unwrap().id,
        created.id
    );
    assert_eq!(
        applications.get("acme".into()).await.unwrap().id,
        created.id
    );
    let renamed = ApplicationIn {
        name: "Acme Ltd".into(),
        ..acme()
    };
    let replaced = world
        .svix
        .application()
        .update("acme".into(), renamed)
        .await
        .unwrap();
    assert_eq!(
        (replaced.id.as_str(), replaced.name.as_str()),
        (created.id.as_str(), "Acme Ltd")
    );
    let fresh = applications
        .update("fresh".into(), ApplicationIn::new("Fresh".into()))
        .await
        .unwrap();
    assert_eq!(
        fresh.uid.as_deref(),
        Some("fresh"),
        "put on an unknown uid creates"
    );
    applications.delete("acme".into()).await.unwrap();
    assert!(applications.get("acme".into()).await.is_err());
    let again = applications.create(acme(), None).await.unwrap();
    assert_ne!(again.id, created.id, "the uid is free after the deletion");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_be_sent_by_uid_and_a_moved_uid_is_noticed_at_once() {
    let world = World::start().await;
    let first = world.svix.application().create(acme(), None).await.unwrap();
    let body = r#"{"eventType":"a.b","payload":{}}"#;
    let id = world.send("acme", body).await;
    assert!(
        world
            .svix
            .message()
            .get(first.id.clone(), id, None)
            .await
            .is_ok()
    );
    // The uid moves to another application; ingest remembers the old one.
    world
        .svix
        .application()
        .update(first.id.clone(), ApplicationIn::new("Old".into()))
        .await
        .unwrap();
    let second = world.svix.application().create(acme(), None).await.unwrap();
    let id = world.send("acme", body).await;
    assert!(
        world
            .svix
            .message()
            .get(second.id.clone(), id, None)
            .await
            .is_ok()
    );
    world.svix.application().delete(second.id).await.unwrap();
    assert_eq!(
        world.post("/api/v1/app/acme/msg", body, &[]).await.status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_both_ways() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.application().await.id);
    }
    ids.sort();
    let applications = world.svix.application();
    let page = |iterator: Option<String>| {
        let options = ListOptions {
            limit: Some(2),
            iterator,
        };
        applications.list(Some(options))
    };
    let first = page(None).await.unwrap();
    let second = page(first.iterator.clone()).await.unwrap();
    let third = page(second.iterator.clone()).await.unwrap();
    let names = |page: &Page<ApplicationOut>| {
        page.data
            .iter()
            .map(|application| application.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!([names(&first), names(&second), names(&third)].concat(), ids);
    assert!(!first.done && !second.done && third.done);
    let back = page(third.prev_iterator).await.unwrap();
    assert_eq!(names(&back), names(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_keeps_what_it_was_given() {
    let world = World::start().await;
    let application = world.application().await;
    let event_type = EventTypeIn::new("An invoice was paid".into(), "invoice.paid".into());
    world
        .svix
        .event_type()
        .create(event_type, None)
        .await
        .unwrap();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
    let given = EndpointIn {
        uid: Some("main".into()),
        description: Some("Main".into()),
        filter_types: Some(["invoice.paid".to_owned()].into()),
        channels: Some(["a".to_owned()].into()),
        rate_limit: Some(10),
        metadata: Some([("k".to_owned(), "v".to_owned())].into()),
        secret: Some(secret.clone()),
        ..EndpointIn::new("https://example.com/hook".into())
    };
    let created = world
        .svix
        .endpoint()
        .create(application.id.clone(), given.clone(), None)
        .await
        .unwrap();
    let read = world
        .svix
        .endpoint()
        .get(application.id.clone(), "main".into())
        .await
        .unwrap();
    assert_eq!(read.id, created.id);
    assert_eq!(
        (read.url.as_str(), read.description.as_str()),
        ("https://example.com/hook", "Main")
    );
    assert_eq!(
        (&read.filter_types, &read.channels),
        (&given.filter_types, &given.channels)
    );
    assert_eq!(
        (read.rate_limit, read.metadata.get("k").map(String::as_str)),
        (Some(10), Some("v"))
    );
    assert_eq!(world.secret(&application, &created).await, secret);
    assert!(
        world
            .svix
            .endpoint()
            .create(application.id.clone(), given, None)
            .await
            .is_err(),
        "the uid is taken"
    );
    let list = world
        .svix
        .endpoint()
        .list(application.id.clone(), Some(ListOptions::default()))
        .await
        .unwrap();
    assert_eq!(list.data.len(), 1);
    // The contract's current names, which newer clients read.
    let path = format!("/api/v1/app/{}/endpoint/main", application.id);
    let plain = world.get(&path).await.body;
    assert_eq!(plain["eventTypes"], serde_json::json!(["invoice.paid"]));
    assert_eq!(plain["throttleRate"], 10);
    world
        .svix
        .endpoint()
        .delete(application.id.clone(), "main".into())
        .await
        .unwrap();
    assert!(
        world
            .svix
            .endpoint()
            .get(application.id.clone(), created.id)
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn event_types_are_created_read_and_listed() {
    let world = World::start().await;
    let event_types = world.svix.event_type();
    for name in ["b.two", "a.one", "c.old"] {
        let archived = Some(name == "c.old");
        let event_type = EventTypeIn {
            archived,
            ..EventTypeIn::new("…".into(), name.into())
        };
        event_types.create(event_type, None).await.unwrap();
    }
    let listed = event_types.list(None).await.unwrap();
    let names: Vec<_> = listed
        .data
        .iter()
        .map(|event_type| event_type.name.as_str())
        .collect();
    assert_eq!(names, ["a.one", "b.two"], "by name, archived ones left out");
    assert!(
        event_types
            .create(EventTypeIn::new("…".into(), "a.one".into()), None)
            .await
            .is_err()
    );
    event_types
        .create(EventTypeIn::new("back".into(), "c.old".into()), None)
        .await
        .unwrap();
    assert_eq!(
        event_types.get("c.old".into()).await.unwrap().description,
        "back"
    );
}
