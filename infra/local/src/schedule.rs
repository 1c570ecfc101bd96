//! The clock: invokes a function at its rate, as EventBridge Scheduler does.

use std::time::Duration;

use bytes::Bytes;

use crate::lambda::Pool;

pub(crate) async fn run(pool: Pool, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    // The first tick is at once; a schedule's first invocation is one period later.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if let Err(error) = pool.invoke(Bytes::from_static(b"{}")).await {
            eprintln!("the scheduled invocation failed: {error}");
        }
    }
}
