//! What is wrong with a TLS connection, in words for people.

use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

use CertificateError::{
    Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
    NotValidYetContext, Other, UnknownIssuer,
};

pub(super) fn is_about_name(error: &CertificateError) -> bool {
    matches!(error, NotValidForName | NotValidForNameContext { .. })
}

pub(super) fn is_about_date(error: &CertificateError) -> bool {
    matches!(error, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

/// What is wrong with the connection to this host and port.
pub(super) fn words(error: &Error, server: &str) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error, server),
        Error::NoCertificatesPresented => format!("{server} shows no certificate"),
        Error::InvalidMessage(_) => {
            format!("{server} does not speak TLS; it may speak plain http")
        }
        Error::AlertReceived(_) => format!("{server} refuses the TLS connection: {error}"),
        _ => format!("no TLS connection to {server}: {error}"),
    }
}

fn certificate(error: &CertificateError, server: &str) -> String {
    match error {
        UnknownIssuer => {
            format!("the certificate of {server} is from an authority that is not trusted here")
        }
        Other(other) if is_self_signed(other) => {
            format!("the certificate of {server} is self-signed, and not trusted here")
        }
        ExpiredContext { time, not_after } => format!(
            "the certificate of {server} expired at {}, and it is {} now",
            date(*not_after),
            date(*time)
        ),
        Expired => format!("the certificate of {server} has expired"),
        NotValidYetContext { time, not_before } => format!(
            "the certificate of {server} is not valid before {}, and it is {} now by the clock of this machine",
            date(*not_before),
            date(*time)
        ),
        NotValidYet => format!("the certificate of {server} is not valid yet"),
        NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            format!("the certificate of {server} is for another host: {}", names.join(", "))
        }
        NotValidForName | NotValidForNameContext { .. } => {
            format!("the certificate of {server} is for no host of this name")
        }
        _ => format!(
            "the certificate of {server} is not valid: {}",
            Error::InvalidCertificate(error.clone())
        ),
    }
}

fn is_self_signed(other: &rustls::OtherError) -> bool {
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// A time as people write it, to the minute.
fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(
        |_| format!("second {seconds}"),
        |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

/// The name in `DnsName("r.example")` or `IpAddress(127.0.0.1)`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_problem_has_words_of_its_own() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let self_signed = rustls::OtherError(std::sync::Arc::new(webpki::Error::CaUsedAsEndEntity));
        let cases = [
            (UnknownIssuer, "is from an authority that is not trusted here"),
            (Other(self_signed), "is self-signed, and not trusted here"),
            (
                ExpiredContext { time: at(86_400), not_after: at(0) },
                "expired at 1970-01-01 00:00 UTC, and it is 1970-01-02 00:00 UTC now",
            ),
            (
                NotValidYetContext { time: at(0), not_before: at(86_400) },
                "is not valid before 1970-01-02 00:00 UTC, and it is 1970-01-01 00:00 UTC now by the clock of this machine",
            ),
            (
                NotValidForNameContext {
                    expected: "r.example".try_into().unwrap(),
                    presented: vec!["DnsName(\"a.example\")".into(), "IpAddress(127.0.0.1)".into()],
                },
                "is for another host: a.example, 127.0.0.1",
            ),
            (CertificateError::Revoked, "is not valid: invalid peer certificate: Revoked"),
        ];
        for (error, expected) in cases {
            let words = words(&Error::InvalidCertificate(error), "r.example:443");
            assert_eq!(words, format!("the certificate of r.example:443 {expected}"));
        }
    }
}
