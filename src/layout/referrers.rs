//! Which listed manifests refer to which. A layout has no list of referrers, so its manifests are read,
//! each once.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::oci::{Descriptor, Digest, Manifest};

/// The subject of each manifest read, and how a list of referrers shows it; `None` for those
/// without a subject. The content of a digest never changes, so this is never wrong.
#[derive(Debug, Default)]
pub(super) struct Subjects(Mutex<HashMap<Digest, Option<(Digest, Descriptor)>>>);

impl Subjects {
    /// `manifest`: what has this digest; `None` for something that is not a manifest.
    pub fn learn(&self, digest: &Digest, manifest: Option<&Manifest>) {
        let known = manifest.and_then(|manifest| {
            let subject = manifest.subject.as_ref()?;
            Some((subject.digest.clone(), manifest.referrer_descriptor()))
        });
        self.0.lock().insert(digest.clone(), known);
    }

    pub fn knows(&self, digest: &Digest) -> bool {
        self.0.lock().contains_key(digest)
    }

    /// The referrers of `subject` among the listed ones, each once, in the list's order.
    pub fn select(&self, listed: &[&Digest], subject: &Digest) -> Vec<Descriptor> {
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
