//! Builds the functions, with the same profile as this program.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;
use tokio::sync::OnceCell;

/// The functions could not be built.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the functions could not be built: {0}")]
pub struct BuildError(String);

/// The executables of the workspace by name; built once per process.
///
/// # Errors
/// [`BuildError`]; cargo has printed why on standard error.
pub async fn build_binaries() -> Result<&'static BTreeMap<String, PathBuf>, BuildError> {
    static BUILT: OnceCell<BTreeMap<String, PathBuf>> = OnceCell::const_new();
    BUILT
        .get_or_try_init(|| async {
            tokio::task::spawn_blocking(build)
                .await
                .map_err(|error| BuildError(error.to_string()))?
        })
        .await
}

/// `cargo build --bins`: all members are default members, so features are those of `cargo run` and
/// `cargo test`, and dependencies are not built twice.
fn build() -> Result<BTreeMap<String, PathBuf>, BuildError> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--bins",
        "--message-format=json-render-diagnostics",
    ]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let output = command.current_dir(root).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| BuildError(error.to_string()))?;
    if !output.status.success() {
        return Err(BuildError(format!("cargo build: {}", output.status)));
    }
    Ok(executables(&output.stdout))
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
