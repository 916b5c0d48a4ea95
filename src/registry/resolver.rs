//! Looks names up as the system does, with errors that can be told from those of connections.

use std::io;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::reach::LedInside;
use crate::http::address::is_private;

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotResolved(#[source] pub io::Error);

impl NotResolved {
    /// What the system says, without the words that all of its answers begin with.
    pub fn words(&self) -> String {
        let text = self.0.to_string();
        text.rsplit_once(": ").map_or(text.as_str(), |(_, why)| why).to_owned()
    }

    /// Whether the system could not ask, so that the name may be known another time. The standard
    /// library keeps nothing of the answer but its words: glibc's and musl's.
    pub fn is_temporary(&self) -> bool {
        let text = self.0.to_string();
        ["Temporary failure", "Try again"].iter().any(|words| text.contains(words))
    }
}

#[derive(Debug)]
pub(super) struct Resolver {
    /// No connection is made to a private address, whatever the name stands for.
    pub only_public: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let only_public = self.only_public;
        Box::pin(async move {
            // The port is none of the name's business: the connection has its own.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(NotResolved)?;
            let found: Vec<_> = found.collect();
            let found = if only_public { public(name.as_str(), found)? } else { found };
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The public ones of the addresses that a name stands for; an error if it has only private ones.
fn public(name: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, LedInside> {
    let (private, public): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| is_private(address.ip()));
    match private.first() {
        Some(address) if public.is_empty() => Err(LedInside(format!("{name} ({})", address.ip()))),
        _ => Ok(public),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_of_a_name_are_left_out() {
        let found = |ips: &[&str]| {
            let addresses = ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
            public("cdn.example", addresses)
                .map(|left| left.iter().map(|it| it.ip().to_string()).collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        assert_eq!(found(&["8.8.8.8", "2606:4700::1111"]).unwrap(), ["8.8.8.8", "2606:4700::1111"]);
        assert_eq!(found(&["127.0.0.1", "8.8.8.8", "::ffff:10.0.0.1"]).unwrap(), ["8.8.8.8"]);
        assert_eq!(found(&[]).unwrap(), [""; 0]);
        for inside in ["127.0.0.1", "::1", "10.0.0.1", "::ffff:127.0.0.1", "fe80::1", "fd00::1"] {
            let error = found(&[inside]).unwrap_err();
            assert!(error.contains(&format!("leads to cdn.example ({inside})")), "{error}");
        }
    }

    #[tokio::test]
    async fn names_of_this_machine_are_not_public() {
        let look_up = |only_public| Resolver { only_public }.resolve("localhost".parse().unwrap());
        assert!(look_up(false).await.is_ok());
        let error = look_up(true).await.err().unwrap();
        assert!(error.is::<LedInside>(), "{error}");
    }
}
