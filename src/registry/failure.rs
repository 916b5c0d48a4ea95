//! What a failed exchange means, told by the types of its errors, and its words for people.

use std::error::Error;

use rustls::AlertDescription;

use super::reach::LedInside;
use super::resolver::NotResolved;
use crate::http::describe;
use crate::http::error::{is_closed, layers};
use crate::repository::{BodyAborted, Cause, ErrorKind};

/// Why there was no answer, or only a part of one.
pub(super) fn cause(error: &reqwest::Error) -> Cause {
    let led_inside = layers(error).find_map(|error| error.downcast_ref::<LedInside>());
    if let Some(error) = led_inside {
        return Cause::Protocol(error.to_string());
    }
    Cause::Transport { kind: kind(error), message: describe(error) }
}

/// Whether a request body ended because the source of its bytes did.
pub(super) fn is_of_body(error: &reqwest::Error) -> bool {
    layers(error).any(|error| error.is::<BodyAborted>())
}

fn kind(error: &(dyn Error + 'static)) -> ErrorKind {
    let of_layer = |error: &(dyn Error + 'static)| {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(kind_of_tls(error));
        }
        if error.is::<NotResolved>() {
            return Some(ErrorKind::NameResolution);
        }
        is_closed(error).then_some(ErrorKind::Closed)
    };
    layers(error).find_map(of_layer).unwrap_or(ErrorKind::Connection)
}

fn kind_of_tls(error: &rustls::Error) -> ErrorKind {
    match error {
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate,
        ) => ErrorKind::ClientCertificate,
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            ErrorKind::UntrustedCertificate
        }
        rustls::Error::InvalidMessage(_) => ErrorKind::NotTls,
        _ => ErrorKind::Connection,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Outer(#[source] io::Error);

    #[test]
    fn errors_are_told_apart_by_their_types() {
        use ErrorKind::*;
        use rustls::Error::*;
        use rustls::{CertificateError, InvalidMessage as Invalid};
        let cases = [
            (AlertReceived(AlertDescription::CertificateRequired), ClientCertificate),
            (AlertReceived(AlertDescription::BadCertificate), ClientCertificate),
            (InvalidCertificate(CertificateError::UnknownIssuer), UntrustedCertificate),
            (InvalidMessage(Invalid::InvalidContentType), NotTls),
            (AlertReceived(AlertDescription::HandshakeFailure), Connection),
        ];
        for (error, expected) in cases {
            let words = error.to_string();
            let outer = Outer(io::Error::other(error));
            assert_eq!(kind(&outer), expected, "{words}");
            assert_eq!(describe(&outer), words);
        }
        let closed = Outer(io::ErrorKind::BrokenPipe.into());
        assert_eq!(kind(&closed), Closed);
        assert_eq!(describe(&closed), "the server closed the connection without an answer");
        let refused = Outer(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(kind(&refused), Connection);
        let unknown = Outer(io::Error::other(NotResolved(io::Error::other("no such host"))));
        assert_eq!(kind(&unknown), NameResolution);
    }
}
