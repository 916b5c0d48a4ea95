//! A registry in this process that does as it is told, and remembers what it was asked.
//!
//! Left alone it behaves like a current distribution. `quirks` changes its nature for good,
//! rules make single requests go wrong:
//!
//! ```text
//! let registry = Scripted::start();
//! registry.quirks(|quirks| quirks.referrers_api = false);
//! registry.on("GET", Kind::Blob).times(2).fail(Fault::status(503).header("retry-after", "1"));
//! …
//! assert_eq!(registry.traffic().count_status("GET", Kind::Blob, 503), 2);
//! registry.assert_tags_complete();
//! ```

mod fault;
mod generated;
mod handler;
mod quirks;
mod referrers;
mod store;
mod uploads;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;

use super::endpoint::{Credentials, Endpoint, Place};
use super::traffic::{Kind, Seen, Traffic};
use super::wire::{Head, Server, Service};

pub use fault::{Fault, Fired, RuleBuilder, Rules};
pub use handler::{Route, error, scope, wanted};
pub use quirks::{Login, Mount, Quirks};

use store::Store;

/// Everything that the server and its handle share.
struct Shared {
    store: Mutex<Store>,
    quirks: Mutex<Quirks>,
    rules: Rules,
    seen: Mutex<Vec<Seen>>,
    violations: Mutex<Vec<String>>,
    rate: Mutex<quirks::Rate>,
    started: Instant,
    /// Counts the releases of hanging requests.
    released: watch::Sender<u64>,
}

/// A scripted registry on a loopback port; it ends when dropped.
pub struct Scripted {
    shared: Arc<Shared>,
    server: Server,
    endpoint: Endpoint,
}

/// A place in the record.
#[derive(Debug, Clone, Copy)]
pub struct Mark(usize);

impl Scripted {
    /// An empty registry without faults.
    pub fn start() -> Self {
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            quirks: Mutex::default(),
            rules: Rules::default(),
            seen: Mutex::default(),
            violations: Mutex::default(),
            rate: Mutex::default(),
            started: Instant::now(),
            released: watch::Sender::new(0),
        });
        let server = Server::start(Arc::clone(&shared) as Arc<dyn Service>);
        let endpoint = Endpoint::plain(server.address.to_string());
        Self { shared, server, endpoint }
    }

    /// A registry whose repository has `count` tags (`tag-0000000`…), each its own manifest.
    /// They are computed when asked for, so a hundred thousand cost next to nothing.
    pub fn with_generated_tags(repository: &str, count: usize) -> Self {
        let registry = Self::start();
        registry.shared.store.lock().unwrap().generate(repository, count);
        registry
    }

    /// Changes how the registry behaves from now on.
    pub fn quirks(&self, change: impl FnOnce(&mut Quirks)) -> &Self {
        change(&mut self.shared.quirks.lock().unwrap());
        self
    }

    /// Lets nobody in without these credentials; the harness itself keeps its access.
    pub fn require(&mut self, login: Login) -> &Self {
        self.endpoint.credentials = match &login {
            Login::None => Credentials::None,
            Login::Basic { user, password } => {
                Credentials::Basic { user: user.clone(), password: password.clone() }
            }
            Login::Bearer { server, .. } => Credentials::Tokens(server.clone()),
        };
        self.quirks(|quirks| quirks.login = login)
    }

    /// Begins a rule for requests of this method (`*`: any) and kind.
    pub fn on(&self, method: &str, kind: Kind) -> RuleBuilder {
        self.shared.rules.on(method, Some(kind))
    }

    /// Begins a rule for every request.
    pub fn on_any(&self) -> RuleBuilder {
        self.shared.rules.on("*", None)
    }

    /// Ends every rule.
    pub fn clear_rules(&self) {
        self.shared.rules.clear();
    }

    /// Lets every request that hangs now be answered as usual.
    pub fn release(&self) {
        self.shared.released.send_modify(|count| *count += 1);
    }

    /// Every request so far.
    pub fn traffic(&self) -> Traffic {
        self.requests_since(Mark(0))
    }

    pub fn mark(&self) -> Mark {
        Mark(self.shared.seen.lock().unwrap().len())
    }

    pub fn requests_since(&self, mark: Mark) -> Traffic {
        Traffic(self.shared.seen.lock().unwrap()[mark.0..].to_vec())
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Stores a blob without a request.
    pub fn insert_blob(&self, repository: &str, digest: &str, bytes: Bytes) {
        self.shared.store.lock().unwrap().repository(repository).insert_blob(digest, bytes);
    }

    /// Stores a blob that is these bytes `times` over, without a request and without holding it.
    /// Gives its digest.
    pub fn insert_repeated_blob(&self, repository: &str, bytes: Bytes, times: usize) -> String {
        self.shared.store.lock().unwrap().repository(repository).insert_repeated(bytes, times)
    }

    /// Stores a manifest without a request, under its digest and perhaps a tag. Any bytes.
    pub fn insert_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: Bytes,
    ) -> String {
        let mut store = self.shared.store.lock().unwrap();
        store.repository(repository).insert_manifest(tag, media_type, bytes)
    }

    /// Makes a repository known, for `Quirks::create_first`.
    pub fn create_repository(&self, repository: &str) {
        self.shared.store.lock().unwrap().repository(repository).created = true;
    }

    pub fn has_blob(&self, repository: &str, digest: &str) -> bool {
        let store = self.shared.store.lock().unwrap();
        store.existing(repository).is_some_and(|there| there.blobs.contains_key(digest))
    }

    /// Gives a repository every blob of another, without a request.
    pub fn copy_blobs(&self, from: &str, to: &str) {
        let mut store = self.shared.store.lock().unwrap();
        let blobs = store.repository(from).blobs.clone();
        store.repository(to).blobs.extend(blobs);
    }

    /// Takes a tag away without a request.
    pub fn remove_tag(&self, repository: &str, tag: &str) {
        self.shared.store.lock().unwrap().repository(repository).tags.remove(tag);
    }

    /// Takes a manifest and its tags away without a request.
    pub fn remove_manifest(&self, repository: &str, digest: &str) {
        let mut store = self.shared.store.lock().unwrap();
        let repository = store.repository(repository);
        repository.tags.retain(|_, tagged| tagged != digest);
        repository.manifests.remove(digest);
    }

    /// What a tag points at.
    pub fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        self.shared.store.lock().unwrap().tag(repository, tag)
    }

    /// Uploads that were opened and neither committed nor cancelled.
    pub fn open_uploads(&self) -> usize {
        self.shared.store.lock().unwrap().open_uploads()
    }

    /// Blobs that a repository has.
    pub fn blob_count(&self, repository: &str) -> usize {
        self.shared.store.lock().unwrap().repository(repository).blobs.len()
    }

    /// Panics if ever a tag was put whose manifest, children or blobs were not all there.
    pub fn assert_tags_complete(&self) {
        let violations = self.shared.violations.lock().unwrap();
        assert!(violations.is_empty(), "tags put before their content:\n{}", violations.join("\n"));
    }

    /// Panics if a request brought credentials: for places that must never see any.
    pub fn assert_no_credentials(&self) {
        for seen in &self.shared.seen.lock().unwrap()[..] {
            for name in ["authorization", "cookie", "proxy-authorization"] {
                assert!(seen.header(name).is_none(), "{} {} had {name}", seen.method, seen.path);
            }
        }
    }
}

impl Place for Scripted {
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Shared {
    /// Records a request as it arrives; what becomes of it is filled in later.
    fn record(&self, head: &Head) -> usize {
        let mut seen = self.seen.lock().unwrap();
        seen.push(Seen {
            method: head.method.clone(),
            path: head.path.clone(),
            query: head.query.clone(),
            kind: Kind::of(&head.path),
            status: None,
            headers: head.headers.clone(),
            body_length: 0,
            answer_length: 0,
            at: self.started.elapsed(),
        });
        seen.len() - 1
    }

    fn amend(&self, index: usize, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap()[index]);
    }
}

/// A number that no other part of this process got.
fn serial() -> usize {
    static SERIAL: AtomicUsize = AtomicUsize::new(1);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}
