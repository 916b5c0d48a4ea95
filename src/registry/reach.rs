//! How far a registry may lead requests, by redirects and by the addresses of uploads. Pure.
//!
//! What a registry on a public address answers must not reach into the private network: whoever wrote
//! the answer cannot connect there, and we can. Registries in a private network lead to storage
//! beside them, and may. A server that stands between, which a redirect has led to, is judged in the
//! same way.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use crate::http::address::{is_private, is_private_literal};

/// Where somebody is who leads requests elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    Private,
    Public,
}

/// Where a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Anywhere,
    /// To public addresses. What the name stands for is checked when it is looked up.
    Public,
    Nowhere,
}

/// An address of a private network, which a registry outside of it has led to.
#[derive(Debug, thiserror::Error)]
#[error(
    "the registry leads to {0}, an address of a private network that the registry is not in. If it \
     may, give that host a [registry] entry"
)]
pub(super) struct LedInside(pub String);

impl Network {
    /// Where the server is that answered a request to `url` from this address. Behind a proxy that
    /// is not known, unless its address is written in the URL: `remote` is `None` then.
    pub fn of(url: &Url, remote: Option<SocketAddr>) -> Self {
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) | None => remote.map(|address| address.ip()),
        };
        if ip.is_some_and(is_private) { Self::Private } else { Self::Public }
    }
}

/// How far a server in this network may lead a request to `host`. `is_configured`: the configuration
/// names the host.
pub(super) fn judge(from: Network, host: &Host<&str>, is_configured: bool) -> Reach {
    if is_configured || from == Network::Private {
        Reach::Anywhere
    } else if is_private_literal(host) {
        Reach::Nowhere
    } else {
        Reach::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_in_a_network() {
        use Network::{Private, Public};
        let cases = [
            ("https://10.0.0.1:5000/", None, Private),
            ("https://[::ffff:10.0.0.1]/", None, Private),
            ("https://8.8.8.8/", Some("10.0.0.1:3128"), Public),
            ("https://registry.corp/", Some("10.0.0.1:443"), Private),
            ("https://registry.corp/", Some("[fd00::1]:443"), Private),
            ("https://ghcr.io/", Some("140.82.121.33:443"), Public),
            ("https://ghcr.io/", None, Public),
        ];
        for (url, remote, expected) in cases {
            let remote = remote.map(|address: &str| address.parse().unwrap());
            assert_eq!(Network::of(&url.parse().unwrap(), remote), expected, "{url} {remote:?}");
        }
    }

    #[test]
    fn who_may_lead_where() {
        use Network::{Private, Public};
        let cases = [
            (Public, "https://cdn.example/blob", false, Reach::Public),
            (Public, "https://8.8.8.8/", false, Reach::Public),
            (Public, "https://[2606:4700::1111]/", false, Reach::Public),
            (Public, "https://127.0.0.1/", false, Reach::Nowhere),
            (Public, "https://localhost/", false, Reach::Nowhere),
            (Public, "https://10.1.2.3/", false, Reach::Nowhere),
            (Public, "https://172.31.0.1/", false, Reach::Nowhere),
            (Public, "https://192.168.0.1/", false, Reach::Nowhere),
            (Public, "https://100.64.0.1/", false, Reach::Nowhere),
            (Public, "https://169.254.169.254/latest/meta-data", false, Reach::Nowhere),
            (Public, "https://0/", false, Reach::Nowhere),
            (Public, "https://2130706433/", false, Reach::Nowhere),
            (Public, "https://[::1]/", false, Reach::Nowhere),
            (Public, "https://[fe80::1]/", false, Reach::Nowhere),
            (Public, "https://[fd12::1]/", false, Reach::Nowhere),
            (Public, "https://[::ffff:192.168.0.1]/", false, Reach::Nowhere),
            (Public, "https://10.1.2.3/", true, Reach::Anywhere),
            (Public, "https://minio.corp:9000/", true, Reach::Anywhere),
            (Private, "https://10.1.2.3/", false, Reach::Anywhere),
            (Private, "https://minio.corp:9000/", false, Reach::Anywhere),
        ];
        for (from, url, is_configured, expected) in cases {
            let url: Url = url.parse().unwrap();
            let judged = judge(from, &url.host().unwrap(), is_configured);
            assert_eq!(judged, expected, "{from:?} {url} {is_configured}");
        }
    }
}
