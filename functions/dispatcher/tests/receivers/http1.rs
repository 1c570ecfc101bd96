//! HTTP/1 over a plain connection.

use futures_util::future::join_all;
use posthorn_domain::{
    attempt::{BodyEnd, Outcome},
    endpoint::Confidential,
    failure::Failure,
    signing::EndpointSecret,
};

use crate::{
    ours::{Receiver, Script, Then},
    want::{HOST, LONG, Next, SHORT, Want, next, post, post_as, sender},
};

struct Row {
    name: &'static str,
    script: Script,
    /// Attempts, one after the other; the last one counts.
    attempts: usize,
    want: Want,
    next: Next,
    /// Requests that the receiver got.
    requests: usize,
}

fn row(name: &'static str, says: impl Into<Vec<u8>>, then: Then, want: Want) -> Row {
    Row {
        name,
        script: vec![(says.into(), then)],
        attempts: 1,
        next: want.next(),
        want,
        requests: 1,
    }
}

/// Two attempts; the first one is answered, and its connection is kept.
fn second(name: &'static str, script: &[(&str, Then)], want: Want, requests: usize) -> Row {
    let first = ("HTTP/1.1 204 No Content\r\n\r\n", Then::Keep);
    let script = std::iter::once(&first).chain(script);
    Row {
        name,
        script: script
            .map(|(says, then)| (says.as_bytes().to_vec(), then.clone()))
            .collect(),
        attempts: 2,
        next: want.next(),
        want,
        requests,
    }
}

impl Row {
    fn leads_to(self, next: Next) -> Self {
        Self { next, ..self }
    }
}

fn whole(status: u16, kept: &'static str) -> Want {
    Want::Answer(status, kept, BodyEnd::Whole)
}

fn ended(status: u16, kept: &'static str, end: BodyEnd) -> Want {
    Want::Answer(status, kept, end)
}

/// A 200 of these header lines and this body.
fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{body}")
}

use BodyEnd::{Cut, Invalid, Late};
use Then::{Close, Drip, Keep, Repeat, Reset, Stall};
use Want::Fails;

/// The status decides, whatever the body does.
fn bodies() -> Vec<Row> {
    let chunked = |body: &str| ok("Transfer-Encoding: chunked", body);
    vec![
        row(
            "whole",
            ok("Content-Length: 2", "ab"),
            Keep,
            whole(200, "ab"),
        ),
        row(
            "cut, closed",
            ok("Content-Length: 9", "ab"),
            Close,
            ended(200, "ab", Cut),
        ),
        row(
            "cut, reset",
            ok("Content-Length: 9", "ab"),
            Reset,
            ended(200, "ab", Cut),
        ),
        row(
            "cut, no byte of it",
            ok("Content-Length: 9", ""),
            Close,
            ended(200, "", Cut),
        ),
        row(
            "never comes",
            ok("Content-Length: 9", ""),
            Stall,
            ended(200, "", Late),
        ),
        row(
            "never ends",
            ok("Content-Length: 9", "ab"),
            Stall,
            ended(200, "ab", Late),
        ),
        row(
            "drips",
            ok("Content-Length: 900", "a"),
            Drip(b"a".to_vec()),
            ended(200, "aa", Late),
        ),
        row(
            "larger than what is kept",
            ok("Content-Length: 900000", ""),
            Repeat(vec![b'x'; 4096]),
            whole(200, "xxxx"),
        ),
        row(
            "until close",
            ok("X-A: b", "hello"),
            Close,
            whole(200, "hello"),
        ),
        row(
            "until close, reset",
            ok("X-A: b", "hello"),
            Reset,
            ended(200, "hello", Cut),
        ),
        row(
            "HTTP/1.0 without length",
            "HTTP/1.0 200 OK\r\n\r\nhello",
            Close,
            whole(200, "hello"),
        ),
        row(
            "HTTP/1.0 with length",
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
            Keep,
            whole(200, "ab"),
        ),
        row(
            "chunked",
            chunked("2\r\nab\r\n0\r\n\r\n"),
            Keep,
            whole(200, "ab"),
        ),
        row("chunked, empty", chunked("0\r\n\r\n"), Keep, whole(200, "")),
        row(
            "chunked, trailer",
            chunked("2\r\nab\r\n0\r\nX-A: b\r\n\r\n"),
            Keep,
            whole(200, "ab"),
        ),
        row(
            "chunked, extension",
            chunked("2;a=b\r\nab\r\n0\r\n\r\n"),
            Keep,
            whole(200, "ab"),
        ),
        row(
            "chunk cut",
            chunked("5\r\nab"),
            Close,
            ended(200, "ab", Cut),
        ),
        row(
            "last chunk missing",
            chunked("2\r\nab\r\n"),
            Close,
            ended(200, "ab", Cut),
        ),
        row(
            "chunk never comes",
            chunked(""),
            Stall,
            ended(200, "", Late),
        ),
        row(
            "chunk size is no number",
            chunked("zz\r\nab"),
            Close,
            ended(200, "", Invalid),
        ),
        row(
            "chunk size overflows",
            chunked("fffffffffffffffff\r\nab"),
            Close,
            ended(200, "", Invalid),
        ),
        row(
            "chunk without its end",
            chunked("2\r\nabcd"),
            Close,
            ended(200, "ab", Invalid),
        ),
        row(
            "chunk extension without end",
            chunked("2;"),
            Repeat(vec![b'x'; 4096]),
            ended(200, "", Invalid),
        ),
        row(
            "204",
            "HTTP/1.1 204 No Content\r\n\r\n",
            Keep,
            whole(204, ""),
        ),
        row(
            "204 with length",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            Keep,
            whole(204, ""),
        ),
        row(
            "204 with a body",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
            Close,
            whole(204, ""),
        ),
        row(
            "205 without length",
            "HTTP/1.1 205 Reset Content\r\n\r\n",
            Stall,
            ended(205, "", Late),
        ),
        row(
            "205 without length, closed",
            "HTTP/1.1 205 Reset Content\r\n\r\n",
            Close,
            whole(205, ""),
        ),
        row(
            "304 without length",
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            Keep,
            whole(304, ""),
        ),
        row(
            "304 with length",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            Keep,
            whole(304, ""),
        ),
        row(
            "410 with a cut body",
            "HTTP/1.1 410 Gone\r\nContent-Length: 9\r\n\r\nab",
            Close,
            ended(410, "ab", Cut),
        ),
        row(
            "429 with a cut body",
            "HTTP/1.1 429 X\r\nRetry-After: 120\r\nContent-Length: 9\r\n\r\n",
            Close,
            ended(429, "", Cut),
        )
        .leads_to(Next::Again(120)),
        row(
            "503 whose body never comes",
            "HTTP/1.1 503 X\r\nRetry-After: 60\r\nContent-Length: 9\r\n\r\n",
            Stall,
            ended(503, "", Late),
        )
        .leads_to(Next::Again(60)),
        row(
            "500 with a cut body",
            "HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\n",
            Reset,
            ended(500, "", Cut),
        ),
        row(
            "302",
            "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
            Keep,
            whole(302, ""),
        ),
        row(
            "one answer too many",
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 X\r\n\r\n",
            Close,
            whole(204, ""),
        ),
        row(
            "Connection: close",
            ok("Connection: close\r\nContent-Length: 2", "ab"),
            Close,
            whole(200, "ab"),
        ),
    ]
}

/// How long a body is.
fn framing() -> Vec<Row> {
    vec![
        row(
            "Content-Length twice, the same",
            ok("Content-Length: 2\r\nContent-Length: 2", "ab"),
            Keep,
            whole(200, "ab"),
        ),
        row(
            "Content-Length twice, different",
            ok("Content-Length: 2\r\nContent-Length: 3", "ab"),
            Close,
            ended(200, "", Invalid),
        ),
        row(
            "Content-Length as a list",
            ok("Content-Length: 2, 2", "ab"),
            Keep,
            whole(200, "ab"),
        ),
        row(
            "Content-Length is no number",
            ok("Content-Length: two", "ab"),
            Close,
            ended(200, "", Invalid),
        ),
        row(
            "Content-Length is negative",
            ok("Content-Length: -2", "ab"),
            Close,
            ended(200, "", Invalid),
        ),
        row(
            "Content-Length with a sign",
            ok("Content-Length: +2", "ab"),
            Close,
            ended(200, "", Invalid),
        ),
        row(
            "Content-Length is empty",
            ok("Content-Length:", "ab"),
            Close,
            ended(200, "", Invalid),
        ),
        row(
            "HTTP/1.0, chunked",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            Close,
            ended(200, "", Invalid),
        ),
        row(
            "410 with nonsense after it",
            "HTTP/1.1 410 Gone\r\nContent-Length: two\r\n\r\n",
            Close,
            ended(410, "", Invalid),
        ),
        row(
            "429 with nonsense after it",
            "HTTP/1.1 429 X\r\nRetry-After: 120\r\nContent-Length: two\r\n\r\n",
            Close,
            ended(429, "", Invalid),
        )
        .leads_to(Next::Again(120)),
        row(
            "429 whose head is cut",
            "HTTP/1.1 429 X\r\nRetry-After: 120\r\nX-A",
            Close,
            ended(429, "", Cut),
        )
        .leads_to(Next::Again(120)),
        row(
            "500 with nonsense after it",
            "HTTP/1.1 500 X\r\nContent-Length: two\r\n\r\n",
            Close,
            ended(500, "", Invalid),
        ),
        row(
            "Content-Length overflows",
            ok("Content-Length: 99999999999999999999", "ab"),
            Close,
            ended(200, "", Invalid),
        ),
        row(
            "chunked with Content-Length",
            ok(
                "Content-Length: 9\r\nTransfer-Encoding: chunked",
                "2\r\nab\r\n0\r\n\r\n",
            ),
            Keep,
            whole(200, "ab"),
        ),
        row(
            "gzip, chunked",
            ok("Transfer-Encoding: gzip, chunked", "2\r\nab\r\n0\r\n\r\n"),
            Keep,
            whole(200, "ab"),
        ),
        row(
            "Transfer-Encoding: identity",
            ok("Transfer-Encoding: identity", "ab"),
            Close,
            whole(200, "ab"),
        ),
        row(
            "Transfer-Encoding: nonsense",
            ok("Transfer-Encoding: nonsense", "ab"),
            Close,
            whole(200, "ab"),
        ),
    ]
}

/// What comes before the headers.
fn status_lines() -> Vec<Row> {
    let not_http = || Fails(Failure::NotHttp);
    vec![
        row("no reason", "HTTP/1.1 204\r\n\r\n", Keep, whole(204, "")),
        row(
            "lines end with LF",
            "HTTP/1.1 204 X\n\n",
            Keep,
            whole(204, ""),
        ),
        row(
            "empty line first",
            "\r\nHTTP/1.1 204 X\r\n\r\n",
            Keep,
            whole(204, ""),
        ),
        row(
            "status 999",
            "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
            Keep,
            whole(999, ""),
        ),
        row("status 099", "HTTP/1.1 099 X\r\n\r\n", Close, not_http()),
        row(
            "status of two digits",
            "HTTP/1.1 20 OK\r\n\r\n",
            Close,
            not_http(),
        ),
        row(
            "status of four digits",
            "HTTP/1.1 2000 OK\r\n\r\n",
            Close,
            not_http(),
        ),
        row(
            "status is no number",
            "HTTP/1.1 abc OK\r\n\r\n",
            Close,
            not_http(),
        ),
        row("HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", Close, not_http()),
        row("lower case", "http/1.1 200 OK\r\n\r\n", Close, not_http()),
        row("ICY", "ICY 200 OK\r\n\r\n", Close, not_http()),
        row("SSH", "SSH-2.0-OpenSSH_9.2\r\n", Stall, not_http()),
        row("a page without a head", "<html></html>", Close, not_http()),
        row(
            "a TLS alert",
            b"\x15\x03\x01\x00\x02\x02\x46",
            Close,
            not_http(),
        ),
        row(
            "HTTP/2 settings",
            b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
            Close,
            not_http(),
        ),
        row("empty reply", "", Close, Fails(Failure::Closed)),
        row("reset", "", Reset, Fails(Failure::Reset)),
        row("never", "", Stall, Fails(Failure::Timeout)),
        row(
            "a control character in the reason",
            "HTTP/1.1 204 N\0 Content\r\n\r\n",
            Close,
            ended(204, "", Invalid),
        ),
        row(
            "100, then nonsense",
            "HTTP/1.1 100 Continue\r\n\r\nnonsense\r\n\r\n",
            Close,
            not_http(),
        ),
        row(
            "100, then half a head",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 410 Gone\r\nX-A",
            Close,
            ended(410, "", Cut),
        ),
        row(
            "half a status",
            "HTTP/1.1 200",
            Close,
            Fails(Failure::Closed),
        ),
        row(
            "half a status line",
            "HTTP/1.1 20",
            Close,
            Fails(Failure::Closed),
        ),
        row(
            "half a head",
            "HTTP/1.1 200 OK\r\nX-A: b\r\n",
            Close,
            ended(200, "", Cut),
        ),
        row(
            "half a head, reset",
            "HTTP/1.1 200 OK\r\nX-A: b\r\n",
            Reset,
            ended(200, "", Cut),
        ),
        row(
            "half a head, silence",
            "HTTP/1.1 200 OK\r\nX-A: b\r\n",
            Stall,
            ended(200, "", Late),
        ),
        row(
            "a head that drips",
            "HTTP/1.1 200 OK\r\n",
            Drip(b"X-A: b\r\n".to_vec()),
            ended(200, "", Late),
        ),
    ]
}

/// Informational responses and headers.
fn heads() -> Vec<Row> {
    let early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let lines = |count: usize| {
        (0..count)
            .map(|n| format!("X-{n}: a\r\n"))
            .collect::<String>()
    };
    let answer = |lines: &str| ok(&format!("{lines}Content-Length: 2"), "ab");
    let long = |bytes: usize| answer(&format!("X-A: {}\r\n", "a".repeat(bytes)));
    let fine = || whole(200, "ab");
    vec![
        row(
            "100, then 204",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 X\r\n\r\n",
            Keep,
            whole(204, ""),
        ),
        row(
            "103 three times, then 204",
            [&early.repeat(3)[..], b"HTTP/1.1 204 X\r\n\r\n"].concat(),
            Keep,
            whole(204, ""),
        ),
        row(
            "100, then nothing",
            "HTTP/1.1 100 Continue\r\n\r\n",
            Close,
            Fails(Failure::Closed),
        ),
        row(
            "100 without end",
            "",
            Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
            Fails(Failure::TooLarge),
        ),
        row(
            "103 without end",
            "",
            Repeat(early.repeat(100)),
            Fails(Failure::TooLarge),
        ),
        row(
            "102 that drip",
            "",
            Drip(b"HTTP/1.1 102 Processing\r\n\r\n".to_vec()),
            Fails(Failure::Timeout),
        ),
        row(
            "101",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            Close,
            whole(101, ""),
        ),
        row("folded header", answer("X-A: a\r\n b\r\n"), Keep, fine()),
        row(
            "folded with a tab",
            answer("X-A: a\r\n\tb\r\n"),
            Keep,
            fine(),
        ),
        row(
            "space before the colon",
            answer("X-A : a\r\n"),
            Keep,
            fine(),
        ),
        row(
            "space before Content-Length's colon",
            ok("Content-Length : 2", "ab"),
            Keep,
            fine(),
        ),
        row("invalid name", answer("X(A): a\r\n"), Keep, fine()),
        row("no colon", answer("nonsense\r\n"), Keep, fine()),
        row("empty name", answer(": a\r\n"), Keep, fine()),
        row("umlauts in a value", answer("X-A: ü\r\n"), Keep, fine()),
        row(
            "a zero byte in a value",
            answer("X-A: a\0b\r\n"),
            Keep,
            ended(200, "", Invalid),
        ),
        row(
            "a bare CR in a value",
            answer("X-A: a\rb\r\n"),
            Keep,
            ended(200, "", Invalid),
        ),
        row(
            "1,500 headers",
            answer(&lines(1500)),
            Keep,
            ended(200, "", BodyEnd::TooLarge),
        ),
        row("101 headers", answer(&lines(101)), Keep, fine()),
        row("1,000 headers", answer(&lines(1000)), Keep, fine()),
        row(
            "2,000 headers",
            answer(&lines(2000)),
            Keep,
            ended(200, "", BodyEnd::TooLarge),
        ),
        row("a header of 200 KB", long(200_000), Keep, fine()),
        row(
            "a header of 300 KB",
            long(300_000),
            Keep,
            ended(200, "", BodyEnd::TooLarge),
        ),
        row(
            "headers without end",
            "HTTP/1.1 200 OK\r\n",
            Repeat(b"X-A: a\r\n".repeat(100)),
            ended(200, "", BodyEnd::TooLarge),
        ),
        row(
            "a status line without end",
            "HTTP/1.1 200 ",
            Repeat(vec![b'x'; 4096]),
            ended(200, "", BodyEnd::TooLarge),
        ),
        row(
            "Retry-After with 204",
            "HTTP/1.1 204 X\r\nRetry-After: 9\r\n\r\n",
            Keep,
            whole(204, ""),
        ),
        row(
            "Retry-After is no time",
            "HTTP/1.1 500 X\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n",
            Keep,
            whole(500, ""),
        ),
        row(
            "Retry-After of a week",
            "HTTP/1.1 500 X\r\nRetry-After: 604800\r\nContent-Length: 0\r\n\r\n",
            Keep,
            whole(500, ""),
        )
        .leads_to(Next::Again(86_400)),
        row(
            "Retry-After in the past",
            "HTTP/1.1 500 X\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n",
            Keep,
            whole(500, ""),
        ),
    ]
}

/// A second attempt, over the connection of the first one.
fn reused() -> Vec<Row> {
    let fine = "HTTP/1.1 204 No Content\r\n\r\n";
    vec![
        second("answered again", &[(fine, Keep)], whole(204, ""), 2),
        second(
            "reset: once more, on a new one",
            &[("", Reset), (fine, Keep)],
            whole(204, ""),
            3,
        ),
        second(
            "closed: once more, on a new one",
            &[("", Close), (fine, Keep)],
            whole(204, ""),
            3,
        ),
        second(
            "reset twice: not a third time",
            &[("", Reset)],
            Fails(Failure::Reset),
            3,
        ),
        second(
            "closed twice: not a third time",
            &[("", Close)],
            Fails(Failure::Closed),
            3,
        ),
        second(
            "reset in the answer: not once more",
            &[("HTTP", Reset)],
            Fails(Failure::Reset),
            2,
        ),
        second(
            "closed in the answer: not once more",
            &[("HTTP", Close)],
            Fails(Failure::Closed),
            2,
        ),
        second(
            "408: the answer, not once more",
            &[(
                "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                Close,
            )],
            whole(408, ""),
            2,
        ),
        second(
            "a head that is cut: the answer, not once more",
            &[("HTTP/1.1 200 OK\r\nX-A", Close)],
            ended(200, "", Cut),
            2,
        ),
        second(
            "silence: not once more",
            &[("", Stall)],
            Fails(Failure::Timeout),
            2,
        ),
        second(
            "nonsense: not once more",
            &[("nonsense\r\n\r\n", Close)],
            Fails(Failure::NotHttp),
            2,
        ),
    ]
}

#[tokio::test]
async fn every_answer_leads_to_its_outcome_and_next_step() {
    let rows = [bodies(), framing(), status_lines(), heads(), reused()];
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    let count = rows.len();
    let sender = &sender();
    let play = |row: Row| async move {
        let receiver = Receiver::playing(row.script).await;
        let url = format!("http://{HOST}:{}/", receiver.port);
        let time = row.want.time();
        let mut outcome = post(sender, &url, time).await;
        for _ in 1..row.attempts {
            outcome = post(sender, &url, time).await;
        }
        let (want, kept) = match row.want {
            Want::Answer(status, kept, end) => (Want::Answer(status, "", end), kept),
            fails => (fails, ""),
        };
        let was = (
            Want::of(&outcome, kept),
            next(&outcome),
            receiver.requests(),
        );
        println!("| {} | {:?} | {:?} | {} |", row.name, was.0, was.1, was.2);
        let wanted = (want, row.next, row.requests);
        (was != wanted).then(|| format!("{}: {was:?}, not {wanted:?}", row.name))
    };
    let wrong: Vec<_> = join_all(rows.into_iter().map(play)).await;
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("{count} answers");
}

#[tokio::test]
async fn the_encoding_of_a_body_is_told() {
    let sender = sender();
    for (header, told) in [
        ("Content-Encoding: gzip", Some("gzip")),
        ("Content-Encoding: br", Some("br")),
        ("Content-Encoding: identity", None),
        ("X-A: b", None),
    ] {
        let says = ok(&format!("{header}\r\nContent-Length: 2"), "ab");
        let receiver = Receiver::playing(vec![(says.into_bytes(), Keep)]).await;
        let url = format!("http://{HOST}:{}/", receiver.port);
        match post(&sender, &url, LONG).await {
            Outcome::Response { body, .. } => assert_eq!(body.encoding.as_deref(), told),
            failure => panic!("{failure:?}"),
        }
    }
}

#[tokio::test]
async fn a_flood_keeps_nobody_waiting() {
    let sender = &sender();
    let flood = (
        Vec::new(),
        Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
    );
    let (loud, quiet) = (
        Receiver::playing(vec![flood]).await,
        Receiver::playing(vec![(b"HTTP/1.1 204 X\r\n\r\n".to_vec(), Keep)]).await,
    );
    let (loud, quiet) = (
        format!("http://{HOST}:{}/", loud.port),
        format!("http://{HOST}:{}/", quiet.port),
    );
    let floods = join_all((0..4).map(|_| post(sender, &loud, LONG)));
    let others = join_all((0..8).map(|_| post(sender, &quiet, SHORT)));
    let (floods, others) = tokio::join!(floods, others);
    assert_eq!(floods, vec![Outcome::Failure(Failure::TooLarge); 4]);
    assert!(others.iter().all(Outcome::is_success), "{others:?}");
}

#[tokio::test]
async fn the_request_is_what_receivers_expect() {
    let receiver = Receiver::playing(vec![(b"HTTP/1.1 204 X\r\n\r\n".to_vec(), Keep)]).await;
    let url = format!("http://{HOST}:{}/a?b=c#d", receiver.port);
    let mut confidential = Confidential::new(EndpointSecret::generate([1; 32]));
    let headers = r#"{"X_Under":"1","X-API-Key":"2","user-agent":"me"}"#;
    confidential.headers = serde_json::from_str(headers).unwrap();
    let outcome = post_as(&sender(), &url, &confidential, LONG).await;
    assert!(outcome.is_success(), "{outcome:?}");
    let heard = receiver.heard();
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    assert_eq!((lines.next(), body), (Some("POST /a?b=c HTTP/1.1"), "{}"));
    for line in [
        format!("Host: {HOST}:{}", receiver.port).as_str(),
        "Content-Type: application/json",
        "Content-Length: 2",
        "Webhook-Timestamp: 1700000000",
        "User-Agent: me",
        // The library writes names in title case, whatever their own spelling.
        "X_under: 1",
        "X-Api-Key: 2",
    ] {
        assert!(head.lines().any(|it| it == line), "{line}: {head}");
    }
}
