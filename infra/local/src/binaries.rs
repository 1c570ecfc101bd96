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
    let output = command.current_dir(root).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| BuildError(error.to_string()))?;
    if !output.status.success() {
        return Err(BuildError(format!("cargo build: {}", output.status)));
    }
    Ok(executables(&output.stdout))
}

/// What `cargo run` and `cargo test` tell the program that they start. Build scripts of some crates
/// watch these variables, and would build anew.
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
