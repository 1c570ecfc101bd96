//! The api Lambda.

use lambda_runtime::{run, service_fn};
use posthorn_api::Service;
use posthorn_runtime::{StartError, init_logs, metrics};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    init_logs();
    let service = &Service::from_env().await?;
    run(service_fn(|event| metrics::flushed(service.handle(event)))).await
}
