//! What a failed request failed of, by the causes inside its error.

use std::{error::Error, io, iter::successors};

use hyper_util::client::legacy;
use posthorn_domain::{attempt::BodyEnd, failure::Failure};
use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use crate::{connect::TooSlow, resolve::NoAddress};

/// Why a request got no status.
pub(crate) fn failure_of_request(error: &legacy::Error) -> Failure {
    match failure_of(error) {
        // A refused connection has its own kind: this one ended later.
        Some(Failure::Closed | Failure::Reset) if error.is_connect() => Failure::TlsEnded,
        failure => failure.unwrap_or(Failure::Other),
    }
}

/// How the body ended that gave this error.
pub(crate) fn end_of_body(error: &hyper::Error) -> BodyEnd {
    let is_framing = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
        )
    };
    let invalid = causes(error).any(|cause| {
        cause.downcast_ref().is_some_and(is_framing)
            || cause
                .downcast_ref()
                .is_some_and(|error: &hyper::Error| error.is_parse())
    });
    if invalid {
        BodyEnd::Invalid
    } else {
        BodyEnd::Cut
    }
}

/// Whether an HTTP/2 server says that it did nothing with the request (RFC 9113, section 8.7).
pub(crate) fn is_unprocessed(error: &legacy::Error) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .any(|error| {
            let is = |reason| error.is_remote() && error.reason() == Some(reason);
            (error.is_reset() && is(h2::Reason::REFUSED_STREAM))
                || (error.is_go_away() && is(h2::Reason::NO_ERROR))
        })
}

/// What broke a connection, if that can be told.
pub(crate) fn failure_of_io(error: &io::Error) -> Option<Failure> {
    // What an I/O error wraps is not among its sources.
    if let Some(failure) = error.get_ref().and_then(|inner| failure_of(inner)) {
        return Some(failure);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Failure::Refused),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some(Failure::Unreachable)
        }
        io::ErrorKind::TimedOut => Some(Failure::ConnectTimeout),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Some(Failure::Reset),
        io::ErrorKind::UnexpectedEof => Some(Failure::Closed),
        _ => None,
    }
}

type Cause<'a> = &'a (dyn Error + 'static);

fn causes(error: Cause<'_>) -> impl Iterator<Item = Cause<'_>> {
    fn source(error: Cause<'_>) -> Option<Cause<'_>> {
        error.source()
    }
    successors(Some(error), |error| source(*error))
}

/// The deepest cause that says something: those above it only say where it happened.
fn failure_of(error: &(dyn Error + 'static)) -> Option<Failure> {
    causes(error).filter_map(failure_of_cause).last()
}

fn failure_of_cause(error: &(dyn Error + 'static)) -> Option<Failure> {
    if error.is::<NoAddress>() {
        return Some(Failure::NoAddress);
    }
    if error.is::<TooSlow>() {
        return Some(Failure::ConnectTimeout);
    }
    if let Some(error) = error.downcast_ref() {
        return Some(failure_of_tls(error));
    }
    if let Some(error) = error.downcast_ref() {
        return failure_of_hyper(error);
    }
    if let Some(error) = error.downcast_ref() {
        return failure_of_http2(error);
    }
    failure_of_io(error.downcast_ref()?)
}

fn failure_of_hyper(error: &hyper::Error) -> Option<Failure> {
    if error.is_timeout() {
        // No other time-out of the library's is set.
        return Some(Failure::Silent);
    }
    if error.is_parse() {
        // The library tells it to servers only, other than by its text.
        let is_too_large = error.to_string().contains("too large");
        return Some(match is_too_large {
            true => Failure::TooLarge,
            false => Failure::NotHttp,
        });
    }
    let is_ended = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    is_ended.then_some(Failure::Closed)
}

fn failure_of_http2(error: &h2::Error) -> Option<Failure> {
    match error.get_io() {
        Some(error) => failure_of_io(error),
        None if error.is_remote() => Some(Failure::StreamReset),
        // We say that the server breaks the protocol.
        None => Some(Failure::NotHttp),
    }
}

fn failure_of_tls(error: &rustls::Error) -> Failure {
    match error {
        rustls::Error::InvalidCertificate(error) => failure_of_certificate(error),
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::ProtocolVersion => Failure::TlsVersion,
            // The second is what servers of TLS 1.2 say when there is none.
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate => {
                Failure::ClientCertificate
            }
            AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity
            | AlertDescription::NoApplicationProtocol
            | AlertDescription::UnrecognisedName
            | AlertDescription::AccessDenied => Failure::TlsRefused,
            _ => Failure::Tls,
        },
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => Failure::TlsVersion,
        rustls::Error::PeerIncompatible(_) => Failure::TlsRefused,
        rustls::Error::InvalidMessage(_) | rustls::Error::PeerSentOversizedRecord => {
            Failure::NotTls
        }
        _ => Failure::Tls,
    }
}

fn failure_of_certificate(error: &CertificateError) -> Failure {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Failure::CertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Failure::CertificateNotYetValid
        }
        CertificateError::UnknownIssuer => Failure::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Failure::WrongName
        }
        _ => Failure::InvalidCertificate,
    }
}
