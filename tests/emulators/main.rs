//! The store and the queue against the embedded emulators, without functions.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod prefetch;
mod queue;
mod scheduler;
mod store;

use std::{collections::BTreeMap, path::PathBuf};

use posthorn_local::{
    aws::{Aws, AwsOptions},
    template::Template,
};
use posthorn_tests::Clients;
use tokio::net::TcpListener;

/// Emulators with the template's tables and queues.
async fn emulators(parameters: &[(&str, &str)], data: Option<PathBuf>) -> (Aws, Clients) {
    let listen = || TcpListener::bind("127.0.0.1:0");
    let (dynamodb, sqs) = (listen().await.unwrap(), listen().await.unwrap());
    let parameters = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let base = format!("http://{}/000000000000", sqs.local_addr().unwrap());
    let template = Template::load(&parameters.collect::<BTreeMap<_, _>>(), &base).unwrap();
    let aws = Aws::start(
        &template,
        AwsOptions {
            reset: false,
            dynamodb,
            sqs,
            data,
            meter: false,
        },
    )
    .await
    .unwrap();
    let clients = Clients::of(&aws).await;
    (aws, clients)
}
