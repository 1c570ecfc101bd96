//! Cold starts: from the start of a function's process until it first asks for work.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use posthorn_local::build_binaries;
use tokio::{io::AsyncReadExt, net::TcpListener, process::Command};

use super::process::{cpu_of, rss_of};
use crate::World;

/// The functions and their binaries.
const FUNCTIONS: [(&str, &str); 4] = [
    ("IngestFunction", "ingest"),
    ("DispatcherFunction", "dispatcher"),
    ("SchedulerFunction", "scheduler"),
    ("ApiFunction", "api"),
];

/// One start.
#[derive(Clone, Copy, Debug)]
pub struct ColdStart {
    /// Elapsed time.
    pub wall: Duration,
    /// CPU time of all threads, user and system.
    pub cpu: Duration,
    /// Resident memory in KiB.
    pub rss: u64,
}

/// Starts a function's binary under its own Runtime API, with a stack for what it reads at start.
async fn cold_start(world: &World, function: &str, binary: &Path) -> ColdStart {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = Command::new(binary);
    command
        .env_clear()
        .envs(world.stack.environment(Some(function)))
        .env("AWS_LAMBDA_RUNTIME_API", &address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let started = Instant::now();
    let child = command.spawn().unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = [0; 64];
    let read = socket.read(&mut request).await.unwrap();
    let wall = started.elapsed();
    assert!(
        request[..read].starts_with(b"GET /2018-06-01/runtime/invocation/next"),
        "{}",
        String::from_utf8_lossy(&request[..read])
    );
    let pid = child.id().unwrap();
    ColdStart {
        wall,
        cpu: cpu_of(pid),
        rss: rss_of(pid),
    }
}

/// Starts each function `repeats` times; returns the binary's size and the starts by function.
pub async fn cold_starts(repeats: usize) -> Vec<(&'static str, u64, Vec<ColdStart>)> {
    let world = World::start().await;
    let binaries = build_binaries().await.unwrap();
    let mut all = Vec::new();
    for (function, binary) in FUNCTIONS {
        let path = &binaries[binary];
        let size = std::fs::metadata(path).unwrap().len();
        let mut starts = Vec::new();
        for _ in 0..repeats {
            starts.push(cold_start(&world, function, path).await);
        }
        all.push((binary, size, starts));
    }
    all
}
