//! Which URLs and addresses an endpoint may have (protection against server-side request forgery).
//!
//! `tests/ssrf.rs` tries every range and notation.
//!
//! A URL is checked with the parser that also makes the request ([`url::Url`]), when an endpoint is
//! registered and before every attempt. The dispatcher's resolver calls [`Policy::allows`] for each
//! address that a name resolves to, and only connects to an address that passed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// The longest URL that can be sent, percent-encoded: the limit of the `http` crate. (The contract
/// allows two more characters.)
pub const MAX_URL_LENGTH: usize = 65_534;

/// The longest host name and the longest label of one (RFC 1035, section 2.3.4).
const MAX_NAME_LENGTH: usize = 253;
const MAX_LABEL_LENGTH: usize = 63;

/// Which endpoints a deployment allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether `http` is allowed besides `https`.
    pub allow_http: bool,
    /// Private networks that may be reached nevertheless. Empty in a deployment; the local stack
    /// names the loopback ranges.
    pub allow_subnets: Vec<IpNet>,
}

/// Why a URL is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL, or a URL without a host.
    #[error("must be an absolute URL with a host")]
    Malformed,
    /// Too long to be sent.
    #[error("must have at most {MAX_URL_LENGTH} characters, percent-encoded")]
    TooLong,
    /// White space or control characters, which parsers drop silently, or backslashes, which some
    /// parsers read as slashes.
    #[error("must not hold white space, control characters or backslashes")]
    Character,
    /// A host that no name server can know.
    #[error(
        "must name a host of labels of 1 to {MAX_LABEL_LENGTH} letters, digits, hyphens and underscores, {MAX_NAME_LENGTH} characters together"
    )]
    Host,
    /// Port 0.
    #[error("must not have the port 0")]
    Port,
    /// A scheme that the deployment does not allow.
    #[error("must begin with https://")]
    NotHttps,
    /// Neither `https` nor `http`.
    #[error("must begin with https:// or http://")]
    NotHttp,
    /// `user:password@`: it would not reach receivers, but it would reach logs.
    #[error("must not hold a user name or password")]
    Credentials,
    /// A host that is not on the public internet.
    #[error("must name a host on the public internet")]
    Private,
}

impl Policy {
    /// Reads and checks an endpoint's URL.
    pub fn check(&self, text: &str) -> Result<Url, UrlError> {
        if text.chars().any(is_ambiguous) {
            return Err(UrlError::Character);
        }
        let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
        if text.len().max(url.as_str().len()) > MAX_URL_LENGTH {
            return Err(UrlError::TooLong);
        }
        self.check_scheme(&url)?;
        check_authority(text.get(url.scheme().len()..).unwrap_or_default())?;
        if url.port() == Some(0) {
            return Err(UrlError::Port);
        }
        let reachable = match url.host().ok_or(UrlError::Malformed)? {
            Host::Ipv4(ip) => self.allows(IpAddr::V4(ip)),
            Host::Ipv6(ip) => self.allows(IpAddr::V6(ip)),
            Host::Domain(name) if !is_host_name(name) => return Err(UrlError::Host),
            Host::Domain(name) => !is_private_name(name) || self.allow_loopback_name(name),
        };
        if !reachable {
            return Err(UrlError::Private);
        }
        // The HTTP client's own parser must accept it, too.
        Uri::try_from(url.as_str()).map_err(|_| UrlError::Malformed)?;
        Ok(url)
    }

    fn check_scheme(&self, url: &Url) -> Result<(), UrlError> {
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.allow_http => Ok(()),
            _ if self.allow_http => Err(UrlError::NotHttp),
            _ => Err(UrlError::NotHttps),
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

/// Whether parsers disagree about a character.
fn is_ambiguous(c: char) -> bool {
    c.is_control() || c.is_whitespace() || c == '\\'
}

/// Checks what some parsers tolerate and others do not: there must be exactly two slashes, and no
/// user name, not even an empty one.
fn check_authority(after_scheme: &str) -> Result<(), UrlError> {
    let rest = after_scheme.strip_prefix("://");
    let rest = rest.ok_or(UrlError::Malformed)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(UrlError::Credentials);
    }
    if authority.is_empty() {
        return Err(UrlError::Malformed);
    }
    Ok(())
}

/// Whether this may be a name in DNS and in certificates; one trailing dot is allowed.
fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| {
        (1..=MAX_LABEL_LENGTH).contains(&label.len())
            && label.chars().all(is_part)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= MAX_NAME_LENGTH && name.split('.').all(is_label)
}

/// Whether a name only has a meaning inside a network, whatever it resolves to. This includes names
/// of a single label, which resolvers complete with the network's own domain.
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

/// The only range of global unicast. It excludes loopback, link-local, unique-local, multicast,
/// NAT64 (`64:ff9b::/96`), IPv4-mapped and IPv4-compatible addresses.
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
    fn every_fault_names_its_rule() {
        let label = |length: usize| format!("https://{}.com/", "a".repeat(length));
        let path = |length: usize| format!("https://a.de/{}", "x".repeat(length - 13));
        let name = format!("https://{}de/", "abcdefghi.".repeat(26));
        for (url, expected) in [
            ("http://example.com/", Err(UrlError::NotHttps)),
            ("ftp://example.com/", Err(UrlError::NotHttps)),
            ("example.com", Err(UrlError::Malformed)),
            ("", Err(UrlError::Malformed)),
            ("https://", Err(UrlError::Malformed)),
            ("https:///example.com/", Err(UrlError::Malformed)),
            ("https:example.com", Err(UrlError::Malformed)),
            ("https:/example.com", Err(UrlError::Malformed)),
            ("https://exa\tmple.com/", Err(UrlError::Character)),
            (" https://example.com/", Err(UrlError::Character)),
            ("https://example.com/\u{a0}", Err(UrlError::Character)),
            ("https://example.com/\0", Err(UrlError::Character)),
            ("https://example.com\\@127.0.0.1/", Err(UrlError::Character)),
            ("https:\\\\example.com/", Err(UrlError::Character)),
            ("https://user:pw@example.com/", Err(UrlError::Credentials)),
            ("https://@example.com/", Err(UrlError::Credentials)),
            ("https://:@example.com/", Err(UrlError::Credentials)),
            ("https://example.com:0/", Err(UrlError::Port)),
            ("https://example.com:65536/", Err(UrlError::Malformed)),
            ("https://a..example.com/", Err(UrlError::Host)),
            ("https://example.com../", Err(UrlError::Host)),
            ("https://.example.com/", Err(UrlError::Host)),
            ("https://-a.example.com/", Err(UrlError::Host)),
            ("https://a-.example.com/", Err(UrlError::Host)),
            ("https://*.example.com/", Err(UrlError::Host)),
            (&label(64), Err(UrlError::Host)),
            (&label(63), Ok(())),
            (&name, Err(UrlError::Host)),
            (&path(MAX_URL_LENGTH), Ok(())),
            (&path(MAX_URL_LENGTH + 1), Err(UrlError::TooLong)),
            // Each takes three bytes, percent-encoded.
            (
                &format!("https://a.de/{}", "ü".repeat(11_000)),
                Err(UrlError::TooLong),
            ),
            ("https://a_b.example.com./x?y#z", Ok(())),
            ("https://example.com/@user?q=a@b", Ok(())),
        ] {
            assert_eq!(check(url), expected, "{}", &url[..url.len().min(80)]);
        }
    }

    #[test]
    fn the_parsed_form_is_what_others_read() {
        let parsed = |url: &str| Policy::default().check(url).map(String::from);
        for (typed, form) in [
            ("HTTPS://EXAMPLE.com", "https://example.com/"),
            ("https://example.com:443/a/../b", "https://example.com/b"),
            (
                "https://bücher.example/ü?ü",
                "https://xn--bcher-kva.example/%C3%BC?%C3%BC",
            ),
            ("https://example.com/%7e", "https://example.com/%7e"),
        ] {
            assert_eq!(parsed(typed).as_deref(), Ok(form));
            assert_eq!(
                parsed(form).as_deref(),
                Ok(form),
                "parsing it again changes nothing"
            );
        }
    }
}
