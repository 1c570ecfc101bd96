//! Requests go to addresses that were checked and to no others, whatever a name server answers. The name
//! server here is a real one, on UDP; what must not be reached are listeners of this machine.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking, and describes itself"
)]

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use posthorn_dispatcher::{Lookup, Sender, Settings, Signed};
use posthorn_domain::{
    address::Policy, attempt::Outcome, endpoint::Confidential, failure::Failure, id::MessageId,
    payload::Payload, signing::EndpointSecret, timestamp::Timestamp,
};
use simple_dns::{
    CLASS, Name, Packet, QTYPE, Question, ResourceRecord, TYPE,
    rdata::{A, AAAA, RData},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

/// Answers of a name: the first look-up gets the first, the last one stays.
type Script = &'static [&'static [&'static str]];

/// A name server.
#[derive(Clone, Debug)]
struct Dns {
    address: SocketAddr,
    lookups: Arc<Mutex<HashMap<String, usize>>>,
}

impl Dns {
    async fn serve(names: &'static [(&'static str, Script)]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = Self {
            address: socket.local_addr().unwrap(),
            lookups: Arc::default(),
        };
        let server = dns.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let reply = server.answer(names, &buffer[..length]);
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        dns
    }

    fn answer(&self, names: &[(&str, Script)], query: &[u8]) -> Vec<u8> {
        let query = Packet::parse(query).unwrap();
        let question = query.questions[0].clone();
        let name = question.qname.to_string();
        let is_v4 = question.qtype == QTYPE::TYPE(TYPE::A);
        let mut lookups = self.lookups.lock().unwrap();
        let count = lookups.entry(name.clone()).or_default();
        *count += usize::from(is_v4);
        let script = names.iter().find(|(known, _)| *known == name);
        let script = script.map_or(&[][..], |(_, script)| script);
        let addresses = script.get((*count).min(script.len()).wrapping_sub(1));
        let mut reply = query.into_reply();
        for address in addresses.into_iter().copied().flatten() {
            let data = match address.parse().unwrap() {
                IpAddr::V4(ip) if is_v4 => RData::A(A::from(ip)),
                IpAddr::V6(ip) if !is_v4 => RData::AAAA(AAAA::from(ip)),
                _ => continue,
            };
            let record = ResourceRecord::new(question.qname.clone(), CLASS::IN, 0, data);
            reply.answers.push(record);
        }
        reply.build_bytes_vec().unwrap()
    }

    fn lookups(&self, name: &str) -> usize {
        self.lookups.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

async fn query(server: SocketAddr, name: String, kind: TYPE) -> io::Result<Vec<IpAddr>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let mut packet = Packet::new_query(1);
    let (name, kind) = (Name::new(&name).unwrap(), kind.into());
    packet
        .questions
        .push(Question::new(name, kind, CLASS::IN.into(), false));
    socket
        .send_to(&packet.build_bytes_vec().unwrap(), server)
        .await?;
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).await?;
    let answers = Packet::parse(&buffer[..length]).unwrap().answers;
    let address = |record: ResourceRecord<'_>| match record.rdata {
        RData::A(A { address }) => Some(IpAddr::from(address.to_be_bytes())),
        RData::AAAA(AAAA { address }) => Some(IpAddr::from(address.to_be_bytes())),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(address).collect())
}

impl Lookup for Dns {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let server = self.address;
        Box::pin(async move {
            let mut found = query(server, name.clone(), TYPE::A).await?;
            found.extend(query(server, name, TYPE::AAAA).await?);
            Ok(found)
        })
    }
}

/// Listeners on one port of several loopback addresses; each counts who connects.
struct Listeners {
    port: u16,
    connections: HashMap<IpAddr, Arc<AtomicUsize>>,
}

/// What answers with a redirection to another listener, when asked for `/moved`.
const TARGET: &str = "127.0.0.1";

impl Listeners {
    async fn open() -> Self {
        let first = TcpListener::bind((TARGET, 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut listeners = vec![first];
        for address in ["127.0.0.2", "::1"] {
            listeners.push(TcpListener::bind((address, port)).await.unwrap());
        }
        let mut connections = HashMap::new();
        for listener in listeners {
            let count = Arc::new(AtomicUsize::new(0));
            let address = listener.local_addr().unwrap().ip();
            connections.insert(address, Arc::clone(&count));
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    let mut request = [0; 4096];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    let is_moved = request[..length].starts_with(b"POST /moved");
                    let status = if is_moved {
                        "302 Found"
                    } else {
                        "204 No Content"
                    };
                    let answer = format!(
                        "HTTP/1.1 {status}\r\nLocation: http://{TARGET}:{port}/\r\n\
                         Content-Length: 0\r\nConnection: close\r\n\r\n"
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
        Self { port, connections }
    }

    fn connections(&self, address: &str) -> usize {
        let address: IpAddr = address.parse().unwrap();
        self.connections[&address].load(Ordering::SeqCst)
    }

    fn all(&self) -> usize {
        let counts = self.connections.values();
        counts.map(|count| count.load(Ordering::SeqCst)).sum()
    }
}

/// Posts to a URL.
async fn post(dns: &Dns, allowed: &[&str], url: &str) -> Outcome {
    let settings = Settings {
        request_timeout: Duration::from_secs(10),
        svix_headers: false,
        addresses: Policy {
            allow_http: true,
            allow_subnets: allowed.iter().map(|net| net.parse().unwrap()).collect(),
        },
        lookup: Arc::new(dns.clone()),
    };
    let at = Timestamp::from_millis(1_700_000_000_000);
    let payload: Payload = serde_json::from_str("{}").unwrap();
    let request = Signed {
        confidential: &Confidential::new(EndpointSecret::generate([1; 32])),
        id: &MessageId::new(at, [1; 15]),
        at,
        payload: &payload,
        trace: None,
    };
    let sender = Sender::new(settings).unwrap();
    sender.send(url, request, Duration::from_secs(10)).await
}

const FAILED: Outcome = Outcome::Failure(Failure::NoAddress);

#[tokio::test]
async fn a_name_of_private_addresses_is_not_reached_and_looks_like_one_that_does_not_exist() {
    const NAMES: &[(&str, Script)] = &[
        ("loopback.example.com", &[&["127.0.0.1"]]),
        ("loopback6.example.com", &[&["::1"]]),
        ("both.example.com", &[&["127.0.0.1", "::1"]]),
        ("mapped.example.com", &[&["::ffff:127.0.0.1"]]),
        ("compatible.example.com", &[&["::127.0.0.1"]]),
        ("any.example.com", &[&["0.0.0.0", "::"]]),
        (
            "metadata.example.com",
            &[&["169.254.169.254", "fd00:ec2::254"]],
        ),
        ("telemetry.example.com", &[&["169.254.100.1"]]),
        (
            "vpc.example.com",
            &[&["10.0.0.2", "172.16.0.2", "192.168.0.2"]],
        ),
        ("nat64.example.com", &[&["64:ff9b::7f00:1"]]),
        ("sixtofour.example.com", &[&["2002:7f00:1::1"]]),
    ];
    let (dns, listeners) = (Dns::serve(NAMES).await, Listeners::open().await);
    let unknown = ("unknown.example.com", &[][..]);
    for (name, _) in NAMES.iter().chain([&unknown]) {
        let url = format!("http://{name}:{}/", listeners.port);
        assert_eq!(post(&dns, &[], &url).await, FAILED, "{name}");
        assert_eq!(dns.lookups(name), 1, "{name}");
    }
    assert_eq!(listeners.all(), 0);
    println!(
        "{} names of private addresses tried, 0 connections",
        NAMES.len()
    );
}

#[tokio::test]
async fn of_a_mix_only_the_allowed_address_is_connected_to() {
    const NAMES: &[(&str, Script)] = &[
        ("mix.example.com", &[&["127.0.0.1", "127.0.0.2", "::1"]]),
        ("turned.example.com", &[&["::1", "127.0.0.2", "127.0.0.1"]]),
    ];
    let (dns, listeners) = (Dns::serve(NAMES).await, Listeners::open().await);
    for (name, _) in NAMES {
        let url = format!("http://{name}:{}/", listeners.port);
        let outcome = post(&dns, &["127.0.0.2/32"], &url).await;
        assert!(outcome.is_success(), "{outcome:?}");
    }
    assert_eq!(
        (listeners.connections("127.0.0.2"), listeners.all()),
        (2, 2)
    );
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_looked_up_once_for_each_connection() {
    // The answer that was checked is the one that is used; the next one is checked again.
    const NAMES: &[(&str, Script)] = &[("rebind.example.com", &[&["127.0.0.2"], &["127.0.0.1"]])];
    let (dns, listeners) = (Dns::serve(NAMES).await, Listeners::open().await);
    let url = format!("http://rebind.example.com:{}/", listeners.port);
    let outcome = post(&dns, &["127.0.0.2/32"], &url).await;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(dns.lookups("rebind.example.com"), 1);
    assert_eq!(post(&dns, &["127.0.0.2/32"], &url).await, FAILED);
    assert_eq!(dns.lookups("rebind.example.com"), 2);
    assert_eq!(
        (listeners.connections("127.0.0.2"), listeners.all()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    const NAMES: &[(&str, Script)] = &[("moved.example.com", &[&["127.0.0.2"]])];
    let (dns, listeners) = (Dns::serve(NAMES).await, Listeners::open().await);
    let url = format!("http://moved.example.com:{}/moved", listeners.port);
    let outcome = post(&dns, &["127.0.0.2/32"], &url).await;
    assert!(
        matches!(outcome, Outcome::Response { status: 302, .. }),
        "{outcome:?}"
    );
    assert_eq!((listeners.connections(TARGET), listeners.all()), (0, 1));
}

#[tokio::test]
async fn an_address_in_the_url_is_blocked_in_every_notation_without_a_look_up() {
    let (dns, listeners) = (Dns::serve(&[]).await, Listeners::open().await);
    let number = u32::from(Ipv4Addr::LOCALHOST);
    let hosts = [
        TARGET.to_owned(),
        format!("{TARGET}."),
        format!("{number}"),
        format!("{number:#x}"),
        format!("0{number:o}"),
        "127.1".to_owned(),
        "0177.0.0.1".to_owned(),
        "0".to_owned(),
        "0.0.0.0".to_owned(),
        "[::1]".to_owned(),
        "[::]".to_owned(),
        format!("[::ffff:{TARGET}]"),
        format!("[::{TARGET}]"),
        format!("[64:ff9b::{TARGET}]"),
        "localhost".to_owned(),
        "LOCALHOST.".to_owned(),
        "a.localhost".to_owned(),
        "127。0。0。1".to_owned(),
        format!("user@{TARGET}"),
    ];
    for host in &hosts {
        let url = format!("http://{host}:{}/", listeners.port);
        let outcome = post(&dns, &[], &url).await;
        assert_eq!(outcome, Outcome::Failure(Failure::Blocked), "{url}");
    }
    assert_eq!((listeners.all(), dns.lookups.lock().unwrap().len()), (0, 0));
    println!("{} URLs of this machine tried, 0 connections", hosts.len());
}
