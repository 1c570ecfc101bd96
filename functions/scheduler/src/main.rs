//! The scheduler Lambda.

use lambda_runtime::{run, service_fn};
use posthorn_runtime::{StartError, init_logs, metrics};
use posthorn_scheduler::Scheduler;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    init_logs();
    let scheduler = &Scheduler::from_env().await?;
    run(service_fn(|event| {
        metrics::flushed(scheduler.handle(event))
    }))
    .await
}
