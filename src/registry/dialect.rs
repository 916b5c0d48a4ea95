//! How the answers of one product are read where they differ from the specification. Pure: what a
//! product offers beyond the specification, by requests of its own, is `vendor::Vendor`.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::oci::RegistryHost;
use crate::repository::ErrorKind;

/// How much of a pull quota is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    pub limit: u64,
    pub remaining: u64,
}

/// The defaults are the specification's.
pub(super) trait Dialect: Debug + Send + Sync {
    /// The host that requests are sent to.
    fn address<'a>(&self, host: &'a RegistryHost) -> &'a str {
        host.as_str()
    }

    /// What a refusal means that has an error code of the product's own.
    fn kind(&self, _codes: &[String]) -> Option<ErrorKind> {
        None
    }

    /// What people should know about a refusal of this kind that the product does not say.
    fn advice(&self, _kind: ErrorKind) -> Option<&'static str> {
        None
    }

    /// How long the registry asks to wait, where it does not say so by `Retry-After`. `message`:
    /// the words of the refusal.
    fn wait(&self, _headers: &HeaderMap, _message: &str, _now: SystemTime) -> Option<Duration> {
        None
    }

    /// The pull quota, of which an answer's headers tell.
    fn quota(&self, _headers: &HeaderMap) -> Option<Quota> {
        None
    }
}
