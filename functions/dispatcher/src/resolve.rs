//! Name resolution that only returns addresses that may be reached. The connection goes to one of
//! the addresses returned here, so there is no second look-up that could give another answer.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use posthorn_domain::address::Policy;
use tower_service::Service;

/// What a name means.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// The addresses of a host name.
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver.
#[derive(Debug)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The name gave no address that may be reached. One error for a name that does not exist and for one
/// of a private address: customers must not learn which names a network has inside.
#[derive(Debug, thiserror::Error)]
#[error("the name has no public address")]
pub(crate) struct NoAddress;

#[derive(Clone, Debug)]
pub(crate) struct GuardedResolver {
    policy: Policy,
    lookup: Arc<dyn Lookup>,
}

impl GuardedResolver {
    pub(crate) fn new(policy: Policy, lookup: Arc<dyn Lookup>) -> Self {
        Self { policy, lookup }
    }
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = NoAddress;
    type Future = BoxFuture<'static, Result<Self::Response, NoAddress>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoAddress>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (policy, found) = (
            self.policy.clone(),
            self.lookup.lookup(name.as_str().to_owned()),
        );
        Box::pin(async move {
            let found = found.await.map_err(|_| NoAddress)?;
            let allowed: Vec<_> = found
                .into_iter()
                .filter(|ip| policy.allows(*ip))
                .map(|ip| SocketAddr::new(ip, 0))
                .collect();
            if allowed.is_empty() {
                return Err(NoAddress);
            }
            Ok(allowed.into_iter())
        })
    }
}
