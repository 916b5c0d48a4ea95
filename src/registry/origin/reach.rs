//! How far other hosts may be asked that the registry leads to, by where the registry itself is.

use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{Client, Response};
use url::Url;

use super::Origin;
use crate::registry::answer::Answer;
use crate::registry::auth::is_listed;
use crate::registry::link;
use crate::registry::reach::{Network, Reach, judge};
use crate::registry::transport::{entry_for, is_proxied};
use crate::repository::Cause;

/// Where the registry has answered from.
#[derive(Debug, Default)]
pub(super) struct Seen {
    private: AtomicBool,
    public: AtomicBool,
}

impl Origin {
    /// Where an answer came from.
    pub(super) fn network_of(&self, response: &Response) -> Network {
        let url = response.url();
        if self.settings.public.iter().any(|host| url.authority() == host.as_str()) {
            return Network::Public;
        }
        let remote = response.remote_addr().filter(|_| !is_proxied(url));
        Network::of(url, remote)
    }

    /// Remembers where the registry itself answers from.
    pub(super) fn note_network(&self, response: &Response) {
        if link::same_origin(&self.base, response.url()) {
            match self.network_of(response) {
                Network::Private => self.seen.private.store(true, Ordering::Relaxed),
                Network::Public => self.seen.public.store(true, Ordering::Relaxed),
            }
        }
    }

    /// Where the registry is. One that answered from a public address once stays public: whoever
    /// owns its name can change what the name stands for. One that has not answered counts as
    /// public too.
    pub(super) fn network(&self) -> Network {
        let is_private =
            self.seen.private.load(Ordering::Relaxed) && !self.seen.public.load(Ordering::Relaxed);
        if is_private { Network::Private } else { Network::Public }
    }

    /// Whoever has given this answer has led uploads on. If that was a server on a public address, the
    /// registry does not lead into the private network from now on: it is not in its own hands.
    pub fn note_leader(&self, answer: &Answer) {
        if answer.strayed && answer.network == Network::Public {
            self.seen.public.store(true, Ordering::Relaxed);
        }
    }

    /// The client for an address elsewhere that a server in this network has led to.
    pub(super) fn foreign(&self, from: Network, url: &Url) -> Result<&Client, Cause> {
        let is_configured = entry_for(&self.settings.others, url).is_some()
            || is_listed(url, &self.settings.auth_realms);
        let reach = url.host().map_or(Reach::Nowhere, |host| judge(from, &host, is_configured));
        self.transport.foreign(url, reach)
    }
}
