//! Fuzzing of what strangers write: URLs, names, filters, headers. `cargo test fuzz` is a bounded run of
//! each target; `BOLERO_RANDOM_ITERATIONS=10000000 cargo test fuzz` a longer one, and `cargo bolero test` runs one with
//! libFuzzer.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking, and describes itself"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bolero::check;
use posthorn_domain::{
    address::Policy,
    filter::matches,
    headers::CustomHeaders,
    message::MessageChannels,
    name::{Channel, EventTypeName, Uid},
    retry::retry_after,
    timestamp::Timestamp,
};
use url::{Host, Url};

const ITERATIONS: usize = 50_000;

/// Builds text from pieces: most come from a dictionary, the others are any character.
fn text(pieces: &[(u8, char)], dictionary: &[&str]) -> String {
    let piece = |(index, other): &(u8, char)| {
        let known = dictionary.get(usize::from(*index) % (dictionary.len() * 8 / 7 + 1));
        known.map_or_else(|| other.to_string(), |known| (*known).to_owned())
    };
    pieces.iter().map(piece).collect()
}

const URL_PIECES: &[&str] = &[
    "https://",
    "http://",
    "https:",
    "//",
    "/",
    "\\",
    "@",
    ":",
    ".",
    "#",
    "?",
    "%",
    "[",
    "]",
    "::",
    "127",
    "0",
    "1",
    "0x7f",
    "0177",
    "2130706433",
    "127.0.0.1",
    "169.254.169.254",
    "::1",
    "::ffff:",
    "64:ff9b::",
    "localhost",
    "example.com",
    "internal",
    ".local",
    "xn--",
    "%31",
    "%2e",
    "%00",
    "\u{3002}",
    "\u{ff11}",
    "\u{ad}",
    "user",
    "443",
];

/// The operator's whole private network must stay out of reach, so literals are checked by a rule
/// that is independent of the guard's.
fn is_surely_private(ip: IpAddr) -> bool {
    let v4 = |ip: Ipv4Addr| {
        ip.is_private()
            || ip.is_loopback()
            || ip.is_link_local()
            || ip.is_unspecified()
            || ip.is_multicast()
    };
    match ip {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => {
            let embedded = ip.to_ipv4().is_some_and(v4);
            embedded
                || ip.is_loopback()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.is_multicast()
        }
    }
}

#[test]
fn fuzz_a_url_that_passes_means_the_same_to_whoever_reads_it() {
    check!()
        .with_iterations(ITERATIONS)
        .with_type::<Vec<(u8, char)>>()
        .for_each(|pieces| {
            let written = text(pieces, URL_PIECES);
            let Ok(url) = Policy::default().check(&written) else {
                return;
            };
            match url.host().unwrap() {
                Host::Ipv4(ip) => assert!(!is_surely_private(ip.into()), "{written}"),
                Host::Ipv6(ip) => assert!(!is_surely_private(ip.into()), "{written}"),
                Host::Domain(name) => {
                    assert!(
                        name.parse::<Ipv4Addr>().is_err() && name.parse::<Ipv6Addr>().is_err(),
                        "{written}"
                    );
                    assert!(
                        name.contains('.') && !format!(".{name}").ends_with(".localhost"),
                        "{written}"
                    );
                }
            }
            // Written out and parsed again it is the same, also for the parser of the HTTP client.
            assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(&url), "{written}");
            assert!(Policy::default().check(url.as_str()).is_ok(), "{written}");
            if let Ok(uri) = url.as_str().parse::<http::Uri>() {
                assert_eq!(uri.host(), url.host_str(), "{written}");
                assert_eq!(uri.port_u16(), url.port(), "{written}");
            }
        });
}

#[test]
fn fuzz_names_that_pass_are_safe_in_keys_and_paths() {
    check!()
        .with_iterations(ITERATIONS)
        .with_type::<String>()
        .for_each(|written| {
            let is_safe = |text: &str| {
                let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                !text.is_empty() && text.len() <= 256 && text.chars().all(allowed)
            };
            if let Ok(name) = EventTypeName::try_from(written.clone()) {
                assert!(is_safe(name.as_str()), "{written:?}");
            }
            if let Ok(uid) = Uid::try_from(written.clone()) {
                assert!(is_safe(uid.as_str()), "{written:?}");
            }
            if let Ok(channel) = Channel::try_from(written.clone()) {
                let text = channel.as_str();
                assert!(
                    !text.is_empty() && text.len() <= 128 && !text.contains(char::is_whitespace),
                    "{written:?}"
                );
            }
        });
}

#[test]
fn fuzz_a_filter_admits_what_its_lists_say() {
    let names = |indices: &[u8]| -> Vec<String> {
        let names = indices.iter().map(|index| format!("n{}", index % 4));
        names
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect()
    };
    type Lists = (Option<Vec<u8>>, Option<Vec<u8>>, u8, Option<Vec<u8>>);
    check!()
        .with_iterations(ITERATIONS)
        .with_type::<Lists>()
        .for_each(|(types, channels, event_type, sent)| {
            let list = |list: &Option<Vec<u8>>| list.as_deref().map(names).filter(|list| !list.is_empty());
            let (types, channels, sent) = (list(types), list(channels), list(sent));
            let event_type = format!("n{}", event_type % 4);
            let endpoint = serde_json::json!({
                "id": "ep_2KWPBgLlAfxdpx2AI54pPJ85f4W", "url": "https://example.com/", "sealed": { "plain": "" },
                "event_types": types, "channels": channels, "revision": 1, "created_at": 0, "updated_at": 0,
            });
            let expected = types.is_none_or(|types| types.contains(&event_type))
                && channels.is_none_or(|wanted| {
                    sent.as_ref().is_some_and(|sent| sent.iter().any(|name| wanted.contains(name)))
                });
            let sent: Option<MessageChannels> =
                sent.map(|sent| serde_json::from_value(serde_json::json!(sent)).unwrap());
            let endpoint = serde_json::from_value(endpoint).unwrap();
            let event_type = event_type.try_into().unwrap();
            assert_eq!(matches(&endpoint, &event_type, sent.as_ref()), expected, "{endpoint:?}");
        });
}

#[test]
fn fuzz_headers_that_pass_cannot_end_the_head_of_a_request() {
    type Pairs = std::collections::BTreeMap<String, String>;
    check!()
        .with_iterations(ITERATIONS)
        .with_type::<(String, String)>()
        .for_each(|(name, value)| {
            let pairs = Pairs::from([(name.clone(), value.clone())]);
            if let Ok(headers) = CustomHeaders::try_from(pairs) {
                for (name, value) in headers.iter() {
                    assert!(
                        !format!("{name}{value}").contains(['\r', '\n', '\0']),
                        "{name:?}: {value:?}"
                    );
                    assert!(
                        !name.contains([':', ' ']) && !name.to_lowercase().starts_with("webhook-")
                    );
                }
            }
        });
}

#[test]
fn fuzz_a_retry_after_is_bounded() {
    const PIECES: &[&str] = &[
        "0",
        "1",
        "9",
        "-",
        "+",
        ".",
        " ",
        "Sat, 21 Nov 2026 09:30:00 GMT",
        "Nov",
        "GMT",
        ",",
    ];
    let now = Timestamp::from_millis(1_795_000_000_000);
    check!()
        .with_iterations(ITERATIONS)
        .with_type::<Vec<(u8, char)>>()
        .for_each(|pieces| {
            if let Some(wait) = retry_after(&text(pieces, PIECES), now) {
                assert!(wait.as_secs() <= 86_400, "{wait:?}");
            }
        });
}
