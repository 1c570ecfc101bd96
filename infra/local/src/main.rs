//! `cargo run`: the local stack with a demo application, until Ctrl-C.

mod demo;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Parser;
use posthorn_local::{LogSink, Stack, StackOptions};
use tokio::signal::unix::{SignalKind, signal};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Posthorn on this machine: the real functions, DynamoDB and SQS in this process.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The API's port; DynamoDB, SQS and the demo receiver use the next three.
    #[arg(long, default_value_t = 8484, value_parser = clap::value_parser!(u16).range(1..=65532))]
    port: u16,
    /// The folder that keeps the state.
    #[arg(long, default_value = ".posthorn")]
    data: PathBuf,
    /// Keep no state.
    #[arg(long)]
    memory: bool,
    /// Start afresh: remove the state that an earlier run kept.
    #[arg(long)]
    reset: bool,
    /// Build the functions again when their sources change.
    #[arg(long)]
    watch: bool,
    /// Print the functions' log as they write it: one JSON object per line, with metrics.
    #[arg(long)]
    json: bool,
    /// A parameter of template.yaml, for example RetrySchedule=5,60; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    parameter: Vec<(String, String)>,
    /// The file to write the functions' environment to, for `cargo lambda watch --env-file`.
    #[arg(long, default_value = ".posthorn/env")]
    env_file: PathBuf,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("posthorn: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut terminate = signal(SignalKind::terminate())?;
    let options = StackOptions {
        port: Some(arguments.port),
        data: (!arguments.memory).then(|| arguments.data.clone()),
        reset: arguments.reset,
        parameters: arguments
            .parameter
            .iter()
            .cloned()
            .collect::<BTreeMap<_, _>>(),
        meter: false,
        environment: std::collections::BTreeMap::default(),
        log: match arguments.json {
            true => LogSink::Stderr,
            false => LogSink::readable(),
        },
    };
    eprintln!("Building the functions …");
    tokio::select! {
        ended = serve(options, &arguments) => ended?,
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("Stopped.");
    Ok(())
}

async fn serve(options: StackOptions, arguments: &Arguments) -> Result<(), Error> {
    let data = options.data.clone();
    let stack = Stack::start(options).await?;
    let demo = demo::Demo::prepare(&stack, data.as_deref(), arguments.port + 3).await?;
    demo.write_environment(&stack, &arguments.env_file)?;
    demo.print(&stack, &arguments.env_file);
    tokio::select! {
        ended = demo.receive() => ended,
        () = stack.watch(), if arguments.watch => Ok(()),
    }
}
