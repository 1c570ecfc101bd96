//! Why an attempt got no response: a class for programs, and a reason that the endpoint's owner can
//! act on.
//!
//! The texts reveal nothing about the network that Posthorn runs in: they are the same for a name
//! that does not exist and for a name with a private address.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The URL breaks a rule of [`crate::address`].
    Blocked,
    /// The host name has no address, or none that may be reached; the text does not say which.
    NoAddress,
    /// Nothing listens on the port.
    Refused,
    /// There is no route to the address.
    Unreachable,
    /// No connection, including the TLS handshake, within the connect timeout.
    ConnectTimeout,
    /// A connection, but no status before the attempt's deadline.
    Timeout,
    /// An HTTP/2 connection on which even pings are not answered.
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
    /// The server demands a client certificate.
    ClientCertificate,
    /// The server speaks neither TLS 1.2 nor 1.3.
    TlsVersion,
    /// No common cipher or key exchange, or another reason of the server's.
    TlsRefused,
    /// The connection ended during the handshake.
    TlsEnded,
    /// The response to the TLS handshake was not TLS.
    NotTls,
    /// Any other TLS failure.
    Tls,
    /// The connection was closed before a status.
    Closed,
    /// The connection was reset before a status.
    Reset,
    /// The server reset the request's HTTP/2 stream, or sent GOAWAY.
    StreamReset,
    /// The response is not HTTP.
    NotHttp,
    /// The response is longer than [`MAX_ANSWER_BYTES`], or has too many headers.
    TooLarge,
    /// Anything else.
    Other,
}

/// How many bytes an attempt reads from its connection before it gives up, including TLS,
/// informational responses and headers.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// No request was made.
    Blocked,
    /// The host name could not be resolved.
    Dns,
    /// The connection could not be made.
    Connect,
    /// The attempt ran out of time.
    Timeout,
    /// The handshake failed.
    Tls,
    /// The connection ended.
    Reset,
    /// The response is invalid.
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
