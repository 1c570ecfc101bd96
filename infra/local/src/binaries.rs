//! Builds the functions, with the same profile as this program.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use serde_json::Value;
use tokio::{process::Command, sync::OnceCell};

/// The functions could not be built.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the functions could not be built: {0}")]
pub struct BuildError(String);

/// The workspace's executables by name; built once per process.
///
/// # Errors
/// When cargo fails; it has printed why on standard error.
pub async fn build_binaries() -> Result<&'static BTreeMap<String, PathBuf>, BuildError> {
    static BUILT: OnceCell<BTreeMap<String, PathBuf>> = OnceCell::const_new();
    BUILT
        .get_or_try_init(|| async { build(&cargo()).await })
        .await
}

/// Builds the executables again, at the same paths.
pub(crate) async fn rebuild() -> Result<(), BuildError> {
    build(&cargo()).await.map(drop)
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// `cargo build --bins`: all members are default members, so features are the same as in `cargo
/// run` and `cargo test`, and dependencies are not built twice. Dropping the future ends cargo; a
/// blocking wait would keep this program alive after SIGTERM until the build is over.
async fn build(cargo: &str) -> Result<BTreeMap<String, PathBuf>, BuildError> {
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--bins",
        "--message-format=json-render-diagnostics",
    ]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    for (name, _) in std::env::vars_os() {
        if is_of_the_outer_cargo(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let command = command.current_dir(root).stdin(Stdio::null());
    // Not `output()`, which would hide cargo's progress.
    let running = command.stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let failed = |error: std::io::Error| BuildError(format!("{cargo}: {error}"));
    let output = running.map_err(failed)?.wait_with_output().await;
    let output = output.map_err(failed)?;
    if !output.status.success() {
        return Err(BuildError(format!("cargo build: {}", output.status)));
    }
    Ok(executables(&output.stdout))
}

/// Whether `cargo run` or `cargo test` set this variable for the program that they started. Some
/// crates' build scripts watch such variables and would be built again.
fn is_of_the_outer_cargo(name: &str) -> bool {
    let prefixes = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
    ];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn executables(messages: &[u8]) -> BTreeMap<String, PathBuf> {
    let messages = messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok());
    let executable = |message: Value| {
        let path = message["executable"].as_str()?;
        Some((
            message["target"]["name"].as_str()?.to_owned(),
            PathBuf::from(path),
        ))
    };
    messages.filter_map(executable).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_stops_waiting_ends_cargo() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lambda/fixtures/silent.sh");
        let waited = tokio::time::timeout(Duration::from_millis(50), build(script)).await;
        assert!(waited.is_err());
        // The test's runtime would not end before a blocking wait ends: the test would hang here.
    }

    #[tokio::test]
    async fn a_cargo_that_cannot_run_is_named() {
        let error = build("no-such-cargo").await.unwrap_err().to_string();
        assert!(error.contains("no-such-cargo"), "{error}");
    }
}
