//! The products that people keep images in, each with its own tokens, API, limits and refusals.
//!
//! An emulator is a front with the product's rules, token endpoint and API, before a registry that
//! stores: a scripted one, or a real docker-registry. Hosted products (GHCR, Docker Hub, ACR) have
//! one listener for all of their hosts and are reached through `HTTP_PROXY`; products that people
//! host themselves (GitLab, Harbor, Quay, Gitea) have a port for each of their hosts.
//!
//! ```text
//! let gitlab = GitLab::start();
//! gitlab.people(|people| people.credential(Credential::new("alice", "glpat-1").scopes(&["api"])));
//! gitlab.load(&image, "acme/app", "v1");
//! …
//! assert_eq!(gitlab.traffic(Area::Api).len(), 1);
//! ```
//!
//! What a real product refuses is refused here too, in its words. What is not confirmed about a
//! product is a knob, or is left out.

pub mod acr;
mod asked;
mod backend;
mod forward;
mod front;
pub mod ghcr;
pub mod gitea;
pub mod gitlab;
pub mod harbor;
pub mod hub;
mod inventory;
mod pages;
mod people;
pub mod quay;
pub mod reply;
mod tokens;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::images::Image;
use super::scripted::{RuleBuilder, Scripted};
use super::traffic::{Kind, Seen, Traffic};
use super::wire::{Response, Server, Service};

pub use acr::Acr;
pub use asked::Asked;
pub use backend::Backend;
pub use front::{Area, Broken, Front};
pub use ghcr::Ghcr;
pub use gitea::Gitea;
pub use gitlab::GitLab;
pub use harbor::Harbor;
pub use hub::{Hub, Referrers};
pub use people::{Credential, People, Right};
pub use quay::Quay;

use front::Door;

/// The rules of a product.
#[async_trait]
pub trait Product: Send + Sync + Sized + 'static {
    /// What tests may change about it.
    type Knobs: Clone + Default + Send + Sync;

    /// The part of the product that a request addresses.
    fn area(asked: &Asked) -> Area;

    /// The answer to a request that no fault meets.
    async fn answer(front: &Front<Self>, asked: &Asked) -> Result<Response, Broken>;

    /// The answer to a request once the limit of its part of the product is reached.
    fn exhausted(front: &Front<Self>, asked: &Asked) -> Response;
}

/// A running product; it ends when dropped.
pub struct Emulator<P: Product> {
    front: Arc<Front<P>>,
    // Each ends when dropped.
    _doors: Vec<Server>,
}

impl<P: Product> Emulator<P> {
    /// Opens so many ports before a registry that stores.
    pub fn launch(doors: usize, backend: Backend) -> Self {
        let front = Arc::new(Front::new(backend));
        let door = |number| Server::start(Arc::new(Door::new(number, &front)) as Arc<dyn Service>);
        let doors: Vec<Server> = (0..doors).map(door).collect();
        front.opened(doors.iter().map(|door| door.address.to_string()).collect());
        Self { front, _doors: doors }
    }

    /// `host:port` of a port; 0 is the registry, or the proxy for all hosts.
    pub fn host(&self, door: usize) -> &str {
        self.front.host(door)
    }

    /// `http://host:port` of a port.
    pub fn url(&self, door: usize) -> String {
        format!("http://{}", self.host(door))
    }

    /// Changes how the product behaves from now on.
    pub fn knobs(&self, change: impl FnOnce(&mut P::Knobs)) -> &Self {
        change(&mut self.front.knobs.lock().unwrap());
        self
    }

    /// Changes who there is, and who may do what.
    pub fn people(&self, change: impl FnOnce(&mut People)) -> &Self {
        change(&mut self.front.people.lock().unwrap());
        self
    }

    /// What somebody may do with a repository now.
    pub fn people_right(&self, holder: &str, repository: &str) -> Option<Right> {
        self.front.people.lock().unwrap().right(Some(holder), repository)
    }

    /// The registry that stores: for faults and looks behind the product.
    pub fn registry(&self) -> &Scripted {
        self.front.backend.scripted()
    }

    /// Puts an image with its referrers and attached tags into the product, as pushed now.
    pub fn load(&self, image: &Image, repository: &str, tag: &str) -> &Self {
        image.load(self.registry(), repository, tag);
        self.front.inventory.lock().unwrap().load(image, repository, tag);
        self
    }

    /// As `load`, but pushed at this time.
    pub fn load_at(&self, image: &Image, repository: &str, tag: &str, at: Timestamp) -> &Self {
        self.front.inventory.lock().unwrap().set_clock(at);
        self.load(image, repository, tag)
    }

    /// Gives a repository `tags` indexes (`tag-000`…), each with `children` untagged manifests.
    pub fn load_many(&self, repository: &str, tags: usize, children: usize) -> &Self {
        for number in 0..tags {
            let index = inventory::bare_index(number, children);
            self.load(&index, repository, &format!("tag-{number:03}"));
        }
        self
    }

    /// Deletes a tag as the product's own pages do. A repository may be left without any.
    pub async fn untag(&self, repository: &str, tag: &str) {
        self.front.untag(repository, tag).await;
    }

    /// Ends every token that was issued so far.
    pub fn revoke_tokens(&self) {
        self.front.tokens.lock().unwrap().revoke_all();
    }

    /// What a tag points at in the registry that stores.
    pub fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        self.registry().tag(repository, tag)
    }

    /// Begins a rule for requests of this method (`*`: any) and kind to the product itself.
    pub fn on(&self, method: &str, kind: Kind) -> RuleBuilder {
        self.front.rules.on(method, Some(kind))
    }

    /// Answers every request to a part of the product like this, until `up`.
    pub fn down(&self, area: Area, answer: Response) -> &Self {
        self.front.down.lock().unwrap().insert(area, answer);
        self
    }

    pub fn up(&self, area: Area) -> &Self {
        self.front.down.lock().unwrap().remove(&area);
        self
    }

    /// Lets so many more requests into a part of the product; then it answers as at its limit.
    pub fn limit(&self, area: Area, requests: usize) -> &Self {
        self.front.budgets.lock().unwrap().insert(area, requests);
        self
    }

    /// While it lags, the product's API shows what there is now, whatever is pushed or deleted.
    pub fn lag(&self, lags: bool) -> &Self {
        self.front.inventory.lock().unwrap().freeze(lags);
        self
    }

    /// Every page of the API but the first begins so many entries late (and loses them), or
    /// early (and repeats them): what pushes and deletions do to a list that is being read.
    pub fn shift_pages(&self, entries: isize) -> &Self {
        *self.front.shift.lock().unwrap() = entries;
        self
    }

    /// Every request to a part of the product so far.
    pub fn traffic(&self, area: Area) -> Traffic {
        let seen = self.front.seen.lock().unwrap();
        Traffic(seen.iter().filter(|(of, _)| *of == area).map(|(_, seen)| seen.clone()).collect())
    }

    /// The requests to a part of the product as they came: `GET /path?query`.
    pub fn asked(&self, area: Area) -> Vec<String> {
        let line = |seen: &Seen| format!("{} {}", seen.method, target(&seen.path, &seen.query));
        self.traffic(area).iter().map(line).collect()
    }
}

fn target(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
