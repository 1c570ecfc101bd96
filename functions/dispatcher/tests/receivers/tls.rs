//! TLS: what a certificate or a handshake is refused for. The receivers' authority is trusted the way any is:
//! by the system's certificates, which `SSL_CERT_FILE` names for the process that this test starts.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use posthorn_domain::{attempt::BodyEnd, failure::Failure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tokio_rustls::TlsAcceptor;

use crate::{
    ours::{Then, request, say},
    want::{HOST, Want, next, post, sender},
};

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// One that this process trusts.
    pub(crate) fn trusted() -> Self {
        let authority = Self::new("trusted");
        let path = std::env::var_os("SSL_CERT_FILE").unwrap();
        std::fs::write(path, &authority.pem).unwrap();
        authority
    }

    /// A server with a certificate for a name.
    pub(crate) fn server(
        &self,
        name: &str,
        years: (i32, i32),
        client: Option<&Self>,
    ) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = match client {
            Some(_) if years.1 == OLD_TLS.1 => builder.with_protocol_versions(&[&TLS12]),
            _ => builder.with_protocol_versions(&[&TLS13, &TLS12]),
        };
        let builder = match client {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder
                    .unwrap()
                    .with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.unwrap().with_no_client_auth(),
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        builder
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap()
    }
}

pub(crate) const VALID: (i32, i32) = (2020, 2090);
/// Valid, and marks a server of TLS 1.2 only.
const OLD_TLS: (i32, i32) = (2020, 2089);

/// Runs an ignored test of this file in a process that trusts what it writes to a file of its own.
pub(crate) fn run_trusting(test: &str) {
    let file: PathBuf = std::env::temp_dir().join(format!(
        "posthorn-{}-{}.pem",
        std::process::id(),
        test.replace("::", "-")
    ));
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", &file)
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    let _ = std::fs::remove_file(file);
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

enum Server {
    Tls(Box<ServerConfig>, &'static str, Then),
    Raw(&'static [u8], Then),
}

async fn serve(server: Server) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, requests) = (
        listener.local_addr().unwrap().port(),
        Arc::<AtomicUsize>::default(),
    );
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            match &server {
                Server::Raw(bytes, then) => {
                    let mut hello = [0; 5];
                    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut hello)
                        .await
                        .unwrap();
                    let mut rest = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
                    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut rest)
                        .await
                        .unwrap();
                    say(&mut stream, bytes, then).await;
                }
                Server::Tls(config, answer, then) => {
                    let acceptor = TlsAcceptor::from(Arc::new((**config).clone()));
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        continue;
                    };
                    while request(&mut stream).await.is_some() {
                        count.fetch_add(1, Ordering::SeqCst);
                        if !say(&mut stream, answer.as_bytes(), then).await {
                            break;
                        }
                    }
                    let _ = stream.shutdown().await;
                }
            }
        }
    });
    (port, requests)
}

#[test]
fn a_handshake_that_fails_says_why() {
    run_trusting("tls::rows");
}

#[tokio::test]
#[ignore = "needs an authority of its own: a_handshake_that_fails_says_why runs it"]
async fn rows() {
    let authority = Authority::trusted();
    let (sender, fine) = (sender(), "HTTP/1.1 204 X\r\n\r\n");
    let tls = |config, answer, then| Server::Tls(Box::new(config), answer, then);
    let valid = || authority.server(HOST, VALID, None);
    let fails = Want::Fails;
    let alert = |bytes| Server::Raw(bytes, Then::Close);
    let rows: Vec<(&str, Server, Want, usize)> = vec![
        ("valid", tls(valid(), fine, Then::Keep), Want::Answer(204, "", BodyEnd::Whole), 1),
        ("a cut body", tls(valid(), "HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nab", Then::Close), Want::Answer(200, "", BodyEnd::Cut), 1),
        ("closed without an answer", tls(valid(), "", Then::Close), fails(Failure::Closed), 1),
        ("100 without end", tls(valid(), "", Then::Repeat(b"HTTP/1.1 100 X\r\n\r\n".repeat(100))), fails(Failure::TooLarge), 1),
        ("expired", tls(authority.server(HOST, (2020, 2021), None), fine, Then::Keep), fails(Failure::CertificateExpired), 0),
        ("not valid yet", tls(authority.server(HOST, (2080, 2090), None), fine, Then::Keep), fails(Failure::CertificateNotYetValid), 0),
        ("wrong name", tls(authority.server("other.example.com", VALID, None), fine, Then::Keep), fails(Failure::WrongName), 0),
        ("unknown authority", tls(Authority::new("unknown").server(HOST, VALID, None), fine, Then::Keep), fails(Failure::UnknownIssuer), 0),
        ("client certificate, TLS 1.3", tls(authority.server(HOST, VALID, Some(&authority)), fine, Then::Keep), fails(Failure::ClientCertificate), 0),
        ("client certificate, TLS 1.2", tls(authority.server(HOST, OLD_TLS, Some(&authority)), fine, Then::Keep), fails(Failure::ClientCertificate), 0),
        ("TLS 1.1: its alert", alert(b"\x15\x03\x01\x00\x02\x02\x46"), fails(Failure::TlsVersion), 0),
        ("TLS 1.1: its hello", alert(b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\x00\x00\x2f\x00"), fails(Failure::TlsVersion), 0),
        ("nothing in common", alert(b"\x15\x03\x03\x00\x02\x02\x28"), fails(Failure::TlsRefused), 0),
        ("unknown name", alert(b"\x15\x03\x03\x00\x02\x02\x70"), fails(Failure::TlsRefused), 0),
        ("internal error", alert(b"\x15\x03\x03\x00\x02\x02\x50"), fails(Failure::Tls), 0),
        ("plain HTTP", alert(b"HTTP/1.1 400 Bad Request\r\n\r\n"), fails(Failure::NotTls), 0),
        ("SSH", alert(b"SSH-2.0-OpenSSH_9.2\r\n"), fails(Failure::NotTls), 0),
        ("closed in the handshake", alert(b""), fails(Failure::TlsEnded), 0),
        ("silence in the handshake", Server::Raw(b"", Then::Stall), fails(Failure::ConnectTimeout), 0),
        ("a record without end", Server::Raw(b"", Then::Repeat(b"\x16\x03\x03\x00\x04\x0b\xff\xff\xff".repeat(100))), fails(Failure::NotTls), 0),
    ];
    let (count, mut wrong) = (rows.len(), Vec::new());
    for (name, server, want, requests) in rows {
        let (port, got) = serve(server).await;
        let outcome = post(&sender, &format!("https://{HOST}:{port}/"), want.time()).await;
        let was = (
            Want::of(&outcome, ""),
            next(&outcome),
            got.load(Ordering::SeqCst),
        );
        println!("| {name} | {:?} | {:?} | {} |", was.0, was.1, was.2);
        let wanted = (want.clone(), want.next(), requests);
        if was != wanted {
            wrong.push(format!("{name}: {was:?}, not {wanted:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("{count} handshakes");
}
