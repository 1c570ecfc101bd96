//! Why an attempt got no response: a class for programs, a reason that the endpoint's owner can act on.
//!
//! The texts say nothing of the network that Posthorn runs in: a name that does not exist and one of a
//! private address read the same.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The URL breaks a rule of [`crate::address`].
    Blocked,
    /// The host name has no address, or none that may be reached: which of the two is not told.
    NoAddress,
    /// Nothing listens on the port.
    Refused,
    /// No way leads to the address.
    Unreachable,
    /// No connection, TLS handshake included, within its time.
    ConnectTimeout,
    /// A connection, and no status within the attempt's time.
    Timeout,
    /// An HTTP/2 connection that does not answer pings either.
    Silent,
    /// The server's certificate has expired.
    CertificateExpired,
    /// The server's certificate is not valid yet.
    CertificateNotYetValid,
    /// No chain from the server's certificate to a known authority.
    UnknownIssuer,
    /// The server's certificate is for another name.
    WrongName,
    /// Anything else that is wrong with the server's certificate.
    InvalidCertificate,
    /// The server wants a certificate of ours.
    ClientCertificate,
    /// The server speaks neither TLS 1.2 nor 1.3.
    TlsVersion,
    /// No cipher or key exchange in common, or the server's own reasons.
    TlsRefused,
    /// The connection ended in the handshake.
    TlsEnded,
    /// The answer to the TLS handshake was something else.
    NotTls,
    /// Any other fault of TLS.
    Tls,
    /// The connection was closed before a status.
    Closed,
    /// The connection was reset before a status.
    Reset,
    /// The server reset the request's HTTP/2 stream, or said goodbye.
    StreamReset,
    /// The answer is not HTTP.
    NotHttp,
    /// The answer is longer than [`MAX_ANSWER_BYTES`], or has too many headers.
    TooLarge,
    /// Anything else.
    Other,
}

/// Bytes that an attempt reads from its connection before it is given up: TLS, informational responses
/// and headers included.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// Nothing was asked.
    Blocked,
    /// The host name.
    Dns,
    /// The connection could not be made.
    Connect,
    /// The time was over.
    Timeout,
    /// The handshake failed.
    Tls,
    /// The connection ended.
    Reset,
    /// The answer cannot be read.
    Protocol,
    /// Anything else.
    Other,
}

impl Failure {
    /// Its class.
    pub fn class(self) -> FailureClass {
        match self {
            Self::Blocked => FailureClass::Blocked,
            Self::NoAddress => FailureClass::Dns,
            Self::Refused | Self::Unreachable => FailureClass::Connect,
            Self::ConnectTimeout | Self::Timeout | Self::Silent => FailureClass::Timeout,
            Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::UnknownIssuer
            | Self::WrongName
            | Self::InvalidCertificate
            | Self::ClientCertificate
            | Self::TlsVersion
            | Self::TlsRefused
            | Self::TlsEnded
            | Self::NotTls
            | Self::Tls => FailureClass::Tls,
            Self::Closed | Self::Reset | Self::StreamReset => FailureClass::Reset,
            Self::NotHttp | Self::TooLarge => FailureClass::Protocol,
            Self::Other => FailureClass::Other,
        }
    }

    /// One line for the endpoint's owner.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Blocked => "the URL is not allowed",
            Self::NoAddress => "the host name has no public address",
            Self::Refused => "the connection was refused",
            Self::Unreachable => "the address cannot be reached",
            Self::ConnectTimeout => "no connection in time, TLS handshake included",
            Self::Timeout => "no answer in time",
            Self::Silent => "the connection went silent: it does not answer HTTP/2 pings",
            Self::CertificateExpired => "the certificate has expired",
            Self::CertificateNotYetValid => "the certificate is not valid yet",
            Self::UnknownIssuer => {
                "the certificate is not from a known authority, or intermediate certificates are missing"
            }
            Self::WrongName => "the certificate is not for this host name",
            Self::InvalidCertificate => "the certificate is not valid",
            Self::ClientCertificate => "the server demands a client certificate",
            Self::TlsVersion => "the server does not speak TLS 1.2 or 1.3",
            Self::TlsRefused => {
                "the server refused the handshake: nothing in common, or it demands a client certificate"
            }
            Self::TlsEnded => "the server ended the connection in the handshake",
            Self::NotTls => "the server does not speak TLS on this port",
            Self::Tls => "the handshake failed",
            Self::Closed => "the connection was closed before an answer",
            Self::Reset => "the connection was reset before an answer",
            Self::StreamReset => "the server gave up the HTTP/2 stream before an answer",
            Self::NotHttp => "the answer is not valid HTTP",
            Self::TooLarge => "the answer is too large: 256 KiB are read, with all headers",
            Self::Other => "the request failed",
        }
    }
}

impl FailureClass {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Other => "other",
        }
    }
}

/// `tls: the certificate has expired`
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class().name(), self.reason())
    }
}
