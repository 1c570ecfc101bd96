//! Name resolution that only returns addresses that may be reached. The connection goes to one of
//! the addresses returned here, so there is no second look-up that could give another answer.

use std::{io, net::SocketAddr};

use posthorn_domain::address::Policy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Why a name gave no usable address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("the name could not be resolved")]
    Dns(#[source] io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("the name's addresses are not allowed")]
    Blocked,
}

pub(crate) struct GuardedResolver {
    policy: Policy,
}

impl GuardedResolver {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(ResolveError::Dns)?;
            let found: Vec<SocketAddr> = found.collect();
            if found.is_empty() {
                return Err(ResolveError::NoAddress.into());
            }
            let allowed: Vec<_> = found
                .into_iter()
                .filter(|address| policy.allows(address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(ResolveError::Blocked.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
