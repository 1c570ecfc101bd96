//! Requests sent byte for byte, because HTTP clients tidy up what they send.

use std::collections::BTreeMap;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::World;

/// A response with its headers.
#[derive(Clone, Debug)]
pub struct ExactAnswer {
    /// The status code.
    pub status: u16,
    /// Headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
}

impl World {
    /// Sends a request whose target and headers are these bytes, with the token.
    ///
    /// # Panics
    /// When the response is not HTTP.
    pub async fn exactly(&self, method: &str, target: &str, headers: &[&str]) -> ExactAnswer {
        let token = format!("authorization: Bearer {}", self.token);
        let headers = [&[token.as_str()], headers].concat();
        self.exactly_without_token(method, target, &headers, "")
            .await
    }

    /// The same without the token, with a body.
    ///
    /// # Panics
    /// When the response is not HTTP.
    pub async fn exactly_without_token(
        &self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &str,
    ) -> ExactAnswer {
        let address = self.stack.api_url().trim_start_matches("http://");
        let length = format!("content-length: {}", body.len());
        let host = format!("host: {address}");
        let own = [host.as_str(), "connection: close", length.as_str()];
        let lines = own.iter().chain(headers).copied();
        let lines: Vec<_> = lines.map(|line| format!("{line}\r\n")).collect();
        let request = format!("{method} {target} HTTP/1.1\r\n{}\r\n{body}", lines.concat());
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let (first, headers) = head.split_once("\r\n").unwrap();
        let headers = headers.lines().filter_map(|line| line.split_once(": "));
        ExactAnswer {
            status: first.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }
}
