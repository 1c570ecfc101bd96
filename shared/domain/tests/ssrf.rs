//! Every special-purpose range and every notation of its addresses is refused as an endpoint.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking, and describes itself"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use posthorn_domain::address::{Policy, UrlError};

/// IANA IPv4 Special-Purpose Address Registry (2025-10), RFC 5771 (multicast), and the addresses inside
/// them that matter in AWS.
const V4: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this network"),
    ("0.0.0.0/32", "this host"),
    ("10.0.0.0/8", "private use"),
    ("100.64.0.0/10", "shared address space"),
    ("127.0.0.0/8", "loopback"),
    ("127.0.0.1/32", "Lambda's runtime API (port 9001)"),
    ("169.254.0.0/16", "link local"),
    ("169.254.169.254/32", "EC2 instance metadata"),
    ("169.254.170.2/32", "ECS task credentials"),
    ("169.254.170.23/32", "EKS pod credentials"),
    ("169.254.100.1/32", "Lambda's extensions and telemetry APIs"),
    ("169.254.169.253/32", "the VPC's resolver"),
    ("172.16.0.0/12", "private use"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.0.0/29", "service continuity"),
    ("192.0.0.8/32", "dummy address"),
    ("192.0.0.9/32", "port control protocol anycast"),
    ("192.0.0.10/32", "TURN anycast"),
    ("192.0.0.170/31", "NAT64 discovery"),
    ("192.0.2.0/24", "documentation 1"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT"),
    ("192.88.99.0/24", "6to4 relay anycast"),
    ("192.88.99.2/32", "6a44 relay anycast"),
    ("192.168.0.0/16", "private use"),
    ("192.175.48.0/24", "direct delegation AS112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation 2"),
    ("203.0.113.0/24", "documentation 3"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("255.255.255.255/32", "limited broadcast"),
];

/// IANA IPv6 Special-Purpose Address Registry (2025-10), RFC 4291 and RFC 3879.
const V6: &[(&str, &str)] = &[
    ("::1/128", "loopback"),
    ("::/128", "unspecified"),
    ("::/96", "IPv4-compatible"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("::ffff:0:0:0/96", "IPv4-translated (RFC 2765)"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "local NAT64"),
    ("100::/64", "discard only"),
    ("100:0:0:1::/64", "dummy prefix"),
    ("2001::/23", "protocol assignments"),
    ("2001::/32", "Teredo"),
    ("2001:1::1/128", "port control protocol anycast"),
    ("2001:1::2/128", "TURN anycast"),
    ("2001:1::3/128", "DNS-SD SRP anycast"),
    ("2001:2::/48", "benchmarking"),
    ("2001:3::/32", "AMT"),
    ("2001:4:112::/48", "AS112"),
    ("2001:10::/28", "ORCHID"),
    ("2001:20::/28", "ORCHIDv2"),
    ("2001:30::/28", "drone remote identification"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "direct delegation AS112"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "unique local"),
    ("fd00:ec2::254/128", "EC2 instance metadata"),
    ("fe80::/10", "link local"),
    ("fec0::/10", "site local"),
    ("ff00::/8", "multicast"),
];

/// Public addresses next to the ranges, and others in use: a guard must not refuse everything.
const PUBLIC: &[&str] = &[
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.31.195.255",
    "192.31.197.0",
    "192.52.192.255",
    "192.52.194.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "192.175.47.255",
    "192.175.49.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "93.184.216.34",
    "2000::1",
    "2001:200::",
    "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db9::",
    "2003::",
    "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
    "2620:4f:8001::",
    "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff:1000::",
    "2606:4700::1111",
];

fn check(host: &str) -> Result<(), UrlError> {
    let url = format!("https://{host}:9001/2018-06-01/runtime/invocation/next");
    Policy::default().check(&url).map(|_| ())
}

fn literal(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The first and last address of a range.
fn edges(range: &str) -> [IpAddr; 2] {
    let net: IpNet = range.parse().unwrap();
    [net.network(), net.broadcast()]
}

#[test]
fn the_edges_of_every_special_purpose_range_are_refused() {
    let mut tried = 0;
    for (range, what) in [V4, V6].concat() {
        for ip in edges(range) {
            tried += 1;
            assert_eq!(check(&literal(ip)), Err(UrlError::Private), "{what}: {ip}");
            assert!(!Policy::default().allows(ip), "{what}: {ip}");
        }
    }
    println!(
        "{tried} edges of special-purpose ranges refused, as a URL and as what a name resolves to"
    );
}

#[test]
fn the_addresses_beside_them_are_allowed() {
    for text in PUBLIC {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!(check(&literal(ip)), Ok(()), "{ip}");
        assert!(Policy::default().allows(ip), "{ip}");
    }
}

/// How an IPv4 address may be written in a URL (WHATWG URL, "IPv4 parser"), and inside IPv6.
fn notations(ip: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = ip.octets();
    let number = u32::from(ip);
    let (low24, low16) = (number & 0xff_ffff, number & 0xffff);
    let full_width = |text: String| -> String {
        let wide = |c: char| char::from_u32(u32::from(c) + 0xfee0).unwrap();
        text.chars()
            .map(|c| if c.is_ascii_digit() { wide(c) } else { c })
            .collect()
    };
    let percent =
        |text: String| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
    let v6 = |head: &str| {
        let [high, low] = [number >> 16, low16];
        format!("[{head}{high:x}:{low:x}]")
    };
    let teredo = !number;
    vec![
        ip.to_string(),
        format!("{ip}."),
        format!("{number}"),
        format!("{number:#x}"),
        format!("0X{number:X}"),
        format!("0{number:o}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("000{a:o}.{b}.{c:#x}.{d}"),
        format!("{a}.{low24}"),
        format!("{a}.{b}.{low16}"),
        format!("{a:#x}.{low24:#x}"),
        full_width(ip.to_string()),
        ip.to_string().replace('.', "\u{3002}"),
        percent(ip.to_string()),
        format!("[::ffff:{ip}]"),
        v6("::ffff:"),
        format!("[0:0:0:0:0:FFFF:{ip}]"),
        format!("[::{ip}]"),
        format!("[::ffff:0:{ip}]"),
        format!("[64:ff9b::{ip}]"),
        format!("[64:ff9b:1::{ip}]"),
        format!("[2002:{:x}:{low16:x}::1]", number >> 16),
        format!(
            "[2001:0:4136:e378:8000:63bf:{:x}:{:x}]",
            teredo >> 16,
            teredo & 0xffff
        ),
    ]
}

#[test]
fn every_notation_of_a_private_address_is_refused() {
    let mut tried = 0;
    for (range, what) in V4 {
        for ip in edges(range) {
            let IpAddr::V4(ip) = ip else { unreachable!() };
            for host in notations(ip) {
                tried += 1;
                assert_eq!(check(&host), Err(UrlError::Private), "{what}: {host}");
            }
        }
    }
    println!("{tried} notations of special-purpose IPv4 addresses refused");
    // The parser reads these notations: public addresses in the first ones pass.
    let public = notations(Ipv4Addr::new(93, 184, 216, 34));
    for host in &public[..15] {
        assert_eq!(check(host), Ok(()), "{host}");
    }
}

/// A URL, and the rule that it breaks.
const URLS: &[(&str, UrlError)] = &[
    ("https://localhost/", UrlError::Private),
    ("https://LOCALHOST/", UrlError::Private),
    ("https://LocalHost./", UrlError::Private),
    ("https://a.localhost/", UrlError::Private),
    ("https://a.b.LOCALHOST./", UrlError::Private),
    ("https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", UrlError::Private),
    ("https://ｌｏｃａｌｈｏｓｔ/", UrlError::Private),
    ("https://loc\u{ad}alhost/", UrlError::Private),
    ("https://%6cocalhost/", UrlError::Private),
    ("https://localhost.localdomain/", UrlError::Private),
    ("https://sandbox.localdomain:9001/", UrlError::Private),
    ("https://metadata.google.internal/", UrlError::Private),
    ("https://Metadata.Google.Internal./", UrlError::Private),
    ("https://metadata。google。internal/", UrlError::Private),
    ("https://ip-10-0-0-1.ec2.internal/", UrlError::Private),
    ("https://printer.local/", UrlError::Private),
    ("https://instance-data/latest/meta-data/", UrlError::Private),
    ("https://intranet/", UrlError::Private),
    ("https://intranet./", UrlError::Private),
    ("https:///127.0.0.1/", UrlError::Malformed),
    ("https:127.0.0.1", UrlError::Malformed),
    ("https:\\\\127.0.0.1\\", UrlError::Character),
    ("https://127.0.0.1\\@example.com/", UrlError::Character),
    ("https://127.0.0.1#@example.com/", UrlError::Private),
    ("https://127.0.0.1?@example.com/", UrlError::Private),
    ("https://127.1/", UrlError::Private),
    ("https://127.0.1/", UrlError::Private),
    ("https://0/", UrlError::Private),
    ("https://0x0/", UrlError::Private),
    ("https://[::]/", UrlError::Private),
    ("https://[0:0:0:0:0:0:0:1]:9001/", UrlError::Private),
    (
        "https://[0000:0000:0000:0000:0000:0000:0000:0001]/",
        UrlError::Private,
    ),
    ("https://[::FFFF:7f00:1]/", UrlError::Private),
    (
        "https://[fd00:ec2::254]/latest/meta-data/",
        UrlError::Private,
    ),
    (
        "https://169.254.169.254/latest/meta-data/iam/",
        UrlError::Private,
    ),
    (
        "https://169.254.100.1/2022-07-01/telemetry",
        UrlError::Private,
    ),
    ("https://[fe80::1%25eth0]/", UrlError::Malformed),
    ("https://[fe80::1%eth0]/", UrlError::Malformed),
    ("https://127.0.0.1:65536/", UrlError::Malformed),
    ("https://127.0.0.256/", UrlError::Malformed),
    ("https://0x100000000/", UrlError::Malformed),
    ("https://08.0.0.1/", UrlError::Malformed),
    ("https://1.2.3.4.5/", UrlError::Malformed),
    ("https://[::1/", UrlError::Malformed),
    ("https://[::1.2.3]/", UrlError::Malformed),
    ("https://a b/", UrlError::Character),
    ("https://xn--a/", UrlError::Malformed),
    ("https://%00.example.com/", UrlError::Malformed),
    ("https://127.0.0.1%2f@example.com/", UrlError::Credentials),
    ("https://example.com@127.0.0.1/", UrlError::Credentials),
    ("https://example.com:80@127.0.0.1/", UrlError::Credentials),
    ("https://:pw@example.com/", UrlError::Credentials),
    ("https://example.com%40127.0.0.1/", UrlError::Malformed),
    ("https://exa\tmple.com/", UrlError::Character),
    (
        "https://example.com/\r\nHost: internal",
        UrlError::Character,
    ),
    (" https://example.com/", UrlError::Character),
    ("https://example.com/\u{85}", UrlError::Character),
    ("http://example.com/", UrlError::NotHttps),
    ("gopher://127.0.0.1:6379/", UrlError::NotHttps),
    ("file:///etc/passwd", UrlError::NotHttps),
    ("javascript:alert(1)", UrlError::NotHttps),
    ("//127.0.0.1/", UrlError::Malformed),
    ("https://", UrlError::Malformed),
    ("https://?", UrlError::Malformed),
];

#[test]
fn other_tricks_break_a_rule() {
    for (url, rule) in URLS {
        let checked = Policy::default().check(url).map(|_| ());
        assert_eq!(checked, Err(*rule), "{url}");
    }
    println!("{} other URLs refused", URLS.len());
}

#[test]
fn a_subnet_that_the_deployment_names_and_no_other_may_be_reached() {
    let policy = Policy {
        allow_http: true,
        allow_subnets: vec!["127.0.0.0/30".parse().unwrap()],
    };
    let allows = |url: &str| policy.check(url).is_ok();
    assert!(allows("http://127.0.0.1:8080/") && allows("http://localhost:8080/"));
    assert!(!allows("http://127.0.0.4:8080/") && !allows("http://10.0.0.1/"));
    assert!(!allows("http://[::1]/") && !allows("http://[::ffff:127.0.0.1]/"));
    assert!(!policy.allows(IpAddr::V6(Ipv6Addr::LOCALHOST)));
}
