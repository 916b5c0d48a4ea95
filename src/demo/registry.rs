//! A registry inside this process: layouts behind a real HTTP server that counts requests.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use http::Method;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::world::DemoError;
use crate::layout::Layouts;
use crate::server::{self, Bounds, Options, RequestLine};

/// A registry that runs until it is dropped.
pub(super) struct Registry {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<RequestLine>>>,
    _running: DropGuard,
}

/// The requests during some time.
pub(super) struct Requests(Vec<RequestLine>);

impl Registry {
    /// Serves a folder of layouts on a free port of this machine.
    pub async fn start(folder: &Path, writable: bool) -> Result<Self, DemoError> {
        let layouts = Layouts::open_or_create(folder).await?;
        let seen: Arc<Mutex<Vec<RequestLine>>> = Arc::default();
        let noted = Arc::clone(&seen);
        let on_request: server::Observer = Arc::new(move |line| {
            noted.lock().push(line.clone());
        });
        let options = Options { writable, on_request: Some(on_request), ..Options::default() };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(server::serve(
            listener,
            server::registry(layouts, options),
            Bounds::default(),
            stopped,
        ));
        Ok(Self { address, seen, _running: stop.drop_guard() })
    }

    /// The requests since this was last asked.
    pub fn requests(&self) -> Requests {
        let mut seen = self.seen.lock();
        Requests(std::mem::take(&mut seen))
    }
}

impl Requests {
    /// The number of requests by method.
    pub fn by_method(&self) -> BTreeMap<String, u64> {
        self.0.iter().fold(BTreeMap::new(), |mut counts, line| {
            *counts.entry(line.method.to_string()).or_default() += 1;
            counts
        })
    }

    /// Whether there were only reading requests.
    pub fn only_read(&self) -> bool {
        self.0.iter().all(|line| matches!(line.method, Method::GET | Method::HEAD))
    }

    /// How often the blob that was downloaded most often was downloaded.
    pub fn downloads_of_one_blob(&self) -> u64 {
        let blobs = self.0.iter().filter(|line| {
            line.method == Method::GET
                && line.status.is_success()
                && line.uri.path().contains("/blobs/")
        });
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for line in blobs {
            let digest = line.uri.path().rsplit('/').next().unwrap_or_default();
            *counts.entry(digest).or_default() += 1;
        }
        counts.into_values().max().unwrap_or_default()
    }
}
