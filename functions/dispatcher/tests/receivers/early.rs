//! Receivers that answer as soon as they have read the head of a request, and hang up on its body.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use posthorn_domain::{
    attempt::BodyEnd, endpoint::Confidential, failure::Failure, payload::Payload,
    signing::EndpointSecret,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    tls::{Authority, VALID, run_trusting},
    want::{HOST, Next, Want, next, post_payload, sender},
};

/// As often as each row is tried: whether the answer or the end of the connection is seen first is up to the system.
const TIMES: usize = 6;

/// More than a connection holds on its way.
const LARGE: usize = 200_000;

/// How a receiver speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Plain,
    Tls,
    Http2,
}

impl Over {
    /// Whether the head of a request has arrived.
    fn has_head(self, bytes: &[u8]) -> bool {
        match self {
            Self::Plain | Self::Tls => bytes.windows(4).any(|it| it == b"\r\n\r\n"),
            Self::Http2 => has_headers(bytes),
        }
    }

    fn acceptor(self, authority: &Authority) -> Option<TlsAcceptor> {
        let mut config = authority.server(HOST, VALID, None);
        match self {
            Self::Plain => return None,
            Self::Tls => config.alpn_protocols = vec![b"http/1.1".to_vec()],
            Self::Http2 => config.alpn_protocols = vec![b"h2".to_vec()],
        }
        Some(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Whether a HEADERS frame (type 1) follows the preface of a connection.
fn has_headers(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(24..).unwrap_or_default();
    while let [a, b, c, kind, _, _, _, _, _, more @ ..] = rest {
        if *kind == 1 {
            return true;
        }
        let length = u32::from_be_bytes([0, *a, *b, *c]);
        rest = more.get(length as usize..).unwrap_or_default();
    }
    false
}

/// An HTTP/2 connection's beginning with a header block that ends the first request's stream, or does not.
fn frames(block: &[u8], ends: bool) -> Vec<u8> {
    let flags = if ends { 0x5 } else { 0x4 };
    let settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    [&settings[..], &headers(block, flags)].concat()
}

fn headers(block: &[u8], flags: u8) -> Vec<u8> {
    let length = u8::try_from(block.len()).unwrap();
    [&[0, 0, length, 1, flags, 0, 0, 0, 1], block].concat()
}

/// `:status`, spelt out.
fn status(status: &str) -> Vec<u8> {
    [b"\x08\x03", status.as_bytes()].concat()
}

/// Reads a head; whether it came.
async fn hear(stream: &mut (impl AsyncRead + Unpin), over: Over) -> bool {
    let (mut heard, mut bytes) = (Vec::new(), [0; 1024]);
    while !over.has_head(&heard) {
        match stream.read(&mut bytes).await {
            Ok(count @ 1..) => heard.extend_from_slice(&bytes[..count]),
            _ => return false,
        }
    }
    true
}

/// Reads a head, says something, and is gone: no close_notify, and the body unread.
async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    over: Over,
    says: &[u8],
    count: &AtomicUsize,
) {
    if hear(&mut stream, over).await {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(says).await;
        let _ = stream.flush().await;
    }
}

async fn serve(authority: &Authority, over: Over, says: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::<AtomicUsize>::default();
    let (count, acceptor) = (Arc::clone(&requests), over.acceptor(authority));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Else an answer may still wait for an acknowledgement when the reset throws it away.
            stream.set_nodelay(true).unwrap();
            match &acceptor {
                None => answer(stream, over, &says, &count).await,
                Some(acceptor) => {
                    let stream = acceptor.accept(stream).await.unwrap();
                    answer(stream, over, &says, &count).await;
                }
            }
        }
    });
    (port, requests)
}

struct Row {
    name: &'static str,
    over: Over,
    says: Vec<u8>,
    payload: usize,
    want: Want,
    next: Next,
}

fn row(name: &'static str, over: Over, says: impl Into<Vec<u8>>, want: Want) -> Row {
    Row {
        name,
        over,
        says: says.into(),
        payload: LARGE,
        next: want.next(),
        want,
    }
}

fn rows() -> Vec<Row> {
    use Over::{Http2, Plain, Tls};
    let ended = |status, end| Want::Answer(status, "", end);
    let whole = |status| ended(status, BodyEnd::Whole);
    let goaway = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00";
    let mut rows = Vec::new();
    for over in [Plain, Tls] {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
        let busy = "HTTP/1.1 429 X\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n";
        rows.extend([
            row("200", over, ok, whole(200)),
            row("204", over, "HTTP/1.1 204 X\r\n\r\n", whole(204)),
            row(
                "410",
                over,
                "HTTP/1.1 410 X\r\nContent-Length: 0\r\n\r\n",
                whole(410),
            ),
            row(
                "413",
                over,
                "HTTP/1.1 413 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                whole(413),
            ),
            Row {
                next: Next::Again(120),
                ..row("429", over, busy, whole(429))
            },
            row(
                "half a head",
                over,
                "HTTP/1.1 410 X\r\nX-A",
                ended(410, BodyEnd::Cut),
            ),
            row("nothing", over, "", Want::Fails(Failure::Reset)),
            Row {
                payload: 20_000,
                ..row("200, 20 KB", over, ok, whole(200))
            },
            Row {
                payload: 2,
                ..row("200, 2 bytes", over, ok, whole(200))
            },
            // Without close_notify a body that ends with its connection may be cut.
            Row {
                payload: 2,
                ..row(
                    "until close",
                    over,
                    "HTTP/1.1 200 OK\r\n\r\nab",
                    ended(
                        200,
                        match over {
                            Tls => BodyEnd::Cut,
                            _ => BodyEnd::Whole,
                        },
                    ),
                )
            },
        ]);
    }
    let with_length = [&b"\x88"[..], b"\x0f\x0d\x019"].concat();
    let hints = headers(&status("103"), 0x4).repeat(600_000);
    rows.extend([
        row("200", Http2, frames(b"\x88", true), whole(200)),
        row(
            "200, GOAWAY",
            Http2,
            [&frames(b"\x88", true)[..], goaway].concat(),
            whole(200),
        ),
        row("410", Http2, frames(&status("410"), true), whole(410)),
        row("413", Http2, frames(&status("413"), true), whole(413)),
        row(
            "200, no body",
            Http2,
            frames(b"\x88", false),
            ended(200, BodyEnd::Cut),
        ),
        Row {
            payload: 20_000,
            ..row("200, 20 KB", Http2, frames(b"\x88", true), whole(200))
        },
        Row {
            payload: 2,
            ..row("200, 2 bytes", Http2, frames(b"\x88", true), whole(200))
        },
        // Malformed, and a client must not accept it (RFC 9113, section 8.1.1).
        Row {
            payload: 2,
            ..row(
                "a body is announced, and the stream ended",
                Http2,
                frames(&with_length, true),
                Want::Fails(Failure::NotHttp),
            )
        },
        Row {
            payload: 2,
            ..row(
                "103 without end",
                Http2,
                [frames(&status("103"), false), hints].concat(),
                Want::Fails(Failure::TooLarge),
            )
        },
    ]);
    rows
}

fn ended_early(want: &Want) -> Want {
    match want {
        Want::Answer(status, kept, _) => Want::Answer(*status, kept, BodyEnd::Cut),
        fails => fails.clone(),
    }
}

#[test]
fn an_answer_that_comes_before_the_body_is_read_counts() {
    run_trusting("early::table");
}

#[tokio::test]
#[ignore = "needs an authority of its own: an_answer_that_comes_before_the_body_is_read_counts runs it"]
async fn table() {
    let (authority, sender) = (Authority::trusted(), sender());
    let confidential = Confidential::new(EndpointSecret::generate([1; 32]));
    let mut wrong = Vec::new();
    for row in rows() {
        let letters = "x".repeat(row.payload.saturating_sub(8));
        let payload = format!("{{\"a\":\"{letters}\"}}");
        let payload: Payload = serde_json::from_str(&payload).unwrap();
        let (port, requests) = serve(&authority, row.over, row.says).await;
        let scheme = if row.over == Over::Plain {
            "http"
        } else {
            "https"
        };
        let url = format!("{scheme}://{HOST}:{port}/");
        let wanted = (row.want, row.next);
        for _ in 0..TIMES {
            let outcome =
                post_payload(&sender, &url, &confidential, &payload, wanted.0.time()).await;
            let mut seen = Want::of(&outcome, "");
            if row.over == Over::Http2 && seen == ended_early(&wanted.0) {
                // The end of the connection may overtake the end of the stream.
                seen = wanted.0.clone();
            }
            let was = (seen, next(&outcome));
            if was != wanted {
                wrong.push(format!(
                    "{:?}, {}: {was:?}, not {wanted:?}",
                    row.over, row.name
                ));
            }
        }
        let requests = requests.load(Ordering::SeqCst);
        println!(
            "| {:?} | {} | {:?} | {:?} | {requests} |",
            row.over, row.name, wanted.0, wanted.1
        );
        if requests != TIMES {
            wrong.push(format!("{:?}, {}: {requests} requests", row.over, row.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
