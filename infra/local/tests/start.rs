//! `cargo run` with parameters: what they change, and what is refused before anything starts.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

/// The first of four consecutive free ports, below those that the system hands out.
fn ports() -> u16 {
    // No two tests use the same ports.
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 3000 * 4).unwrap() + 15_000;
    let first = first + 40 * TAKEN.fetch_add(1, Ordering::Relaxed);
    (first..32_000)
        .step_by(4)
        .find(|first| (0..4).all(|n| TcpListener::bind(("127.0.0.1", first + n)).is_ok()))
        .unwrap()
}

fn start(parameter: &str, env_file: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_posthorn"))
        .args(["--memory", "--port", &ports().to_string()])
        .args(["--parameter", parameter, "--env-file"])
        .arg(env_file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_parameter_that_the_template_does_not_take_is_refused() {
    let env_file = std::env::temp_dir().join(format!("posthorn-refused-{}", std::process::id()));
    for (parameter, expected) in [
        (
            "RetrySchedule=abc",
            "Parameter 'RetrySchedule' must match pattern",
        ),
        (
            "BatchSize=11",
            "Parameter 'BatchSize' must be a number not greater than 10",
        ),
        (
            "AllowHttpEndpoints=no",
            "Parameter 'AllowHttpEndpoints' must be one of AllowedValues: [true, false]",
        ),
        (
            "PortalUrl=http://example.com",
            "Parameter 'PortalUrl' must match pattern",
        ),
        (
            "Nonsense=1",
            "Parameters: [Nonsense] do not exist in the template",
        ),
    ] {
        let mut process = start(parameter, &env_file);
        let mut error = String::new();
        process
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut error)
            .unwrap();
        assert!(!process.wait().unwrap().success(), "{parameter}");
        assert!(error.contains(expected), "{parameter}: {error}");
        assert!(!env_file.exists(), "{parameter}");
    }
}

#[test]
fn it_starts_where_endpoints_may_not_use_http() {
    let env_file = std::env::temp_dir().join(format!("posthorn-https-{}", std::process::id()));
    let mut process = start("AllowHttpEndpoints=false", &env_file);
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let is_ready = lines.any(|line| line == "Posthorn is ready.");
    let says = lines.find(|line| line.starts_with("Send a message"));
    // Terminated rather than killed, so that it ends the functions.
    let id = process.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    process.wait().unwrap();
    std::fs::remove_file(env_file).unwrap();
    assert!(is_ready);
    assert!(says.unwrap().contains("AllowHttpEndpoints=false"));
}
