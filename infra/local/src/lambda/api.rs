//! The Runtime API. Its paths start with the function and the process number, so that one listener
//! serves all: `AWS_LAMBDA_RUNTIME_API=http://127.0.0.1:PORT/{function}/{process}`.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use posthorn_runtime::now;
use tokio::net::TcpListener;

use super::{InvokeError, Pool};
use crate::{ACCOUNT, REGION};

type Pools = Arc<HashMap<String, Pool>>;

pub(crate) async fn serve(listener: TcpListener, pools: impl Iterator<Item = Pool>) {
    let pools: Pools = Arc::new(pools.map(|pool| (pool.name().to_owned(), pool)).collect());
    let limit = axum::extract::DefaultBodyLimit::max(8 * 1024 * 1024);
    let router = Router::new()
        .route(
            "/{function}/{process}/2018-06-01/runtime/invocation/next",
            get(next),
        )
        .route(
            "/{function}/{process}/2018-06-01/runtime/invocation/{id}/response",
            post(response),
        )
        .route(
            "/{function}/{process}/2018-06-01/runtime/invocation/{id}/error",
            post(error),
        )
        .route(
            "/{function}/{process}/2018-06-01/runtime/init/error",
            post(init_error),
        )
        .layer(limit)
        .with_state(pools);
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("the Runtime API ended: {error}");
    }
}

async fn next(
    State(pools): State<Pools>,
    Path((function, process)): Path<(String, u64)>,
) -> Response {
    let Some(pool) = pools.get(&function) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Some(invocation) = pool.next(process).await else {
        return StatusCode::GONE.into_response();
    };
    let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}");
    let trace_id = trace_id(&invocation.id);
    let headers = [
        ("lambda-runtime-aws-request-id", invocation.id),
        (
            "lambda-runtime-deadline-ms",
            invocation.deadline.as_millis().to_string(),
        ),
        ("lambda-runtime-invoked-function-arn", arn),
        ("lambda-runtime-trace-id", trace_id),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, invocation.payload).into_response()
}

/// An X-Ray header for each invocation, never sampled: `Root=1-{seconds}-{96 bits}`.
fn trace_id(invocation: &str) -> String {
    let unique: String = invocation.chars().take(24).collect();
    format!("Root=1-{:08x}-{unique};Sampled=0", now().as_seconds())
}

async fn response(
    State(pools): State<Pools>,
    Path((function, process, id)): Path<(String, u64, String)>,
    body: Bytes,
) -> StatusCode {
    complete(&pools, &function, process, &id, Ok(body))
}

async fn error(
    State(pools): State<Pools>,
    Path((function, process, id)): Path<(String, u64, String)>,
    body: Bytes,
) -> StatusCode {
    let reason = String::from_utf8_lossy(&body).into_owned();
    complete(
        &pools,
        &function,
        process,
        &id,
        Err(InvokeError::Function(reason)),
    )
}

fn complete(
    pools: &Pools,
    function: &str,
    process: u64,
    id: &str,
    result: Result<Bytes, InvokeError>,
) -> StatusCode {
    if let Some(pool) = pools.get(function) {
        pool.complete(process, id, result);
    }
    StatusCode::ACCEPTED
}

async fn init_error(
    State(pools): State<Pools>,
    Path((function, process)): Path<(String, u64)>,
    body: Bytes,
) -> StatusCode {
    if let Some(pool) = pools.get(&function) {
        pool.fail_start(process, String::from_utf8_lossy(&body).into_owned());
    }
    StatusCode::ACCEPTED
}
