//! What the tests stand on: registries real and scripted, images, witnesses, the binary itself.
//!
//! Nothing here uses tranship's own client: a harness that shared its mistakes would miss them.

use std::future::Future;
use std::sync::Once;
use std::time::Duration;

pub mod access_log;
pub mod bench;
pub mod compare;
pub mod daemon;
pub mod docker_registry;
pub mod endpoint;
pub mod images;
pub mod layout_registry;
pub mod openapi;
pub mod pki;
pub mod process;
pub mod products;
pub mod samples;
pub mod scripted;
pub mod terminal;
pub mod token_server;
pub mod traffic;
pub mod wire;
pub mod witness;

pub use bench::Bench;
pub use compare::{assert_same, assert_same_at};
pub use daemon::Daemon;
pub use docker_registry::DockerRegistry;
pub use endpoint::{Endpoint, Place};
pub use images::{Blob, Family, Image};
pub use layout_registry::LayoutRegistry;
pub use process::Tranship;
pub use samples::Samples;
pub use scripted::{Fault, Mount, Scripted};
pub use terminal::Terminal;
pub use token_server::TokenServer;
pub use traffic::{Kind, Traffic};

/// Waits until `condition` gives a value; panics after `limit`, naming what was awaited.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let poll = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(limit, poll).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain for {what}"),
    }
}

/// Chooses the cryptography of this process; needed before the first HTTP client is built.
pub fn choose_cryptography() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
