//! Connections to endpoints: checked addresses only, TLS by the system's certificates, every byte counted.
//!
//! Below `reqwest`, as it lets nobody wrap its streams: hyper reads informational answers in a loop without an end, and
//! an endpoint that sends nothing else held a process of `reqwest` for 54 s, its time-outs included.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Extensions, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use posthorn_domain::failure::MAX_ANSWER_BYTES;
use posthorn_runtime::StartError;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_native_certs::load_certs_from_paths;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use crate::{meter::Meter, resolve::GuardedResolver, wire::Tap};

/// The longest time to connect, TLS handshake included; inside the whole request's time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections idle for longer are not used again: Node's servers close theirs after 5 s, and a frozen
/// function may have missed the end of an older one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// An HTTP/2 connection over which nothing came for so long is asked whether it is alive, and left when it
/// does not answer for as long again. Both together are shorter than an attempt.
const PING_AFTER: Duration = Duration::from_secs(4);

/// Headers of a response; their bytes are counted besides. The parser makes room for so many anew for each
/// response, informational ones included, so more would make a flood of them dear.
const MAX_RESPONSE_HEADERS: usize = 1024;

/// Bytes of a body that an HTTP/2 server may send before they are read. It is more than what is kept of it.
const HTTP2_WINDOW: u32 = 16 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Wire = TokioIo<Tap<TcpStream>>;
type Plain = TokioIo<Tap<TokioIo<MaybeHttpsStream<Wire>>>>;

/// A client with its connections.
pub(crate) type HttpClient = Client<Connector, Full<Bytes>>;

/// No connection within [`CONNECT_TIMEOUT`].
#[derive(Debug, thiserror::Error)]
#[error("no connection in time")]
pub(crate) struct TooSlow;

/// A client that keeps connections for later, and one that makes a new one for every request.
pub(crate) fn clients(resolver: GuardedResolver) -> Result<(HttpClient, HttpClient), StartError> {
    let connector = Connector::new(resolver)?;
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http1_title_case_headers(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_max_headers(MAX_RESPONSE_HEADERS)
        .http2_max_header_list_size(u32::try_from(MAX_ANSWER_BYTES)?)
        .http2_initial_stream_window_size(HTTP2_WINDOW)
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_AFTER);
    let pooled = builder.build(connector.clone());
    let fresh = builder.pool_max_idle_per_host(0).build(connector);
    Ok((pooled, fresh))
}

/// The system's root certificates: those of its file, or of its folder where it has no file. Most systems have the same
/// ones in both, and reading both doubles the CPU time of a cold start.
fn system_roots() -> Result<RootCertStore, StartError> {
    let place = openssl_probe::probe();
    let folder = place.cert_dir.first().filter(|_| place.cert_file.is_none());
    let found = load_certs_from_paths(place.cert_file.as_deref(), folder.map(AsRef::as_ref));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(format!("no root certificates were found: {:?}", found.errors).into());
    }
    Ok(roots)
}

/// The meter of a connection.
pub(crate) fn meter_of(connected: &Connected) -> Option<Arc<Meter>> {
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    extras.remove()
}

/// Makes connections: name, socket, count, TLS, all in [`CONNECT_TIMEOUT`].
#[derive(Clone, Debug)]
pub(crate) struct Connector(HttpsConnector<Counted>);

impl Connector {
    fn new(resolver: GuardedResolver) -> Result<Self, StartError> {
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(system_roots()?)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Counted(http));
        Ok(Self(https))
    }
}

impl Service<Uri> for Connector {
    type Response = Plain;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Plain, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(CONNECT_TIMEOUT, self.0.call(uri));
        Box::pin(async move {
            let io = connecting.await.map_err(|_| TooSlow)??;
            let connected = io.connected();
            let meter = meter_of(&connected).unwrap_or_default();
            let is_http2 = connected.is_negotiated_h2();
            let io = Tap::above_tls(TokioIo::new(io), meter, is_http2);
            Ok(TokioIo::new(io))
        })
    }
}

/// Makes sockets whose bytes are counted.
#[derive(Clone, Debug)]
struct Counted(HttpConnector<GuardedResolver>);

impl Service<Uri> for Counted {
    type Response = Wire;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Wire, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(ready!(self.0.poll_ready(cx))?))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let socket = connecting.await?.into_inner();
            Ok(TokioIo::new(Tap::below_tls(socket)))
        })
    }
}
