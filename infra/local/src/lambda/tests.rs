//! What a pool promises. The processes are scripts; the tests call the pool on their behalf, as
//! [`super::api`] does.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;

use super::{InvokeError, Pool, PoolOptions};
use crate::LogSink;

const LONG: Duration = Duration::from_secs(60);

/// A function whose processes are a script of `fixtures`.
pub(crate) fn pool(script: &str, max: usize, timeout: Duration) -> Pool {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lambda/fixtures");
    Pool::new(PoolOptions {
        name: "function".to_owned(),
        executable: format!("{folder}/{script}").into(),
        environment: Default::default(),
        timeout,
        max,
        runtime_api: "127.0.0.1:1".to_owned(),
        log: LogSink::default(),
    })
}

/// Starts an invocation in the background.
fn invoke(pool: &Pool) -> tokio::task::JoinHandle<Result<Bytes, InvokeError>> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.invoke(Bytes::from_static(b"{}")).await })
}

/// Fails a test instead of letting it hang.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.unwrap()
}

async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn is_alive(pid: u32) -> bool {
    // A process that ended but was not waited for yet has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn kill(pid: u32) {
    let status = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Asks for the next invocation as process `process`, once the pool has started it.
async fn next(pool: &Pool, process: u64) -> super::pool::Invocation {
    soon(async {
        loop {
            match pool.next(process).await {
                Some(invocation) => return invocation,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_warm_process_takes_the_next_invocation() {
    let pool = pool("silent.sh", 10, LONG);
    for answer in ["1", "2"] {
        let invoked = invoke(&pool);
        let id = next(&pool, 1).await.id;
        pool.complete(1, &id, Ok(Bytes::from(answer)));
        assert_eq!(soon(invoked).await.unwrap(), Ok(Bytes::from(answer)));
    }
    assert_eq!(pool.process_ids().len(), 1);
}

#[tokio::test]
async fn a_pool_never_has_more_processes_than_its_cap() {
    let pool = pool("silent.sh", 2, LONG);
    let invoked = [invoke(&pool), invoke(&pool), invoke(&pool)];
    let (one, two) = (next(&pool, 1).await, next(&pool, 2).await);
    assert_eq!(pool.process_ids().len(), 2);
    pool.complete(1, &one.id, Ok(Bytes::new()));
    let three = next(&pool, 1).await;
    pool.complete(2, &two.id, Ok(Bytes::new()));
    pool.complete(1, &three.id, Ok(Bytes::new()));
    for invoked in invoked {
        assert!(soon(invoked).await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_kill_fails_the_invocation_and_the_next_one_gets_a_new_process() {
    let pool = pool("silent.sh", 1, LONG);
    let invoked = invoke(&pool);
    next(&pool, 1).await;
    kill(pool.process_ids()[0]);
    let failed = soon(invoked).await.unwrap();
    assert!(matches!(failed, Err(InvokeError::Exited(_))), "{failed:?}");
    let invoked = invoke(&pool);
    let id = next(&pool, 2).await.id;
    pool.complete(2, &id, Ok(Bytes::new()));
    assert!(soon(invoked).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_late_process_is_ended() {
    let pool = pool("silent.sh", 1, Duration::from_millis(1500));
    let invoked = invoke(&pool);
    next(&pool, 1).await;
    let pid = pool.process_ids()[0];
    assert_eq!(soon(invoked).await.unwrap(), Err(InvokeError::TimedOut(1)));
    until(|| !is_alive(pid)).await;
}

#[tokio::test]
async fn a_process_that_dies_at_its_start_fails_each_invocation_once() {
    let pool = pool("broken.sh", 1, LONG);
    for _ in 0..2 {
        let failed = soon(invoke(&pool)).await.unwrap();
        assert!(matches!(failed, Err(InvokeError::Exited(_))), "{failed:?}");
    }
}

#[tokio::test]
async fn a_process_that_hangs_at_its_start_times_out_and_is_ended() {
    let pool = pool("silent.sh", 1, Duration::from_secs(1));
    let invoked = invoke(&pool);
    until(|| !pool.process_ids().is_empty()).await;
    let pid = pool.process_ids()[0];
    assert_eq!(soon(invoked).await.unwrap(), Err(InvokeError::TimedOut(1)));
    until(|| !is_alive(pid)).await;
}

#[tokio::test]
async fn an_error_at_the_start_fails_one_invocation_only() {
    let pool = pool("silent.sh", 1, LONG);
    let (first, second) = (invoke(&pool), invoke(&pool));
    until(|| pool.process_ids().len() == 1).await;
    let pid = pool.process_ids()[0];
    pool.fail_start(1, "no configuration".to_owned());
    until(|| !is_alive(pid)).await;
    let failed = soon(first).await.unwrap();
    assert_eq!(
        failed,
        Err(InvokeError::Function("no configuration".to_owned()))
    );
    let id = next(&pool, 2).await.id;
    pool.complete(2, &id, Ok(Bytes::new()));
    assert!(soon(second).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_stopped_pool_starts_no_process() {
    let pool = pool("silent.sh", 1, LONG);
    let invoked = [invoke(&pool), invoke(&pool)];
    until(|| !pool.process_ids().is_empty()).await;
    let pid = pool.process_ids()[0];
    pool.stop();
    until(|| !is_alive(pid)).await;
    for invoked in invoked {
        assert!(soon(invoked).await.unwrap().is_err());
    }
    assert!(soon(invoke(&pool)).await.unwrap().is_err());
    assert!(pool.process_ids().is_empty());
}

#[tokio::test]
async fn replaced_processes_end_after_their_invocation_and_new_ones_take_over() {
    let pool = pool("silent.sh", 10, LONG);
    let (idle, busy) = (invoke(&pool), invoke(&pool));
    let (of_idle, of_busy) = (next(&pool, 1).await, next(&pool, 2).await);
    let before = pool.process_ids();
    pool.complete(1, &of_idle.id, Ok(Bytes::new()));
    soon(idle).await.unwrap().unwrap();
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.next(1).await.is_none() }
    });
    // Whether or not it got one, the idle process asks again before the others are replaced.
    tokio::task::yield_now().await;
    pool.replace_processes();
    assert!(soon(waits).await.unwrap(), "it gets no invocation");
    pool.complete(2, &of_busy.id, Ok(Bytes::from("done")));
    assert_eq!(soon(busy).await.unwrap(), Ok(Bytes::from("done")));
    assert!(pool.next(2).await.is_none(), "nor does the busy one");
    let invoked = invoke(&pool);
    let id = next(&pool, 3).await.id;
    pool.complete(3, &id, Ok(Bytes::from("new")));
    assert_eq!(soon(invoked).await.unwrap(), Ok(Bytes::from("new")));
    until(|| !before.iter().any(|pid| is_alive(*pid))).await;
}
