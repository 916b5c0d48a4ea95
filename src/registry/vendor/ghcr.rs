//! GitHub Container Registry.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::Vendor;
use crate::oci::RegistryHost;
use crate::registry::dialect::Dialect;

#[derive(Debug)]
pub(super) struct Ghcr;

impl Dialect for Ghcr {
    /// `TOOMANYREQUESTS: retry-after: 880.092µs, allowed: 44000/minute`, without a header.
    fn wait(&self, _: &HeaderMap, message: &str, _: SystemTime) -> Option<Duration> {
        let (_, rest) = message.split_once("retry-after: ")?;
        go_duration(rest.split([',', ' ', '"']).next()?)
    }
}

impl Vendor for Ghcr {
    fn is_at(&self, host: &RegistryHost) -> bool {
        host.name() == "ghcr.io"
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &Ghcr
    }
}

/// A duration as Go prints it: `1m30.5s`, `880.092µs`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "µs" | "μs" | "us" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wait(message: &str) -> Option<Duration> {
        Ghcr.wait(&HeaderMap::new(), message, SystemTime::now())
    }

    #[test]
    fn waits_are_read_from_messages() {
        assert_eq!(
            wait("TOOMANYREQUESTS: retry-after: 880.092µs, allowed: 44000/minute"),
            Some(Duration::from_nanos(880_092))
        );
        assert_eq!(wait("retry-after: 1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(wait("no"), None);
    }

    proptest! {
        #[test]
        fn no_message_panics(message in "\\PC{0,30}") {
            let _ = wait(&message);
            let _ = wait(&format!("retry-after: {message}"));
        }
    }
}
