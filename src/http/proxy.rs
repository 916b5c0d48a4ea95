//! Which requests go through a proxy, as the environment says. Read as Go's
//! `golang.org/x/net/http/httpproxy` reads it, because people share one environment between tranship
//! and docker, skopeo or crane. Pure, but for [`of_environment`].

use std::fmt;
use std::net::IpAddr;
use std::sync::LazyLock;

use url::{Host, Url};

/// The proxies of the environment, and what goes around them.
#[derive(Debug, Default)]
pub struct Proxies {
    http: Option<Route>,
    https: Option<Route>,
    exceptions: Vec<Exception>,
}

/// A proxy, and the variable that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub url: Url,
    pub variable: String,
}

impl fmt::Display for Route {
    /// Without a user name and a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) =
            (self.url.host_str().unwrap_or_default(), self.url.port_or_known_default());
        write!(f, "{}://{host}", self.url.scheme())?;
        port.map_or(Ok(()), |port| write!(f, ":{port}"))?;
        write!(f, " (from {})", self.variable)
    }
}

/// One entry of `NO_PROXY`, perhaps for one port only.
#[derive(Debug, PartialEq, Eq)]
struct Exception {
    target: Target,
    port: Option<u16>,
}

#[derive(Debug, PartialEq, Eq)]
enum Target {
    Everything,
    Address(IpAddr),
    /// An address, and how many of its first bits count.
    Network(IpAddr, u32),
    /// Names below this one. `itself`: this name as well.
    Domain {
        name: String,
        itself: bool,
    },
}

/// The proxies that this process was started with.
pub fn of_environment() -> &'static Proxies {
    static PROXIES: LazyLock<Proxies> =
        LazyLock::new(|| Proxies::read(|name| std::env::var(name).ok()));
    &PROXIES
}

impl Proxies {
    /// `variable`: the value of an environment variable.
    ///
    /// Upper case comes before lower case, and an empty variable counts as not set. `ALL_PROXY`, which
    /// Go does not know, stands in for each of the others.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_lowercase()];
            let mut set = names.into_iter().filter_map(|name| Some((variable(&name)?, name)));
            set.find(|(text, _)| !text.is_empty())
        };
        let proxy = |name: &str| {
            let (text, variable) = text(name).or_else(|| text("ALL_PROXY"))?;
            Some(Route { url: parse(&text)?, variable })
        };
        // A client of a CGI program chooses this variable, by its header `Proxy`.
        let is_cgi = text("REQUEST_METHOD").is_some();
        Self {
            http: if is_cgi { None } else { proxy("HTTP_PROXY") },
            https: proxy("HTTPS_PROXY"),
            exceptions: exceptions(&text("NO_PROXY").map(|(text, _)| text).unwrap_or_default()),
        }
    }

    /// The proxy for requests to this address; `None`: they go there directly, as all requests to
    /// this machine do.
    pub fn of(&self, url: &Url) -> Option<&Url> {
        self.route(url).map(|route| &route.url)
    }

    /// The same with the variable that names it.
    pub fn route(&self, url: &Url) -> Option<&Route> {
        let proxy = match url.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => None,
        }?;
        let (host, port) = (url.host()?, url.port_or_known_default()?);
        let is_excepted = is_this_machine(&host)
            || self.exceptions.iter().any(|exception| exception.holds_for(&host, port));
        (!is_excepted).then_some(proxy)
    }
}

/// The address of a proxy; without a scheme, `http` is meant.
fn parse(text: &str) -> Option<Url> {
    let is_proxy = |url: &Url| {
        matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h")
    };
    let text = text.trim();
    let as_it_is = text.parse().ok().filter(is_proxy);
    as_it_is.or_else(|| format!("http://{text}").parse().ok())
}

fn address(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some((*ip).into()),
        Host::Ipv6(ip) => Some(IpAddr::V6(*ip).to_canonical()),
    }
}

fn is_this_machine(host: &Host<&str>) -> bool {
    *host == Host::Domain("localhost") || address(host).is_some_and(|ip| ip.is_loopback())
}

fn exceptions(list: &str) -> Vec<Exception> {
    list.split(',').filter_map(|entry| exception(&entry.trim().to_lowercase())).collect()
}

/// One entry: `*`, an address, a network as `10.0.0.0/8`, `name` (with all names below it), or
/// `.name` or `*.name` (only those below it). All but networks may end in `:port`.
fn exception(entry: &str) -> Option<Exception> {
    if entry == "*" {
        return Some(Exception { target: Target::Everything, port: None });
    }
    if let Some(target) = network(entry) {
        return Some(Exception { target, port: None });
    }
    let (host, port) = match entry.rsplit_once(':') {
        // More than one colon: an address of IPv6 without a port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, Some(port.parse().ok()?))
        }
        _ => (entry, None),
    };
    let host = host.trim_matches(['[', ']']);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(Exception { target: Target::Address(ip.to_canonical()), port });
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    let (name, itself) = host.strip_prefix('.').map_or((host, true), |name| (name, false));
    let Ok(Host::Domain(name)) = Host::parse(name) else { return None };
    Some(Exception { target: Target::Domain { name, itself }, port })
}

fn network(entry: &str) -> Option<Target> {
    let (ip, bits) = entry.split_once('/')?;
    let (ip, bits) = (ip.parse::<IpAddr>().ok()?, bits.parse().ok()?);
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    (bits <= longest).then_some(Target::Network(ip, bits))
}

impl Exception {
    fn holds_for(&self, host: &Host<&str>, port: u16) -> bool {
        if self.port.is_some_and(|wanted| wanted != port) {
            return false;
        }
        match (&self.target, host, address(host)) {
            (Target::Everything, ..) => true,
            (Target::Address(wanted), _, Some(ip)) => *wanted == ip,
            (Target::Network(network, bits), _, Some(ip)) => is_within(ip, *network, *bits),
            (Target::Domain { name, itself }, Host::Domain(host), _) => {
                let host = host.to_ascii_lowercase();
                match host.strip_suffix(name.as_str()) {
                    Some("") => *itself,
                    Some(rest) => rest.ends_with('.'),
                    None => false,
                }
            }
            _ => false,
        }
    }
}

fn is_within(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            (ip.to_bits() ^ network.to_bits()).leading_zeros() >= bits
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            (ip.to_bits() ^ network.to_bits()).leading_zeros() >= bits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::read(|name| {
            variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned())
        })
    }

    /// The cases of Go's own test, for requests by http.
    #[test]
    fn exceptions_hold_as_in_go() {
        let list = "foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, \
                    192.168.1.3:80, 10.0.0.0/30, 2001:db8::52:0:1, [2001:db8::52:0:2]:443, \
                    [2001:db8::52:0:3]:80, 2002:db8:a::45/64";
        let proxies = proxies(&[("HTTP_PROXY", "proxy.test:3128"), ("NO_PROXY", list)]);
        let cases = [
            ("localhost", false),
            ("127.0.0.1", false),
            ("127.0.0.2", false),
            ("[::1]", false),
            ("[::2]", true),
            ("192.168.1.1", false),
            ("192.168.1.2", true),
            ("192.168.1.3", false),
            ("192.168.1.4", true),
            ("10.0.0.2", false),
            ("10.0.0.4", true),
            ("[2001:db8::52:0:1]", false),
            ("[2001:db8::52:0:2]", true),
            ("[2001:db8::52:0:3]", false),
            ("[2002:db8:a::123]", false),
            ("[fe80::424b:c8be:1643:a1b6]", true),
            ("barbaz.net", true),
            ("www.barbaz.net", false),
            ("foobar.com", false),
            ("www.foobar.com", false),
            ("FOOBAR.com", false),
            ("foofoobar.com", true),
            ("baz.com", true),
            ("localhost.net", true),
            ("local.localhost", true),
            ("barbarbaz.net", true),
            ("wildcard.io", true),
            ("nested.wildcard.io", false),
            ("awildcard.io", true),
        ];
        for (host, proxied) in cases {
            let url: Url = format!("http://{host}/v2/").parse().unwrap();
            assert_eq!(proxies.of(&url).is_some(), proxied, "{host}");
        }
    }

    #[test]
    fn ports_and_odd_entries() {
        let cases = [
            ("registry.test:5000", "https://registry.test:5000/", false),
            ("registry.test:5000", "https://sub.registry.test:5000/", false),
            ("registry.test:5000", "https://registry.test/", true),
            ("registry.test:443", "https://registry.test/", false),
            (".test:5000", "https://registry.test:5000/", false),
            ("*.test:5000", "https://registry.test:5001/", true),
            ("registry.test,*", "https://elsewhere.example/", false),
            (" , ,registry.test", "https://registry.test/", false),
            ("bücher.test", "https://xn--bcher-kva.test/", false),
            ("[2001:db8::1]", "https://[2001:db8::1]:5000/", false),
            ("10.1.0.0/16", "https://[::ffff:10.1.2.3]/", false),
            (":443", "https://registry.test/", true),
            (".", "https://registry.test/", true),
            ("registry.test:x", "https://registry.test/", true),
            ("10.0.0.0/33", "https://10.0.0.1/", true),
            ("0.0.0.0/0", "https://10.0.0.1/", false),
        ];
        for (list, url, proxied) in cases {
            let proxies = proxies(&[("HTTPS_PROXY", "http://proxy.test"), ("NO_PROXY", list)]);
            let found = proxies.of(&url.parse().unwrap()).is_some();
            assert_eq!(found, proxied, "{url} with {list}");
        }
    }

    #[test]
    fn variables_are_read_in_order() {
        let of = |variables: &[(&str, &str)], url: &str| {
            proxies(variables).of(&url.parse().unwrap()).map(Url::to_string)
        };
        let (plain, tls) = ("http://r.test", "https://r.test");
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Variables<'_>, &str, Option<&str>); 12] = [
            (&[], plain, None),
            (&[("HTTP_PROXY", "http://a.test:1")], plain, Some("http://a.test:1/")),
            (&[("HTTP_PROXY", "http://a.test:1")], tls, None),
            (&[("http_proxy", "a.test:1")], plain, Some("http://a.test:1/")),
            (
                &[("HTTP_PROXY", "b.test:1"), ("http_proxy", "a.test:1")],
                plain,
                Some("http://b.test:1/"),
            ),
            (&[("HTTP_PROXY", ""), ("http_proxy", "a.test:1")], plain, Some("http://a.test:1/")),
            (&[("https_proxy", "socks5://a.test:1")], tls, Some("socks5://a.test:1")),
            (&[("ALL_PROXY", "http://a.test:1")], tls, Some("http://a.test:1/")),
            (&[("HTTPS_PROXY", "https://u:p@a.test")], tls, Some("https://u:p@a.test/")),
            (&[("NO_PROXY", ""), ("no_proxy", "r.test"), ("https_proxy", "a.test")], tls, None),
            (&[("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "a.test")], plain, None),
            (&[("REQUEST_METHOD", "GET"), ("HTTPS_PROXY", "a.test")], tls, Some("http://a.test/")),
        ];
        for (variables, url, expected) in cases {
            assert_eq!(of(variables, url).as_deref(), expected, "{variables:?} {url}");
        }
    }
}
