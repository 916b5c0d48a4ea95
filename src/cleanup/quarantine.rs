//! Copies of what is about to be deleted, kept somewhere else for a while.
//!
//! Everything that is deleted is copied byte for byte: an image with its children under one tag, each
//! referrer and each list of referrers under a tag of its own. The tag says until when the copy is
//! kept (`expires-20261227t031500z-<digest>`), so a quarantine can be emptied without any record. The
//! audit says what each copy is a copy of.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::copying::Copying;
use super::plan::snapshot::{Node, Snapshot};
use super::repositories;
use crate::config::cleanup::QuarantinePlace;
use crate::fair::Flow;
use crate::oci::reference::ReferenceError;
use crate::oci::template::SourceContext;
use crate::oci::{Address, Digest, RegistryHost, RepositoryName, Tag};
use crate::removal::KeepCopies;
use crate::removal::audit::Kept;
use crate::repository::{Cause, Error, Placement, Repository, Result};
use crate::stores::{Access, Stores};
use crate::transfer::{Carrier, Condition};

const PREFIX: &str = "expires-";
const FORMAT: &str = "%Y%m%dt%H%M%Sz";

/// Where copies are put, and which were made.
pub(super) struct Quarantine<'a> {
    pub carrier: &'a Carrier,
    pub flow: Flow,
    pub source: Arc<dyn Repository>,
    /// The source, as it was when the plan was made.
    pub snapshot: &'a Snapshot,
    pub target: Arc<dyn Repository>,
    pub until: Timestamp,
    /// For each manifest that is about to be deleted: its copy, or why there is none.
    pub copies: HashMap<Node, std::result::Result<Kept, String>>,
}

#[async_trait]
impl KeepCopies for Quarantine<'_> {
    /// Copies a manifest, unless it was copied as a part of another one.
    async fn keep(&mut self, digest: &Digest) {
        let snapshot = self.snapshot;
        let Some(node) = snapshot.find(digest) else { return };
        if self.copies.contains_key(&node) {
            return;
        }
        let kept = match self.transfer(digest).await {
            Ok(kept) => kept,
            // Its children are copied by themselves later.
            Err(reason) => {
                self.copies.insert(node, Err(reason));
                return;
            }
        };
        let mut waiting = vec![node];
        while let Some(node) = waiting.pop() {
            let before = self.copies.insert(node, Ok(kept.clone()));
            if !matches!(before, Some(Ok(_))) {
                waiting.extend(snapshot.children(node).filter(|child| snapshot.is_present(*child)));
            }
        }
    }

    fn copy(&self, digest: &Digest) -> std::result::Result<&Kept, &str> {
        match self.snapshot.find(digest).and_then(|node| self.copies.get(&node)) {
            Some(copy) => copy.as_ref().map_err(String::as_str),
            None => Err("the run was stopped before"),
        }
    }
}

impl Quarantine<'_> {
    async fn transfer(&self, digest: &Digest) -> std::result::Result<Kept, String> {
        let tag = tag(digest, self.until);
        let copying = Copying {
            carrier: self.carrier,
            flow: self.flow,
            source: &self.source,
            digest,
            target: &self.target,
            placement: Placement::Tag(tag.clone()),
            condition: Condition::Always,
        };
        copying.run().await.map_err(|error| error.to_string())?;
        Ok(Kept { place: self.target.name().to_owned(), tag, until: self.until })
    }
}

/// Opens the quarantine of a repository; it is created if it does not exist.
pub(super) async fn open(
    stores: &Stores,
    flow: Flow,
    to: &QuarantinePlace,
    of: &Address,
) -> Result<Arc<dyn Repository>> {
    repositories::open(stores, &address(to, of)?, flow, Access::Write).await
}

/// The name of the quarantine of a repository, whether it exists or not; `None`: the repository cannot
/// have one.
pub(super) fn quarantine_name(to: &QuarantinePlace, of: &Address) -> Option<String> {
    let address = match address(to, of).ok()? {
        Address::LayoutIn(folder, name) => {
            Address::LayoutIn(folder.canonicalize().unwrap_or(folder), name)
        }
        other => other,
    };
    Some(address.to_string())
}

/// Where the quarantine of a repository is.
fn address(to: &QuarantinePlace, of: &Address) -> Result<Address> {
    let unnamed = |reason: String| {
        Error::new("name the quarantine of", of.to_string(), Cause::Unsupported(reason))
    };
    let (registry, repository) = name(of).map_err(|error| unnamed(error.to_string()))?;
    match to {
        QuarantinePlace::Folder(folder) => {
            // The colon of a port is the only character that repository names cannot have.
            let path = format!("{}/{repository}", registry.as_str().replace(':', "_"));
            let name = path.parse().map_err(|error: ReferenceError| unnamed(error.to_string()))?;
            Ok(Address::LayoutIn(folder.clone(), name))
        }
        QuarantinePlace::Registry(target) => {
            let (registry, repository) = (Some(&registry), &repository);
            let context = SourceContext { registry, repository, prefix: "" };
            let name = target.template.render(&context);
            Ok(target.store.address(&name.map_err(|error| unnamed(error.to_string()))?))
        }
    }
}

/// A name that is valid in a registry. For a layout, it is made of the path.
fn name(of: &Address) -> std::result::Result<(RegistryHost, RepositoryName), ReferenceError> {
    match (of, of.path()) {
        (Address::Registry(host, name), _) => Ok((host.clone(), name.clone())),
        (_, path) => {
            let folder = path.unwrap_or_default();
            let text = folder.to_string_lossy().to_ascii_lowercase();
            let parts = text.split('/').map(|part| {
                let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                part.split(|c| !is_plain(c)).filter(|word| !word.is_empty()).collect::<Vec<_>>()
            });
            let parts: Vec<String> =
                parts.filter(|words| !words.is_empty()).map(|words| words.join("-")).collect();
            // Two paths that differ only in characters that are left out must not get one name.
            let mut hex = Digest::of(folder.as_os_str().as_encoded_bytes()).hex();
            hex.truncate(12);
            Ok(("layouts.invalid".parse()?, format!("{}-{hex}", parts.join("/")).parse()?))
        }
    }
}

/// The tag of a copy.
fn tag(digest: &Digest, until: Timestamp) -> Tag {
    let time = strtime::format(FORMAT, &until.to_zoned(TimeZone::UTC)).unwrap_or_default();
    let mut hex = digest.hex();
    hex.truncate(32);
    // Letters, digits and dashes, shorter than 128.
    Tag::from_valid(format!("{PREFIX}{time}-{hex}"))
}

/// Until when the copy with this tag is kept; `None` if it is no tag of a copy.
pub(super) fn expiry(tag: &Tag) -> Option<Timestamp> {
    let (time, digest) = tag.as_str().strip_prefix(PREFIX)?.split_once('-')?;
    let is_hex = digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    let time = strtime::parse(FORMAT, time).ok()?.to_datetime().ok()?;
    is_hex.then(|| time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_tell_until_when() {
        let until: Timestamp = "2026-12-27T03:15:00Z".parse().unwrap();
        let tag = tag(&Digest::of(b"x"), until);
        assert!(tag.as_str().starts_with("expires-20261227t031500z-"), "{tag}");
        assert_eq!(tag.to_string().parse(), Ok(tag.clone()));
        assert_eq!(expiry(&tag), Some(until));
        for other in ["latest", "expires-2026", "expires-20261227t031500z-xyz"] {
            assert_eq!(expiry(&other.parse().unwrap()), None, "{other}");
        }
    }
}
