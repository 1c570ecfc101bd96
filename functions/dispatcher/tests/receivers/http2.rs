//! HTTP/2, which a receiver chooses in its TLS handshake.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::{Reason, server};
use http::{Response, header};
use posthorn_domain::{attempt::BodyEnd, failure::Failure};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    tls::{Authority, VALID, run_trusting},
    want::{HOST, LONG, Next, SHORT, Want, next, post, sender},
};

/// What a server does with a request.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answer(u16),
    /// 200 with a body that is not ended as it should be.
    ResetsBody,
    EndsBodyEarly,
    NeverEndsBody,
    Floods,
    ResetsStream(Reason),
    GoesAway(Reason),
    Closes,
    Nothing,
    /// Nothing, and pings are not answered either.
    FallsSilent,
}

/// The server does the first thing with the first request, and so on; the last one stays.
async fn serve(config: ServerConfig, script: &'static [Does]) -> (u16, Arc<AtomicUsize>) {
    let (listener, port) = listen().await;
    let requests = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&requests);
    let acceptor = acceptor(config);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            tokio::spawn(connection(stream, script, Arc::clone(&count)));
        }
    });
    (port, requests)
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn acceptor(mut config: ServerConfig) -> TlsAcceptor {
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn connection(
    stream: TlsStream<TcpStream>,
    script: &'static [Does],
    count: Arc<AtomicUsize>,
) {
    let Ok(mut connection) = server::handshake(stream).await else {
        return;
    };
    let mut kept = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let answer = |status: u16| Response::builder().status(status);
        match script[number.min(script.len() - 1)] {
            Does::Answer(status) => {
                respond
                    .send_response(answer(status).body(()).unwrap(), true)
                    .unwrap();
            }
            Does::ResetsBody => {
                let mut body = respond
                    .send_response(answer(200).body(()).unwrap(), false)
                    .unwrap();
                body.send_data(Bytes::from_static(b"ab"), false).unwrap();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    body.send_reset(Reason::INTERNAL_ERROR);
                });
            }
            Does::EndsBodyEarly => {
                let head = answer(200)
                    .header(header::CONTENT_LENGTH, 9)
                    .body(())
                    .unwrap();
                let mut body = respond.send_response(head, false).unwrap();
                body.send_data(Bytes::from_static(b"ab"), true).unwrap();
            }
            Does::NeverEndsBody => {
                let body = respond
                    .send_response(answer(200).body(()).unwrap(), false)
                    .unwrap();
                kept.push((None, Some(body)));
            }
            Does::Floods => {
                let mut body = respond
                    .send_response(answer(200).body(()).unwrap(), false)
                    .unwrap();
                body.send_data(Bytes::from(vec![b'x'; 10_000_000]), false)
                    .unwrap();
                kept.push((None, Some(body)));
            }
            Does::ResetsStream(reason) => respond.send_reset(reason),
            Does::GoesAway(reason) => connection.abrupt_shutdown(reason),
            Does::Closes => return,
            Does::Nothing => kept.push((Some(respond), None)),
            Does::FallsSilent => {
                std::future::pending::<()>().await;
                drop(request);
            }
        }
    }
}

#[test]
fn every_http2_answer_leads_to_its_outcome_and_next_step() {
    run_trusting("http2::rows");
}

#[tokio::test]
#[ignore = "needs an authority of its own: every_http2_answer_leads_to_its_outcome_and_next_step runs it"]
async fn rows() {
    let authority = Authority::trusted();
    let sender = sender();
    let (whole, fails) = (
        |status| Want::Answer(status, "", BodyEnd::Whole),
        Want::Fails,
    );
    let cut = |end| Want::Answer(200, "", end);
    use Does::*;
    let refused = ResetsStream(Reason::REFUSED_STREAM);
    let (given_up, bye) = (
        ResetsStream(Reason::INTERNAL_ERROR),
        GoesAway(Reason::NO_ERROR),
    );
    // Attempts, what the last one comes to, and the requests of all.
    let rows: Vec<(&str, &'static [Does], usize, Want, usize)> = vec![
        ("204", &[Answer(204)], 1, whole(204), 1),
        ("410", &[Answer(410)], 1, whole(410), 1),
        (
            "stream reset inside the body",
            &[ResetsBody],
            1,
            cut(BodyEnd::Cut),
            1,
        ),
        (
            "body shorter than said",
            &[EndsBodyEarly],
            1,
            cut(BodyEnd::Cut),
            1,
        ),
        (
            "body without end",
            &[NeverEndsBody],
            1,
            cut(BodyEnd::Late),
            1,
        ),
        ("body of 10 MB", &[Floods], 1, cut(BodyEnd::Whole), 1),
        (
            "after a body of 10 MB",
            &[Floods, Answer(204)],
            2,
            whole(204),
            2,
        ),
        (
            "stream reset",
            Box::leak(Box::new([given_up])),
            1,
            fails(Failure::StreamReset),
            1,
        ),
        (
            "stream refused",
            Box::leak(Box::new([refused])),
            1,
            fails(Failure::StreamReset),
            1,
        ),
        (
            "stream refused on a used connection",
            Box::leak(Box::new([Answer(204), refused, Answer(204)])),
            2,
            whole(204),
            3,
        ),
        (
            "stream refused twice",
            Box::leak(Box::new([Answer(204), refused])),
            2,
            fails(Failure::StreamReset),
            3,
        ),
        (
            "stream reset on a used connection",
            Box::leak(Box::new([Answer(204), given_up])),
            2,
            fails(Failure::StreamReset),
            2,
        ),
        (
            "GOAWAY",
            Box::leak(Box::new([bye])),
            1,
            fails(Failure::StreamReset),
            1,
        ),
        (
            "GOAWAY on a used connection",
            Box::leak(Box::new([Answer(204), bye, Answer(204)])),
            2,
            fails(Failure::StreamReset),
            2,
        ),
        (
            "GOAWAY with an error",
            Box::leak(Box::new([GoesAway(Reason::ENHANCE_YOUR_CALM)])),
            1,
            fails(Failure::StreamReset),
            1,
        ),
        ("closed", &[Closes], 1, fails(Failure::Closed), 1),
        (
            "closed on a used connection",
            &[Answer(204), Closes, Answer(204)],
            2,
            whole(204),
            3,
        ),
        (
            "no answer, pings are answered",
            &[Nothing],
            1,
            fails(Failure::Timeout),
            1,
        ),
    ];
    let (count, mut wrong) = (rows.len(), Vec::new());
    for (name, script, attempts, want, requests) in rows {
        let (port, got) = serve(authority.server(HOST, VALID, None), script).await;
        let url = format!("https://{HOST}:{port}/");
        let mut outcome = post(&sender, &url, want.time()).await;
        for _ in 1..attempts {
            outcome = post(&sender, &url, want.time()).await;
        }
        let mut seen = Want::of(&outcome, "");
        if name.starts_with("GOAWAY") && seen == Want::Fails(Failure::Reset) {
            // The server closes right after it: either may be seen first.
            seen = Want::Fails(Failure::StreamReset);
        }
        let was = (seen, next(&outcome), got.load(Ordering::SeqCst));
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
    println!("{count} answers over HTTP/2");
}

#[test]
fn frames_that_are_no_answer_are_read_up_to_the_budget() {
    run_trusting("http2::frames");
}

#[tokio::test]
#[ignore = "needs an authority of its own: frames_that_are_no_answer_are_read_up_to_the_budget runs it"]
async fn frames() {
    let authority = Authority::trusted();
    let sender = sender();
    let settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let ping = b"\x00\x00\x08\x06\x01\x00\x00\x00\x0012345678";
    let unknown = [&b"\x00\x10\x00\x99\x00\x00\x00\x00\x00"[..], &[0; 4096]].concat();
    let rows: Vec<(&str, Vec<u8>, Vec<u8>, Failure)> = vec![
        ("settings only", settings.to_vec(), vec![], Failure::Timeout),
        (
            "pings without end",
            settings.to_vec(),
            ping.repeat(100),
            Failure::TooLarge,
        ),
        (
            "settings without end",
            settings.to_vec(),
            b"\x00\x00\x00\x04\x01\x00\x00\x00\x00".repeat(100),
            Failure::NotHttp,
        ),
        (
            "unknown frames without end",
            settings.to_vec(),
            unknown,
            Failure::TooLarge,
        ),
        (
            "HTTP/1.1 instead",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            vec![],
            Failure::NotHttp,
        ),
    ];
    let mut wrong = Vec::new();
    for (name, first, again, want) in rows {
        let (listener, port) = listen().await;
        let acceptor = acceptor(authority.server(HOST, VALID, None));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            let (mut from, mut to) = tokio::io::split(stream);
            tokio::spawn(async move { while from.read_u8().await.is_ok() {} });
            let _ = to.write_all(&first).await;
            loop {
                if again.is_empty() || to.write_all(&again).await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::task::yield_now().await;
            }
        });
        let outcome = post(
            &sender,
            &format!("https://{HOST}:{port}/"),
            Want::Fails(want).time(),
        )
        .await;
        println!(
            "| {name} | {:?} | {:?} |",
            Want::of(&outcome, ""),
            next(&outcome)
        );
        if Want::of(&outcome, "") != Want::Fails(want) || next(&outcome) != Next::Again(5) {
            wrong.push(format!("{name}: {outcome:?}, not {want:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_connection_that_goes_silent_is_left() {
    run_trusting("http2::silence");
}

/// The first request is answered; then its connection goes silent, and new ones work.
#[tokio::test]
#[ignore = "needs an authority of its own: a_connection_that_goes_silent_is_left runs it"]
async fn silence() {
    let authority = Authority::trusted();
    let sender = &sender();
    let (config, script) = (
        || authority.server(HOST, VALID, None),
        &[Does::Answer(204), Does::FallsSilent, Does::Answer(204)],
    );
    // With its whole time, an attempt finds out and is made again on another connection.
    let (port, requests) = serve(config(), script).await;
    let url = &format!("https://{HOST}:{port}/");
    let long = Duration::from_secs(15);
    let started = Instant::now();
    for _ in 0..2 {
        let outcome = post(sender, url, long).await;
        assert!(outcome.is_success(), "{outcome:?}");
    }
    println!(
        "left after {:?}, {} requests",
        started.elapsed(),
        requests.load(Ordering::SeqCst)
    );
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    // With less time, those fail that are under way; the next ones use a new connection.
    let (port, _) = serve(config(), script).await;
    let url = &format!("https://{HOST}:{port}/");
    assert!(post(sender, url, LONG).await.is_success());
    let lost = join_all((0..4).map(|_| post(sender, url, SHORT))).await;
    println!("under way: {lost:?}");
    for _ in 0..20 {
        let outcome = post(sender, url, SHORT).await;
        assert!(outcome.is_success(), "{outcome:?}");
    }
}
