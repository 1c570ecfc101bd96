//! AWS clients. Every function uses the same settings: one TLS provider, bounded timeouts, and the
//! SDK's own retries with back-off. Endpoints, region and credentials come from the SDK's standard
//! environment variables, so a local emulator needs no code here.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, ConfigLoader, SdkConfig, retry::RetryConfig,
    stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

/// The most tries of one AWS call, including the first.
const MAX_ATTEMPTS: u32 = 4;

/// The longest time for one try of an AWS call: DynamoDB and SQS answer in milliseconds, so a slow
/// try is better abandoned and repeated. Functions make no long polls.
const TRY_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest time for an AWS call including all tries; below API Gateway's 30 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(12);

/// The settings that all clients share, from the environment.
pub async fn config() -> SdkConfig {
    settings().load().await
}

/// The settings that all clients share; a caller may add a URL and credentials.
pub fn settings() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(TRY_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    let tls = Provider::Rustls(CryptoMode::Ring);
    // Responses are small, and each try has a timeout, so watching their streams would only cost
    // CPU.
    let streams = StalledStreamProtectionConfig::disabled();
    aws_config::defaults(BehaviorVersion::latest())
        .stalled_stream_protection(streams)
        .http_client(Builder::new().tls_provider(tls).build_https())
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
        .timeout_config(timeouts)
}
