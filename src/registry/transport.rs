//! The HTTP clients of one registry: TLS, proxies, time-outs, and nothing done behind our back.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Client, ClientBuilder, Identity};

use url::Url;

use super::certificates::{Pem, Tls, unusable};
use super::listed_certificates;
use super::reach::{LedInside, Reach};
use super::resolver::Resolver;
use crate::http::{client, describe, proxy};
use crate::repository::Cause;

/// Bounds on every wait. There is no total time-out on a blob, whatever its size.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub connect: Duration,
    /// Without a single byte moving, in either direction.
    pub idle: Duration,
}

const CONNECT: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(60);

/// At most so long for the answer after the last byte of a blob, however large: the registry hashes
/// and stores it first.
const COMMIT: Duration = Duration::from_secs(900);

/// As slowly as a registry may store a blob that it has received, in bytes a second.
const SLOWEST_COMMIT: u64 = 2 << 20;

impl Timeouts {
    /// `idle`: what the configuration says, if anything.
    pub fn new(idle: Option<Duration>) -> Self {
        let idle = idle.unwrap_or(IDLE);
        Self { connect: idle.min(CONNECT), idle }
    }

    /// For the answer after the last byte of a blob of this length.
    pub fn commit_of(&self, length: u64) -> Duration {
        let storing = Duration::from_secs(length / SLOWEST_COMMIT);
        self.idle + storing.min(COMMIT.saturating_sub(self.idle))
    }
}

#[derive(Debug)]
pub struct Transport {
    /// Manifests, lists, tokens: HTTP/2 where offered.
    api: Client,
    /// Blobs, each on its own connection: all streams of an HTTP/2 connection share one flow
    /// control window, which caps the bandwidth of a long network.
    blobs: Client,
    /// For redirects to other hosts: without the client certificate, and with the system's roots
    /// also where the registry itself speaks plain http. Built when first needed.
    foreign: OnceLock<Client>,
    /// The same, which connects to public addresses only. It has connections of its own.
    outside: OnceLock<Client>,
    timeouts: Timeouts,
}

impl Transport {
    pub fn new(tls: &Tls, timeouts: Timeouts) -> Result<Self, Cause> {
        let api = if tls.http {
            // No TLS will be spoken, so the system's certificates are not read and parsed.
            basic(timeouts).http1_only().tls_certs_only([])
        } else {
            secured(basic(timeouts), tls, true)?
        };
        let api = build(api)?;
        let blobs = if tls.http {
            api.clone()
        } else {
            build(secured(basic(timeouts).http1_only(), tls, false)?)?
        };
        Ok(Self { api, blobs, foreign: OnceLock::new(), outside: OnceLock::new(), timeouts })
    }

    pub fn api(&self) -> &Client {
        &self.api
    }

    pub fn blobs(&self) -> &Client {
        &self.blobs
    }

    /// The client for a redirect away from the registry.
    pub(super) fn foreign(&self, url: &Url, reach: Reach) -> Result<&Client, Cause> {
        // A proxy resolves names by itself, and may be in the private network.
        let only_public = reach == Reach::Public && !is_proxied(url);
        let client = match reach {
            Reach::Nowhere => return Err(led_inside(url)),
            Reach::Public | Reach::Anywhere if only_public => &self.outside,
            Reach::Public | Reach::Anywhere => &self.foreign,
        };
        if let Some(client) = client.get() {
            return Ok(client);
        }
        let resolver = Arc::new(Resolver { only_public });
        let built = build(basic(self.timeouts).http1_only().dns_resolver(resolver))?;
        Ok(client.get_or_init(|| built))
    }
}

/// The clients for the token servers of one registry. What is configured for the registry's own
/// connections, such as a client certificate or not to check its certificate, is for nobody else: a
/// token server on another host has a `[registry]` entry of its own if it needs one. An authority of
/// the registry's own is trusted there too.
#[derive(Debug)]
pub struct TokenClients {
    own: Client,
    own_host: Option<String>,
    /// `[registry]` entries, by host, with its port if the entry has one.
    configured: Vec<(String, Tls)>,
    ca: Option<Pem>,
    timeouts: Timeouts,
    /// Built when they are first needed, by host and port.
    others: Mutex<HashMap<String, Client>>,
}

impl TokenClients {
    pub fn new(
        transport: &Transport,
        base: &Url,
        tls: &Tls,
        configured: Vec<(String, Tls)>,
    ) -> Self {
        Self {
            own: transport.api.clone(),
            own_host: base.host_str().map(str::to_owned),
            configured,
            ca: tls.ca.clone(),
            timeouts: transport.timeouts,
            others: Mutex::default(),
        }
    }

    /// Sends everything by one client.
    #[cfg(test)]
    pub fn single(client: Client) -> Self {
        Self {
            own: client,
            own_host: None,
            configured: Vec::new(),
            ca: None,
            timeouts: Timeouts::new(None),
            others: Mutex::default(),
        }
    }

    /// The client for this token server.
    pub fn of(&self, server: &Url) -> Result<Client, Cause> {
        let host = server.host_str().unwrap_or_default();
        if self.own_host.as_deref().is_none_or(|own| own == host) {
            return Ok(self.own.clone());
        }
        let with_port = format!("{host}:{}", server.port_or_known_default().unwrap_or_default());
        let mut others = self.others.lock();
        if let Some(client) = others.get(&with_port) {
            return Ok(client.clone());
        }
        let tls = match entry_for(&self.configured, server) {
            Some(tls) => tls.clone(),
            None => Tls { ca: self.ca.clone(), ..Tls::default() },
        };
        let client = build(secured(basic(self.timeouts), &tls, true)?)?;
        others.insert(with_port, client.clone());
        Ok(client)
    }
}

/// The settings of the `[registry]` entry that names the host of this address.
pub(super) fn entry_for<'a>(entries: &'a [(String, Tls)], url: &Url) -> Option<&'a Tls> {
    let host = url.host_str()?;
    let with_port = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    entries.iter().find(|(it, _)| *it == host || *it == with_port).map(|(_, tls)| tls)
}

/// Whether requests to this address go through a proxy.
pub(super) fn is_proxied(url: &Url) -> bool {
    proxy::of_environment().of(url).is_some()
}

fn led_inside(url: &Url) -> Cause {
    Cause::Protocol(LedInside(url.host_str().unwrap_or_default().to_owned()).to_string())
}

fn basic(timeouts: Timeouts) -> ClientBuilder {
    client::builder()
        .dns_resolver(Arc::new(Resolver { only_public: false }))
        .connect_timeout(timeouts.connect)
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_keepalive(Duration::from_secs(30))
}

/// `http2`: the builder does not exclude it.
fn secured(mut builder: ClientBuilder, tls: &Tls, http2: bool) -> Result<ClientBuilder, Cause> {
    if let Some(ca) = &tls.ca
        && !tls.no_verify
    {
        let config = listed_certificates::config(ca, tls.identity.as_ref(), http2)?;
        return Ok(builder.tls_backend_preconfigured(config));
    }
    if let Some(pem) = &tls.identity {
        let identity = Identity::from_pem(&pem.text)
            .map_err(|error| unusable(&pem.origin, describe(&error)))?;
        builder = builder.identity(identity);
    }
    Ok(builder.tls_danger_accept_invalid_certs(tls.no_verify))
}

fn build(builder: ClientBuilder) -> Result<Client, Cause> {
    builder.build().map_err(|error| {
        Cause::connection(format!("the HTTP client cannot be set up: {}", describe(&error)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a name stands for is checked on the way to it.
    #[tokio::test]
    async fn names_that_lead_inside_are_not_followed() {
        let transport = Transport::new(&Tls::default(), Timeouts::new(None)).unwrap();
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url =
            format!("http://localhost:{}/", server.local_addr().unwrap().port()).parse().unwrap();
        let client = transport.foreign(&url, Reach::Public).unwrap();
        let error = client.get(url.clone()).send().await.unwrap_err();
        let cause = super::super::failure::cause(&error);
        assert!(matches!(&cause, Cause::Protocol(_)), "{cause:?}");
        assert!(cause.to_string().contains("leads to localhost (127.0.0.1)"), "{cause}");
        let client = transport.foreign(&url, Reach::Anywhere).unwrap().clone();
        let asked = tokio::spawn(client.get(url).send());
        server.accept().await.unwrap();
        asked.abort();
    }

    #[test]
    fn large_blobs_may_take_longer_to_store() {
        let timeouts = Timeouts::new(None);
        let seconds = |length| timeouts.commit_of(length).as_secs();
        assert_eq!([seconds(0), seconds(1000), seconds(200 << 20)], [60, 60, 160]);
        assert_eq!(seconds(1 << 40), 900);
        let patient = Timeouts::new(Some(Duration::from_secs(2000)));
        assert_eq!(patient.commit_of(1 << 40).as_secs(), 2000);
    }
}
