//! A receiver on this machine: it reads each request and answers with a status code.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// One delivery.
pub struct Delivery {
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

pub struct Deliveries {
    pub url: String,
    received: Receiver<Delivery>,
}

impl Deliveries {
    /// Answers every request with this status code.
    pub fn answering(status: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/", listener.local_addr()?);
        let (sender, received) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || serve(stream, status, &sender));
            }
        });
        Ok(Self { url, received })
    }

    /// The next delivery.
    pub fn next(&self) -> Result<Delivery, RecvTimeoutError> {
        self.received.recv_timeout(PATIENCE)
    }
}

/// Reads one request; its head and body are small, and it has a `content-length`.
fn serve(mut stream: TcpStream, status: u16, sender: &Sender<Delivery>) -> io::Result<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read(&mut stream, &mut bytes)?;
    };
    let headers = headers(&String::from_utf8_lossy(&bytes[..head]));
    let length = headers.get("content-length");
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < head + length {
        read(&mut stream, &mut bytes)?;
    }
    let body = bytes[head..head + length].to_vec();
    let answer =
        format!("HTTP/1.1 {status} Taken\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes())?;
    // It does not matter if nobody is waiting for it any more.
    let _ = sender.send(Delivery { headers, body });
    Ok(())
}

fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.extend_from_slice(&buffer[..count]);
    Ok(())
}

fn headers(head: &str) -> BTreeMap<String, String> {
    let lines = head.lines().skip(1);
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect()
}
