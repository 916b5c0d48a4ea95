//! Which token servers may be trusted, as a pure rule. A realm is whatever the registry wrote into
//! its challenge: a hostile registry could name a server of the inner network, or its own.
//!
//! A realm is
//! - [`Standing::Own`] where its host is the registry's own,
//! - [`Standing::Listed`] where the configuration's `auth_realms` has it (scheme, host and port),
//! - [`Standing::SameSite`] where both names are registered by the same owner, as the Public Suffix
//!   List tells (`auth.docker.io` and `registry-1.docker.io`),
//! - [`Standing::Foreign`] otherwise: it never gets credentials, only anonymous requests.
//!
//! All but a listed one must be https unless the registry itself is spoken to over http. A realm
//! that is written as a private address must be the registry's own, or the registry's address must
//! be private as well. Names that lead to private addresses are checked at the time of the request.

use url::{Host, Url};

use crate::http::address::is_private_literal;

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

    /// Whether the addresses that its name leads to must be checked first.
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
    if is_listed(realm, allowed) {
        return Ok(Standing::Listed);
    }
    if realm.scheme() == "http" && registry.scheme() == "https" {
        return Err("that is not https");
    }
    if host == own {
        return Ok(Standing::Own);
    }
    if is_private_literal(&host) && !is_private_literal(&own) {
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

/// Whether one of the entries of `auth_realms` names the scheme, host and port of this address.
pub fn is_listed(url: &Url, allowed: &[String]) -> bool {
    allowed.iter().any(|entry| matches_entry(url, entry))
}

fn matches_entry(realm: &Url, entry: &str) -> bool {
    let entry = if entry.contains("://") { entry.to_owned() } else { format!("https://{entry}") };
    Url::parse(&entry).is_ok_and(|entry| entry.origin() == realm.origin())
}

/// Whether two names belong to the same owner, as far as names tell.
fn same_site(a: &str, b: &str) -> bool {
    site(a).is_some_and(|site_a| Some(site_a) == site(b))
}

/// The registered domain that a name belongs to.
fn site(name: &str) -> Option<&str> {
    let below = |shared: &&str| name.strip_suffix(*shared).is_some_and(|rest| rest.ends_with('.'));
    if name.ends_with('.') || SHARED.iter().any(below) {
        return None;
    }
    psl::domain_str(name)
}

/// Domains below which each name belongs to another customer, and which the Public Suffix List does
/// not have, or has only in part.
const SHARED: [&str; 11] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "azure.com",
    "azurecr.cn",
    "azurecr.io",
    "azurecr.us",
    "jfrog.io",
    "on.aws",
    "pkg.dev",
    "windows.net",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judged(realm: &str, registry: &str, allowed: &[&str]) -> Option<Standing> {
        let allowed: Vec<String> = allowed.iter().map(|text| (*text).to_owned()).collect();
        judge(&realm.parse().unwrap(), &registry.parse().unwrap(), &allowed).ok()
    }

    #[test]
    fn realms_are_judged() {
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
            ("https://evil.github.io/", "https://acme.github.io", Some(Foreign)),
            ("https://x.evil.run.app/", "https://y.acme.run.app", Some(Foreign)),
            ("https://evil.pkg.dev/", "https://acme.pkg.dev", Some(Foreign)),
            ("https://a.example.jp./", "https://b.example.jp", Some(Foreign)),
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
