//! The one-command local stack says clearly why it does not start.

use posthorn_local::{Stack, StackOptions};
use posthorn_tests::World;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = StackOptions {
        port: Some(port),
        ..StackOptions::default()
    };
    let error = Stack::start(options).await.unwrap_err().to_string();
    assert!(
        error.contains(&port.to_string()) && error.contains("--port"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_fails_at_start_and_names_the_variable() {
    let environment = [("RETRY_SCHEDULE".to_owned(), "5,soon".to_owned())].into();
    let stack = Stack::start(StackOptions {
        environment,
        ..StackOptions::default()
    })
    .await
    .unwrap();
    let error = stack
        .invoke("DispatcherFunction", &serde_json::json!({ "Records": [] }))
        .await;
    assert!(error.is_err());
    posthorn_tests::until("the reason in the log", || async {
        let names = |line: &String| line.contains("RETRY_SCHEDULE") && line.contains("soon");
        stack.logs().into_iter().find(names)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_belongs_to_one_stack() {
    let folder = std::env::temp_dir().join(format!("posthorn-lock-{}", std::process::id()));
    let options = || StackOptions {
        data: Some(folder.clone()),
        ..StackOptions::default()
    };
    let first = Stack::start(options()).await.unwrap();
    let error = Stack::start(options()).await.unwrap_err().to_string();
    assert!(error.contains("--data"), "{error}");
    drop(first);
    drop(Stack::start(options()).await.unwrap());
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_removes_what_an_earlier_run_kept_and_nothing_else() {
    let folder = std::env::temp_dir().join(format!("posthorn-reset-{}", std::process::id()));
    let options = |reset| StackOptions {
        data: Some(folder.clone()),
        reset,
        ..StackOptions::default()
    };
    let list = |world: &World, token: &str| {
        let svix = world.client_with(token);
        async move {
            svix.application()
                .list(None)
                .await
                .map(|page| page.data.len())
        }
    };
    let first = World::with_options(options(false)).await;
    first.application().await;
    let (organization, old) = (first.organization.clone(), first.token.clone());
    assert_eq!(list(&first, &old).await.unwrap(), 1);
    drop(first);
    let others = [
        "notes.txt",
        "organization-chart.txt",
        "secret-plans",
        "kms-notes",
    ];
    for name in others {
        std::fs::write(folder.join(name), "mine").unwrap();
    }
    let kept = World::with_options(options(false)).await;
    assert_eq!(list(&kept, &old).await.unwrap(), 1);
    drop(kept);
    let fresh = World::with_options(options(true)).await;
    assert!(list(&fresh, &old).await.is_err(), "another token key");
    let token = fresh.mint(json!({ "organization": organization })).await;
    assert_eq!(list(&fresh, &token).await.unwrap(), 0);
    for name in others {
        let text = std::fs::read_to_string(folder.join(name));
        assert_eq!(text.unwrap(), "mine");
    }
    drop(fresh);
    std::fs::remove_dir_all(folder).unwrap();
}
