//! Which token servers may be trusted, as a pure rule. A realm is whatever the registry wrote into
//! its challenge: a hostile registry could name a server of the inner network, or its own.
//!
//! A realm is
//! - [`Standing::Own`] where its host is the registry's own,
//! - [`Standing::Listed`] where the configuration's `auth_realms` has it (scheme, host and port),
//! - [`Standing::SameSite`] where both hosts end in the same two labels (`auth.docker.io` and
//!   `registry-1.docker.io`); three where the last two are open for registration by everybody
//!   (`co.uk`), never for the shared domains of cloud providers,
//! - [`Standing::Foreign`] otherwise: it never gets credentials, only anonymous requests.
//!
//! All but a listed one must be https unless the registry itself is spoken to over http. A realm
//! that is written as a private address must be the registry's own, or that be private as well.
//! Names that lead to private addresses are for the caller to check, at the time of the request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// How far a realm is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Own,
    Listed,
    SameSite,
    Foreign,
}

impl Standing {
    /// Whether it may be sent credentials.
    pub fn trusted(self) -> bool {
        self != Self::Foreign
    }

    /// Whether the addresses that its name leads to need a look first.
    pub fn suspect(self) -> bool {
        matches!(self, Self::SameSite | Self::Foreign)
    }
}

/// Judges `realm` for a registry that is spoken to at `registry`. `allowed` are entries of
/// `auth_realms`: `host`, `host:port` (https is meant) or `scheme://host[:port]`.
///
/// The error says why nothing at all is sent there.
pub fn judge(realm: &Url, registry: &Url, allowed: &[String]) -> Result<Standing, &'static str> {
    if !matches!(realm.scheme(), "http" | "https") {
        return Err("only https addresses can be token servers");
    }
    let (Some(host), Some(own)) = (realm.host(), registry.host()) else {
        return Err("it has no host");
    };
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err("an address with a user name in it is not followed");
    }
    if allowed.iter().any(|entry| matches_entry(realm, entry)) {
        return Ok(Standing::Listed);
    }
    if realm.scheme() == "http" && registry.scheme() == "https" {
        return Err("that is not https");
    }
    if host == own {
        return Ok(Standing::Own);
    }
    if private_literal(&host) && !private_literal(&own) {
        return Err("that is an address of a private network and the registry is not");
    }
    match (host, own) {
        (Host::Domain(host), Host::Domain(own)) if same_site(host, own) => Ok(Standing::SameSite),
        _ if realm.scheme() == "http" => Err("that is neither https nor the registry's own host"),
        _ => Ok(Standing::Foreign),
    }
}

/// `scheme://host[:port]`, as `auth_realms` wants it.
pub fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn matches_entry(realm: &Url, entry: &str) -> bool {
    let entry = if entry.contains("://") { entry.to_owned() } else { format!("https://{entry}") };
    Url::parse(&entry).is_ok_and(|entry| entry.origin() == realm.origin())
}

/// Whether two names belong to the same owner, as far as names tell.
fn same_site(a: &str, b: &str) -> bool {
    site(a).is_some_and(|site_a| Some(site_a) == site(b))
}

fn site(name: &str) -> Option<&str> {
    if SHARED.iter().any(|shared| name.strip_suffix(shared).is_some_and(|r| r.ends_with('.'))) {
        return None;
    }
    let mut labels = name.rsplit('.');
    let (top, second) = (labels.next()?, labels.next()?);
    let labels = if top.len() == 2 && REGISTRABLE.contains(&second) { 3 } else { 2 };
    let start = name.rmatch_indices('.').nth(labels - 1).map_or(0, |(dot, _)| dot + 1);
    let site = &name[start..];
    // Fewer labels than needed: the name is itself open to registration, like `co.uk`.
    (site.split('.').count() == labels && !site.split('.').any(str::is_empty)).then_some(site)
}

/// Second labels under which, in countries' domains, everybody registers names.
const REGISTRABLE: [&str; 28] = [
    "ac", "asn", "co", "com", "ed", "edu", "firm", "gen", "go", "gob", "gouv", "gov", "govt", "gv",
    "id", "ind", "ltd", "me", "mil", "ne", "net", "nhs", "nom", "or", "org", "plc", "sch", "web",
];

/// Domains below which each name belongs to another customer.
const SHARED: [&str; 23] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "appspot.com",
    "azure.com",
    "azurecr.cn",
    "azurecr.io",
    "azurecr.us",
    "azurewebsites.net",
    "cloudapp.net",
    "cloudfront.net",
    "duckdns.org",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "jfrog.io",
    "ngrok.io",
    "on.aws",
    "onrender.com",
    "pkg.dev",
    "run.app",
    "windows.net",
];

fn private_literal(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => is_private(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => is_private(IpAddr::V6(*ip)),
    }
}

/// Whether an address is not one of the public internet: loopback, private, link-local (where
/// clouds keep their metadata servers), shared, multicast, unspecified.
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => private_v4(ip),
        IpAddr::V6(ip) => embedded_v4(ip).map_or_else(|| private_v6(ip), private_v4),
    }
}

fn private_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
}

fn private_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
}

/// The v4 address in a v4-mapped one or behind a NAT64 gateway.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = ip.segments();
    let nat64 = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    let [[w, x], [y, z]] = [high.to_be_bytes(), low.to_be_bytes()];
    ip.to_ipv4_mapped().or_else(|| nat64.then(|| Ipv4Addr::new(w, x, y, z)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judged(realm: &str, registry: &str, allowed: &[&str]) -> Option<Standing> {
        let allowed: Vec<String> = allowed.iter().map(|text| (*text).to_owned()).collect();
        judge(&realm.parse().unwrap(), &registry.parse().unwrap(), &allowed).ok()
    }

    #[test]
    fn who_is_trusted() {
        use Standing::{Foreign, Listed, Own, SameSite};
        let cases = [
            ("https://ghcr.io/token", "https://ghcr.io", Some(Own)),
            ("https://gitlab.example.com/jwt/auth", "https://gitlab.example.com:5050", Some(Own)),
            ("https://auth.docker.io/token", "https://registry-1.docker.io", Some(SameSite)),
            ("https://gitlab.com/jwt/auth", "https://registry.gitlab.com", Some(SameSite)),
            ("https://a.corp.co.uk/", "https://r.corp.co.uk", Some(SameSite)),
            ("https://evil.co.uk/", "https://r.corp.co.uk", Some(Foreign)),
            ("https://co.uk/", "https://corp.co.uk", Some(Foreign)),
            ("https://evil.azurecr.io/", "https://acme.azurecr.io", Some(Foreign)),
            ("https://acme.azurecr.io/oauth2/token", "https://acme.azurecr.io", Some(Own)),
            ("https://evilghcr.io/", "https://ghcr.io", Some(Foreign)),
            ("https://ghcr.io.evil.com/", "https://ghcr.io", Some(Foreign)),
            ("https://auth.docker.io/token", "https://evil.example.com", Some(Foreign)),
            ("https://com/", "https://evil.com", Some(Foreign)),
            // Never down to http, nor up into the private network.
            ("http://ghcr.io/token", "https://ghcr.io", None),
            ("http://auth.local.test/", "http://registry.local.test", Some(SameSite)),
            ("http://elsewhere.test/", "http://registry.local.test", None),
            ("https://elsewhere.test/", "http://registry.local.test", Some(Foreign)),
            ("https://169.254.169.254/latest", "https://ghcr.io", None),
            ("https://[::ffff:10.0.0.1]/", "https://ghcr.io", None),
            ("https://localhost/", "https://ghcr.io", None),
            ("https://10.0.0.2/", "https://10.0.0.1:5000", Some(Foreign)),
            ("http://127.0.0.1:5001/", "http://127.0.0.1:5000", Some(Own)),
            ("https://8.8.8.8/", "https://ghcr.io", Some(Foreign)),
            ("ftp://ghcr.io/", "https://ghcr.io", None),
            ("https://user@ghcr.io/", "https://ghcr.io", None),
        ];
        for (realm, registry, expected) in cases {
            assert_eq!(judged(realm, registry, &[]), expected, "{realm} for {registry}");
        }
        let listed = [
            ("https://login.acme.com/t", "login.acme.com", Some(Listed)),
            ("https://login.acme.com:8443/t", "login.acme.com:8443", Some(Listed)),
            ("https://login.acme.com:8443/t", "login.acme.com", Some(Foreign)),
            ("https://login.acme.com.evil.io/t", "login.acme.com", Some(Foreign)),
            ("http://login.acme.com/t", "login.acme.com", None),
            ("http://login.acme.com/t", "http://login.acme.com", Some(Listed)),
            ("https://10.0.0.1/t", "10.0.0.1", Some(Listed)),
        ];
        for (realm, entry, expected) in listed {
            assert_eq!(judged(realm, "https://ghcr.io", &[entry]), expected, "{realm} by {entry}");
        }
    }

    #[test]
    fn private_addresses_are_known() {
        let private = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "ff02::1",
        ];
        for ip in private {
            assert!(is_private(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::808:808"] {
            assert!(!is_private(ip.parse().unwrap()), "{ip}");
        }
    }

    proptest! {
        /// However the realm is written: what is trusted ends in the registry's own site.
        #[test]
        fn only_names_of_the_same_site_are_trusted(prefix in "([a-z0-9-]{1,8}\\.){0,3}", name in "[a-z]{1,8}\\.[a-z]{2,3}") {
            let realm = format!("https://{prefix}{name}/");
            if let Ok(realm) = realm.parse::<Url>() {
                let standing = judge(&realm, &"https://r.acme.example".parse().unwrap(), &[]);
                prop_assert!(standing != Ok(Standing::Own) && standing != Ok(Standing::SameSite));
            }
        }
    }
}
