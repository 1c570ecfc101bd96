//! No service of this machine can be reached, neither through the API nor through rows in the
//! table.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use posthorn_domain::{endpoint::Endpoint, failure::Failure, key::AppKey};
use posthorn_local::StackOptions;
use posthorn_store::{Consistency, Written};
use posthorn_tests::World;
use serde_json::json;
use tokio::net::TcpListener;

const MESSAGE: &str = r#"{"eventType":"a.b","payload":{}}"#;

/// A stack that, like a deployed one, may reach nothing on this machine except its own AWS
/// services.
async fn deployed() -> World {
    let environment = [("ALLOW_SUBNETS".to_owned(), String::new())];
    World::with_options(StackOptions {
        environment: environment.into(),
        ..StackOptions::default()
    })
    .await
}

/// Counts connections to a port of this machine.
async fn trap() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, connections)
}

/// URLs that lead to that port.
fn urls(port: u16) -> Vec<String> {
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "127.0.0.1.",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "127。0。0。1",
        "user:pw@127.0.0.1",
    ];
    hosts.map(|host| format!("http://{host}:{port}/")).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_refuses_them_and_names_the_field() {
    let (world, (port, connections)) = (deployed().await, trap().await);
    let application = world.application().await;
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    let good = json!({ "url": "https://example.com/", "uid": "good" });
    world.expect("POST", &path, Some(good)).await;
    let (label, long) = (
        format!("https://{}.example.com/", "a".repeat(64)),
        format!("https://example.com/{}", "ü".repeat(11_000)),
    );
    let others = [
        r"https://example.com\@127.0.0.1/",
        "https://@example.com/",
        "https://example.com:0/",
        "https://a..example.com/",
        "https://example.com/a b",
        label.as_str(),
        long.as_str(),
        "http://169.254.169.254/",
        "http://169.254.100.1/",
        "http://10.0.0.1/",
        "http://x.internal/",
    ];
    let urls: Vec<_> = urls(port)
        .into_iter()
        .chain(others.map(str::to_owned))
        .collect();
    for url in &urls {
        let existing = format!("{path}/good");
        for (method, path) in [("POST", &path), ("PUT", &existing), ("PATCH", &existing)] {
            let refused = world.call(method, path, Some(json!({ "url": url }))).await;
            let loc = &refused.body["detail"][0]["loc"];
            assert_eq!(
                (refused.status, loc),
                (422, &json!(["body", "url"])),
                "{method} {url}"
            );
        }
    }
    println!("{} URLs refused by POST, PUT and PATCH", urls.len());
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dispatcher_refuses_them_when_they_are_in_the_table_all_the_same() {
    let (world, (port, connections)) = (deployed().await, trap().await);
    let application = world.application().await;
    let path = format!("/api/v1/app/{}/endpoint", application.id);
    let body = json!({ "url": "https://example.com/" });
    let created = world.expect("POST", &path, Some(body)).await;
    let (config, organization) = (
        world.aws().await.config,
        world.organization.parse().unwrap(),
    );
    let (owner, id) = (
        application.id.parse().unwrap(),
        created["id"].as_str().unwrap().parse().unwrap(),
    );
    let urls = urls(port);
    for url in &urls {
        let app = AppKey::new(&organization, &owner);
        let (key, strong) = (app.endpoint(&id), Consistency::Strong);
        let before = config.endpoints().get(key, strong).await;
        let before = before.unwrap().unwrap();
        let after = Endpoint {
            url: url.clone(),
            revision: before.revision + 1,
            ..before
        };
        let written = config.endpoints().put(app, &after).await;
        assert_eq!(written.unwrap(), Written::Yes);
        let message = world.send(&application.id, MESSAGE).await;
        let attempt = world.attempts(&application, &message, 1).await.remove(0);
        let shown = (attempt.response_status_code, attempt.response);
        assert_eq!(shown, (0, Failure::Blocked.to_string()), "{url}");
    }
    println!("{} URLs in the table blocked", urls.len());
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}
