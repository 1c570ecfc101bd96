//! The dispatcher Lambda.

use lambda_runtime::{run, service_fn};
use posthorn_dispatcher::Dispatcher;
use posthorn_runtime::{StartError, init_logs, metrics};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    init_logs();
    let dispatcher = &Dispatcher::from_env().await?;
    run(service_fn(|event| {
        metrics::flushed(dispatcher.handle(event))
    }))
    .await
}
