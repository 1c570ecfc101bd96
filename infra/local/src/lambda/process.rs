//! One process of a function: how it is started, and where its output goes.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
};

use super::PoolOptions;

/// The command for process number `process`, without any of this machine's AWS settings.
pub(super) fn command(options: &PoolOptions, process: u64) -> Command {
    let mut command = Command::new(&options.executable);
    // `vars` panics on a variable that is not UTF-8.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .envs(&options.environment)
        .env(
            "AWS_LAMBDA_RUNTIME_API",
            format!("http://{}/{}/{process}", options.runtime_api, options.name),
        )
        .env("AWS_LAMBDA_LOG_STREAM_NAME", format!("local/{process}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Sends a process's lines to the log, until it ends.
pub(super) fn follow_output(
    options: &PoolOptions,
    output: Option<impl AsyncRead + Unpin + Send + 'static>,
) {
    let Some(output) = output else { return };
    let (log, name) = (options.log.clone(), options.name.clone());
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            log.write(&name, &line);
        }
    });
}
