//! Which URLs and addresses an endpoint may have (protection against server-side request forgery).
//!
//! `tests/ssrf.rs` tries every range and notation.
//!
//! A URL is checked with the parser that also makes the request ([`url::Url`]), when an endpoint is
//! registered and before every attempt. The dispatcher's resolver asks [`Policy::allows`] for each
//! address that a name resolves to and connects to an address that passed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// The longest URL that the contract allows.
const MAX_URL_LENGTH: usize = 65_536;

/// What a deployment allows endpoints to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether `http` is allowed besides `https`.
    pub allow_http: bool,
    /// Private networks that may be reached after all. Empty in the deployed template; the local
    /// stack names the loopback range.
    pub allow_subnets: Vec<IpNet>,
}

/// Why a URL is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No URL, or one without a host.
    #[error("must be an absolute URL with a host")]
    Malformed,
    /// Longer than the contract allows.
    #[error("must have at most {MAX_URL_LENGTH} characters")]
    TooLong,
    /// White space or control characters, which parsers drop silently.
    #[error("must not hold white space or control characters")]
    Character,
    /// Another scheme than the deployment allows.
    #[error("must begin with https://")]
    NotHttps,
    /// Neither `https` nor `http`.
    #[error("must begin with https:// or http://")]
    NotHttp,
    /// `user:password@`: receivers do not get it, logs would.
    #[error("must not hold a user name or password")]
    Credentials,
    /// A host that is not on the public internet.
    #[error("must name a host on the public internet")]
    Private,
}

impl Policy {
    /// Reads and checks an endpoint's URL.
    ///
    /// # Errors
    /// The rule that the URL breaks.
    pub fn check(&self, text: &str) -> Result<Url, UrlError> {
        if text.len() > MAX_URL_LENGTH {
            return Err(UrlError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Character);
        }
        let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ if self.allow_http => return Err(UrlError::NotHttp),
            _ => return Err(UrlError::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Credentials);
        }
        let reachable = match url.host().ok_or(UrlError::Malformed)? {
            Host::Ipv4(ip) => self.allows(IpAddr::V4(ip)),
            Host::Ipv6(ip) => self.allows(IpAddr::V6(ip)),
            Host::Domain(name) => !is_private_name(name) || self.allow_loopback_name(name),
        };
        if reachable {
            Ok(url)
        } else {
            Err(UrlError::Private)
        }
    }

    /// Whether an address may be connected to.
    pub fn allows(&self, ip: IpAddr) -> bool {
        self.allow_subnets.iter().any(|net| net.contains(&ip)) || is_public(ip)
    }

    fn allow_loopback_name(&self, name: &str) -> bool {
        name.trim_end_matches('.') == "localhost" && self.allows(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

/// Names that only mean something inside a network, whatever they resolve to: also those of a single
/// label, which resolvers complete with the network's own domain.
fn is_private_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    if !name.contains('.') {
        return true;
    }
    let under = |zone: &str| {
        name == zone
            || name
                .strip_suffix(zone)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    ["localhost", "internal", "local", "localdomain"]
        .into_iter()
        .any(under)
}

/// Whether an address is on the public internet, by the IANA special-purpose registries. An IPv4
/// address inside an IPv6 one never is: no receiver needs that notation.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !SPECIAL_V4.iter().any(|net| net.contains(&ip)),
        IpAddr::V6(ip) => {
            GLOBAL_UNICAST.contains(&ip) && !SPECIAL_V6.iter().any(|net| net.contains(&ip))
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// IANA IPv4 Special-Purpose Address Registry, and multicast.
const SPECIAL_V4: [Ipv4Net; 17] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 31, 196, 0, 24),
    v4(192, 52, 193, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(192, 175, 48, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 3),
];

/// Outside of it nothing is global unicast: loopback, link-local, unique-local, multicast, NAT64
/// (`64:ff9b::/96`), IPv4-mapped and IPv4-compatible addresses all fall away here.
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);

/// IANA IPv6 Special-Purpose Address Registry, inside global unicast.
const SPECIAL_V6: [Ipv6Net; 5] = [
    v6(0x2001, 0, 0, 23),         // protocol assignments, Teredo, ORCHID
    v6(0x2001, 0xdb8, 0, 32),     // documentation
    v6(0x2002, 0, 0, 16),         // 6to4: holds any IPv4 address
    v6(0x2620, 0x4f, 0x8000, 48), // AS112
    v6(0x3fff, 0, 0, 20),         // documentation
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> Result<(), UrlError> {
        Policy::default().check(url).map(|_| ())
    }

    #[test]
    fn other_faults_name_their_rule() {
        assert_eq!(check("http://example.com/"), Err(UrlError::NotHttps));
        assert_eq!(check("ftp://example.com/"), Err(UrlError::NotHttps));
        assert_eq!(check("example.com"), Err(UrlError::Malformed));
        assert_eq!(check(""), Err(UrlError::Malformed));
        assert_eq!(check("https://exa\tmple.com/"), Err(UrlError::Character));
        assert_eq!(
            check("https://user:pw@example.com/"),
            Err(UrlError::Credentials)
        );
    }
}
