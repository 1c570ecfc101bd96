//! Which class a failed request belongs to, by the causes inside its error.

use std::{error::Error, io};

use posthorn_domain::attempt::FailureClass;

use crate::resolve::NoAddress;

/// The class of a request that got no complete response.
pub(crate) fn classify(error: &reqwest::Error) -> FailureClass {
    match class_of_chain(error) {
        Some(class) => class,
        None if error.is_timeout() => FailureClass::Timeout,
        // The connection ended inside the response.
        None if error.is_body() || error.is_decode() => FailureClass::Reset,
        None => FailureClass::Other,
    }
}

/// The class of an error or of the first of its causes that has one.
fn class_of_chain(error: &(dyn Error + 'static)) -> Option<FailureClass> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(class) = class_of(error) {
            return Some(class);
        }
        cause = error.source();
    }
    None
}

fn class_of(error: &(dyn Error + 'static)) -> Option<FailureClass> {
    if error.is::<NoAddress>() {
        return Some(FailureClass::Dns);
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>()
        && (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
    {
        return Some(FailureClass::Reset);
    }
    if error.is::<rustls::Error>() {
        return Some(FailureClass::Tls);
    }
    let error = error.downcast_ref::<io::Error>()?;
    // What an I/O error wraps is not among its sources.
    if let Some(class) = error.get_ref().and_then(|inner| class_of_chain(inner)) {
        return Some(class);
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
