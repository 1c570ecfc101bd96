//! The ingest Lambda.

use lambda_runtime::{run, service_fn};
use posthorn_ingest::Ingest;
use posthorn_runtime::{StartError, init_logs, metrics};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    init_logs();
    let ingest = &Ingest::from_env().await?;
    run(service_fn(|event| metrics::flushed(ingest.handle(event)))).await
}
