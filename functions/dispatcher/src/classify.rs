//! Which class a failed request belongs to, by the causes inside its error.

use std::{error::Error, io};

use posthorn_domain::attempt::FailureClass;

use crate::resolve::ResolveError;

/// The class of a request that got no complete response.
pub(crate) fn classify(error: &reqwest::Error) -> FailureClass {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(class) = class_of(error) {
            return class;
        }
        cause = error.source();
    }
    match error {
        error if error.is_timeout() => FailureClass::Timeout,
        // The connection ended inside the response.
        error if error.is_body() || error.is_decode() => FailureClass::Reset,
        _ => FailureClass::Other,
    }
}

fn class_of(error: &(dyn Error + 'static)) -> Option<FailureClass> {
    if let Some(error) = error.downcast_ref::<ResolveError>() {
        return Some(match error {
            ResolveError::Blocked => FailureClass::Blocked,
            ResolveError::Dns(_) | ResolveError::NoAddress => FailureClass::Dns,
        });
    }
    if error.is::<rustls::Error>() {
        return Some(FailureClass::Tls);
    }
    let error = error.downcast_ref::<io::Error>()?;
    if error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
    {
        return Some(FailureClass::Tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(FailureClass::Refused),
        io::ErrorKind::TimedOut => Some(FailureClass::Timeout),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(FailureClass::Reset),
        _ => None,
    }
}
