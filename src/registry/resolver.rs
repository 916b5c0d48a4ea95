//! Looks names up as the system does, with errors that can be told from those of connections.

use std::io;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotResolved(#[source] pub io::Error);

#[derive(Debug)]
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is none of the name's business: the connection has its own.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(NotResolved)?;
            let found: Vec<_> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
