//! The one-command local stack says clearly what keeps it from starting.

use posthorn_local::{Stack, StackOptions};

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
    let parameters = [("RetrySchedule".to_owned(), "5,soon".to_owned())].into();
    let stack = Stack::start(StackOptions {
        parameters,
        ..StackOptions::default()
    })
    .await
    .unwrap();
    let error = stack
        .invoke("dispatcher", &serde_json::json!({ "Records": [] }))
        .await;
    assert!(error.is_err());
    posthorn_tests::until("the reason in the log", || async {
        let names = |line: &String| line.contains("RETRY_SCHEDULE") && line.contains("soon");
        stack.logs().into_iter().find(names)
    })
    .await;
}
