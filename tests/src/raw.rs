//! A server that speaks broken HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What it does with every connection once a request arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Closes it without a response.
    Close,
    /// Answers 200, and closes it after two bytes of the body.
    CutBody,
    /// Sends the body byte by byte, for ever.
    Drip,
    /// Sends a body that does not end, as fast as it can.
    Endless,
    /// Sends 10 MB of headers.
    Headers,
    /// Says something that is not HTTP.
    Garbage,
}

/// A running server; dropping this value ends it.
#[derive(Debug)]
pub struct Broken {
    port: u16,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Broken {
    /// Listens on this machine.
    pub async fn listen(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                // The other side hangs up on most of these responses.
                tokio::spawn(async move { answer(stream, fault).await.ok() });
            }
        });
        Self {
            port,
            connections,
            task,
        }
    }

    /// The number of connections so far; each carries one request.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, fault: Fault) -> std::io::Result<()> {
    let mut request = [0; 1024];
    // Any part of the request is enough.
    let _started = stream.read(&mut request).await?;
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
    match fault {
        Fault::Close => {}
        Fault::CutBody => {
            stream.write_all(head).await?;
            stream.write_all(b"xx").await?;
        }
        Fault::Drip => {
            stream.write_all(head).await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Fault::Endless => {
            stream.write_all(head).await?;
            loop {
                stream.write_all(&[b'x'; 65_536]).await?;
            }
        }
        Fault::Headers => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            let line = format!("x-filler: {}\r\n", "x".repeat(1000));
            for _ in 0..10_000 {
                stream.write_all(line.as_bytes()).await?;
            }
        }
        Fault::Garbage => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await?,
    }
    Ok(())
}
