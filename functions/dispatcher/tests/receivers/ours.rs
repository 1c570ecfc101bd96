//! A receiver that says what a row says.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// What a receiver does after it said its part.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// Waits for the next request.
    Keep,
    Close,
    Reset,
    /// Says nothing more, and does not close.
    Stall,
    /// Says this again and again, as fast as it can.
    Repeat(Vec<u8>),
    /// The same, every 50 ms.
    Drip(Vec<u8>),
}

/// The answers to the requests in their order; the last one is repeated.
pub(crate) type Script = Vec<(Vec<u8>, Then)>;

pub(crate) struct Receiver {
    pub(crate) port: u16,
    requests: Arc<AtomicUsize>,
    last: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn playing(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, last) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<_>>::default());
        let (count, heard) = (Arc::clone(&requests), Arc::clone(&last));
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (script, count, heard) =
                    (script.clone(), Arc::clone(&count), Arc::clone(&heard));
                tokio::spawn(async move {
                    while let Some(request) = request(&mut stream).await {
                        *heard.lock().unwrap() = request;
                        let number = count.fetch_add(1, Ordering::SeqCst);
                        let (bytes, then) = &script[number.min(script.len() - 1)];
                        if let Then::Reset = then {
                            stream.write_all(bytes).await.unwrap();
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            stream.set_zero_linger().unwrap();
                            return;
                        }
                        if !say(&mut stream, bytes, then).await {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            port,
            requests,
            last,
            task,
        }
    }

    /// How many requests arrived.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The last one.
    pub(crate) fn heard(&self) -> String {
        String::from_utf8(self.last.lock().unwrap().clone()).unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a request whose body is `{}`.
pub(crate) async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n{}") {
        request.push(stream.read_u8().await.ok()?);
    }
    Some(request)
}

/// Says its part; whether it listens for more.
pub(crate) async fn say(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], then: &Then) -> bool {
    if stream.write_all(bytes).await.is_err() || stream.flush().await.is_err() {
        return false;
    }
    let (more, pause) = match then {
        Then::Keep => return true,
        Then::Close | Then::Reset => {
            let _ = stream.shutdown().await;
            return false;
        }
        Then::Stall => std::future::pending().await,
        Then::Repeat(more) => (more, Duration::ZERO),
        Then::Drip(more) => (more, Duration::from_millis(50)),
    };
    loop {
        if stream.write_all(more).await.is_err() {
            return false;
        }
        match pause.is_zero() {
            true => tokio::task::yield_now().await,
            false => tokio::time::sleep(pause).await,
        }
    }
}
