//! Which listed manifests refer to which: a layout has no list of referrers, so that its
//! manifests are read, each once.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::Layout;
use super::index::Index;
use crate::oci::{Descriptor, Digest, Manifest};
use crate::repository::{Cause, Result};

/// The subject of each manifest read, and how a list of referrers shows it; `None` for those
/// without a subject. Content never changes under its digest, so that this is never wrong.
#[derive(Debug, Default)]
pub(super) struct Subjects(Mutex<HashMap<Digest, Option<(Digest, Descriptor)>>>);

impl Subjects {
    pub fn learn(&self, manifest: &Manifest) {
        let subject = manifest.subject.as_ref();
        let known = subject.map(|subject| (subject.digest.clone(), manifest.referrer_descriptor()));
        self.0.lock().insert(manifest.digest.clone(), known);
    }

    fn learn_that_it_has_none(&self, digest: &Digest) {
        self.0.lock().insert(digest.clone(), None);
    }

    fn knows(&self, digest: &Digest) -> bool {
        self.0.lock().contains_key(digest)
    }

    /// The referrers of `subject` among the listed ones, each once, in the list's order.
    fn select(&self, listed: &[&Digest], subject: &Digest) -> Vec<Descriptor> {
        let mut known = self.0.lock();
        if known.len() > listed.len() {
            // What is no longer listed is forgotten, so that this does not grow for ever.
            let listed: std::collections::HashSet<_> = listed.iter().copied().collect();
            known.retain(|digest, _| listed.contains(digest));
        }
        let mut found: Vec<Descriptor> = Vec::new();
        for digest in listed {
            if let Some(Some((of, descriptor))) = known.get(*digest)
                && of == subject
                && !found.iter().any(|other| other.digest == descriptor.digest)
            {
                found.push(descriptor.clone());
            }
        }
        found
    }
}

impl Layout {
    pub(super) async fn find_referrers(
        &self,
        index: &Index,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        let mut listed = Vec::new();
        for entry in index.entries() {
            let Some(digest) = &entry.digest else { continue };
            if !self.0.subjects.knows(digest) {
                match self.read_manifest(digest, entry.media_type.as_deref()).await {
                    Ok(Some(manifest)) => self.0.subjects.learn(&manifest),
                    // It may come later: sparse layouts are allowed.
                    Ok(None) => continue,
                    // What is no manifest has no subject. A damaged one cannot be fetched either.
                    Err(error) if matches!(error.cause(), Cause::Manifest(_)) => {
                        self.0.subjects.learn_that_it_has_none(digest);
                    }
                    Err(error) => return Err(error),
                }
            }
            listed.push(digest);
        }
        Ok(self.0.subjects.select(&listed, subject))
    }
}
