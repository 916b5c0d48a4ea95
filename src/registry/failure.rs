//! What a failed exchange means, told by the types of its errors, and its words for people.

use std::error::Error;
use std::io;

use rustls::AlertDescription;

use super::resolver::NotResolved;
use crate::repository::{BodyAborted, Cause, ErrorKind};

/// A server that wants a client certificate and gets none often ends the connection like this.
const CLOSED: &str = "the server closed the connection without an answer";

/// Why there was no answer, or only a part of one.
pub(super) fn cause(error: &reqwest::Error) -> Cause {
    Cause::Transport { kind: kind(error), message: chain(error) }
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

/// Whether the connection ended under the request. What ended it, such as a TLS alert, was told to
/// nobody.
fn is_closed(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return error.is_canceled() || error.is_closed();
    }
    let of_http2 = error.downcast_ref::<h2::Error>().and_then(h2::Error::get_io);
    of_http2.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An error and all that it was made from, the outermost first.
fn layers<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        // `io::Error` leaves out the error that it wraps.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// An error with all its sources in one line, without the URL: queries hold upload states and
/// presigned credentials.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut layers = layers(error).peekable();
    while let Some(error) = layers.next() {
        if is_closed(error) {
            parts.push(CLOSED.to_owned());
            break;
        }
        let text = error.to_string();
        let text = text.split(" for url (").next().unwrap_or_default();
        // reqwest's and hyper's own layers only say that sending failed; their sources say why.
        let says_nothing = matches!(
            text,
            "error sending request"
                | "client error (Connect)"
                | "client error (SendRequest)"
                | "client error (Canceled)"
                | "request or response body error"
                | "error decoding response body"
        );
        if (!says_nothing || layers.peek().is_none())
            && !parts.iter().any(|part| part.contains(text))
        {
            parts.push(text.to_owned());
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Outer(#[source] io::Error);

    #[test]
    fn errors_are_told_apart_by_their_types() {
        let cases = [
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
                ErrorKind::ClientCertificate,
            ),
            (
                rustls::Error::AlertReceived(AlertDescription::BadCertificate),
                ErrorKind::ClientCertificate,
            ),
            (
                rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer),
                ErrorKind::UntrustedCertificate,
            ),
            (
                rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                ErrorKind::NotTls,
            ),
            (
                rustls::Error::AlertReceived(AlertDescription::HandshakeFailure),
                ErrorKind::Connection,
            ),
        ];
        for (error, expected) in cases {
            let words = error.to_string();
            let outer = Outer(io::Error::other(error));
            assert_eq!(kind(&outer), expected, "{words}");
            assert_eq!(chain(&outer), words);
        }
        let refused = Outer(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(kind(&refused), ErrorKind::Connection);
        assert_eq!(
            kind(&Outer(io::Error::other(NotResolved(io::Error::other("no such host"))))),
            ErrorKind::NameResolution
        );
    }
}
