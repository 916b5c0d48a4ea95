//! What a failed exchange means, told by the types of its errors, and its words for people.

use std::error::Error;
use std::io;

use rustls::AlertDescription;
use url::Url;

use super::reach::LedInside;
use super::resolver::NotResolved;
use super::tls_words as tls;
use crate::http::describe;
use crate::http::error::{is_closed, layers};
use crate::http::proxy::{self, Route};
use crate::repository::{BodyAborted, Cause, ErrorKind};

/// Why there was no answer, or only a part of one.
pub(super) fn cause(error: &reqwest::Error) -> Cause {
    let led_inside = layers(error).find_map(|error| error.downcast_ref::<LedInside>());
    if let Some(error) = led_inside {
        return Cause::Protocol(error.to_string());
    }
    let proxy = error.url().and_then(|url| proxy::of_environment().route(url));
    let has_timed_out = error.is_connect() && error.is_timeout();
    let (kind, message) = told(error, error.url(), proxy, has_timed_out);
    Cause::Transport { kind, message }
}

/// What 407 means for a request to `url`: a proxy wants credentials.
pub(super) fn unwelcome(url: &Url) -> Cause {
    let proxy = proxy::of_environment().route(url);
    let proxy =
        proxy.map_or_else(|| "a proxy on the way".to_owned(), |it| format!("the proxy {it}"));
    Cause::Transport { kind: ErrorKind::Proxy, message: format!("{proxy} {UNWELCOME}") }
}

const UNWELCOME: &str = "wants a user name and a password, or does not accept those that it got";

/// What an error means for a request to `url`, through this proxy if there is one.
fn told(
    error: &(dyn Error + 'static),
    url: Option<&Url>,
    proxy: Option<&Route>,
    has_timed_out: bool,
) -> (ErrorKind, String) {
    let place = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        url.port_or_known_default().map_or(host.to_owned(), |port| format!("{host}:{port}"))
    };
    let server = url.map_or_else(|| "the server".to_owned(), place);
    if let Some(error) = layers(error).find_map(|error| error.downcast_ref::<rustls::Error>()) {
        return (kind_of_tls(error), tls::words(error, &server));
    }
    let kind = if has_timed_out { ErrorKind::Unreachable } else { kind(error) };
    let tunnel = layers(error).map(ToString::to_string).find(|text| text.starts_with(TUNNEL));
    if let Some(proxy) = proxy
        && (tunnel.is_some() || matches!(kind, ErrorKind::NameResolution | ErrorKind::Unreachable))
    {
        let why = match tunnel.as_deref().and_then(|text| text.strip_prefix(TUNNEL)) {
            Some("proxy authorization required") => UNWELCOME.to_owned(),
            Some("unsuccessful") => format!("refuses to connect to {server}"),
            Some("unexpected end of file") => format!("ended the connection to {server}"),
            _ => match unconnected(error, &place(&proxy.url), has_timed_out) {
                Some(why) => format!("cannot be used: {why}"),
                None => format!("cannot be used: {}", describe(error)),
            },
        };
        return (ErrorKind::Proxy, format!("the proxy {proxy} {why}"));
    }
    if url.is_some_and(|url| url.scheme() == "http") && layers(error).any(is_no_http) {
        return (ErrorKind::NeedsTls, format!("{server} does not speak http; it may speak https"));
    }
    if layers(error).any(|error| error.to_string() == HANDSHAKE_ENDED) {
        let words =
            format!("{server} ended the connection while TLS was set up; it may not speak TLS");
        return (kind, words);
    }
    let words = match kind {
        ErrorKind::NameResolution | ErrorKind::Unreachable => {
            unconnected(error, &server, has_timed_out)
        }
        _ => None,
    };
    (kind, words.unwrap_or_else(|| describe(error)))
}

/// What the TLS library says if the server ended the connection.
const HANDSHAKE_ENDED: &str = "tls handshake eof";

/// How the errors begin that are about a proxy.
const TUNNEL: &str = "tunnel error: ";

fn is_no_http(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

/// Why there is no connection to this host and port.
fn unconnected(error: &(dyn Error + 'static), server: &str, has_timed_out: bool) -> Option<String> {
    if let Some(error) = layers(error).find_map(|error| error.downcast_ref::<NotResolved>()) {
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        return Some(format!("the name {host} cannot be resolved: {}", error.words()));
    }
    if has_timed_out {
        return Some(format!("{server} does not answer: no connection within the time limit"));
    }
    match unreachable(error)? {
        io::ErrorKind::ConnectionRefused => {
            Some(format!("nothing accepts connections at {server} (connection refused)"))
        }
        kind => Some(format!("{server} cannot be reached: {kind}")),
    }
}

fn unreachable(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    use io::ErrorKind::*;
    let kinds = layers(error).filter_map(|error| Some(error.downcast_ref::<io::Error>()?.kind()));
    kinds.into_iter().find(|kind| {
        matches!(
            kind,
            ConnectionRefused
                | HostUnreachable
                | NetworkUnreachable
                | NetworkDown
                | AddrNotAvailable
        )
    })
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
        if let Some(error) = error.downcast_ref::<NotResolved>() {
            // Another time, the name may be known.
            let may_be_known = error.is_temporary();
            return Some(match may_be_known {
                true => ErrorKind::Unreachable,
                false => ErrorKind::NameResolution,
            });
        }
        is_closed(error).then_some(ErrorKind::Closed)
    };
    let found = layers(error).find_map(of_layer);
    found
        .or_else(|| unreachable(error).map(|_| ErrorKind::Unreachable))
        .unwrap_or(ErrorKind::Connection)
}

fn kind_of_tls(error: &rustls::Error) -> ErrorKind {
    match error {
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate,
        ) => ErrorKind::ClientCertificate,
        rustls::Error::InvalidCertificate(error) if tls::is_about_name(error) => {
            ErrorKind::CertificateName
        }
        rustls::Error::InvalidCertificate(error) if tls::is_about_date(error) => {
            ErrorKind::CertificateDate
        }
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            ErrorKind::UntrustedCertificate
        }
        rustls::Error::InvalidMessage(_) => ErrorKind::NotTls,
        _ => ErrorKind::Connection,
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            kind(&Outer(io::Error::other(InvalidCertificate(CertificateError::Expired)))),
            CertificateDate
        );
        assert_eq!(
            kind(&Outer(io::Error::other(InvalidCertificate(CertificateError::NotValidForName)))),
            CertificateName
        );
        let closed = Outer(io::ErrorKind::BrokenPipe.into());
        assert_eq!(kind(&closed), Closed);
        assert_eq!(describe(&closed), "the server closed the connection without an answer");
        let refused = Outer(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(kind(&refused), Unreachable);
        assert_eq!(kind(&Outer(io::ErrorKind::ConnectionReset.into())), Connection);
        let resolved =
            |why: &str| Outer(io::Error::other(NotResolved(io::Error::other(why.to_owned()))));
        assert_eq!(kind(&resolved("no such host")), NameResolution);
        assert_eq!(kind(&resolved("lookup: Temporary failure in name resolution")), Unreachable);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("tunnel error: {0}")]
    struct Tunnel(&'static str);

    #[test]
    fn messages_name_the_server_or_the_proxy() {
        use ErrorKind::*;
        let url: Url = "https://r.example/v2/".parse().unwrap();
        let route = Route {
            url: "http://u:s3cret@proxy.example:3128".parse().unwrap(),
            variable: "HTTPS_PROXY".to_owned(),
        };
        let refused = || Outer(io::ErrorKind::ConnectionRefused.into());
        let unresolved = || {
            let why = "failed to lookup address information: Name or service not known";
            Outer(io::Error::other(NotResolved(io::Error::other(why))))
        };
        let tunnel = |why| Outer(io::Error::other(Tunnel(why)));
        let cases = [
            (
                refused(),
                None,
                Unreachable,
                "nothing accepts connections at r.example:443 (connection refused)",
            ),
            (
                Outer(io::ErrorKind::HostUnreachable.into()),
                None,
                Unreachable,
                "r.example:443 cannot be reached: host unreachable",
            ),
            (
                unresolved(),
                None,
                NameResolution,
                "the name r.example cannot be resolved: Name or service not known",
            ),
            (
                refused(),
                Some(&route),
                Proxy,
                "the proxy http://proxy.example:3128 (from HTTPS_PROXY) cannot be used: nothing accepts connections at proxy.example:3128 (connection refused)",
            ),
            (
                unresolved(),
                Some(&route),
                Proxy,
                "the proxy http://proxy.example:3128 (from HTTPS_PROXY) cannot be used: the name proxy.example cannot be resolved: Name or service not known",
            ),
            (
                tunnel("proxy authorization required"),
                Some(&route),
                Proxy,
                "the proxy http://proxy.example:3128 (from HTTPS_PROXY) wants a user name and a password, or does not accept those that it got",
            ),
            (
                tunnel("unsuccessful"),
                Some(&route),
                Proxy,
                "the proxy http://proxy.example:3128 (from HTTPS_PROXY) refuses to connect to r.example:443",
            ),
            (
                Outer(io::Error::other(rustls::Error::InvalidMessage(
                    rustls::InvalidMessage::InvalidContentType,
                ))),
                Some(&route),
                NotTls,
                "r.example:443 does not speak TLS; it may speak plain http",
            ),
        ];
        for (error, proxy, kind, words) in cases {
            assert_eq!(told(&error, Some(&url), proxy, false), (kind, words.to_owned()));
        }
        let late = Outer(io::ErrorKind::TimedOut.into());
        let words = "r.example:443 does not answer: no connection within the time limit".to_owned();
        assert_eq!(told(&late, Some(&url), None, true), (Unreachable, words));
    }
}
