//! Which repositories of a store are known to hold a blob, so that it can be mounted from there.

use std::fmt::Debug;

use super::codec;
use super::local::Local;
use crate::oci::Digest;

/// The first byte of the keys of blob locations.
const KIND: u8 = b'b';

/// How many repositories are remembered for a blob: one to mount from, and some to spare in case
/// that one is deleted or does not allow it.
const MAX_LOCATIONS: usize = 4;

/// Where blobs are. `store` is a `Repository::store`, `repository` a `Repository::path`.
pub trait BlobLocations: Debug + Send + Sync {
    /// The repositories of a store that were seen to hold a blob, the newest first, at most
    /// `MAX_LOCATIONS`.
    fn get(&self, store: &str, digest: &Digest) -> Vec<String>;

    /// Notes that a repository holds a blob.
    fn add(&self, store: &str, repository: &str, digest: &Digest);

    /// Notes that a repository does not hold a blob after all.
    fn forget(&self, store: &str, repository: &str, digest: &Digest);
}

impl BlobLocations for Local {
    fn get(&self, store: &str, digest: &Digest) -> Vec<String> {
        let value = self.store.get(&encode_key(store, digest));
        value.and_then(|bytes| codec::decode(&bytes)).unwrap_or_default()
    }

    fn add(&self, store: &str, repository: &str, digest: &Digest) {
        let _alone = self.updating();
        let mut known = self.get(store, digest);
        // The order among known ones is not worth a write.
        if !known.iter().any(|other| other == repository) {
            known.insert(0, repository.to_owned());
            known.truncate(MAX_LOCATIONS);
            self.apply(vec![(encode_key(store, digest), Some(codec::encode(&known)))]);
        }
    }

    fn forget(&self, store: &str, repository: &str, digest: &Digest) {
        let _alone = self.updating();
        let mut known = self.get(store, digest);
        let before = known.len();
        known.retain(|other| other != repository);
        if known.len() < before {
            let value = (!known.is_empty()).then(|| codec::encode(&known));
            self.apply(vec![(encode_key(store, digest), value)]);
        }
    }
}

fn encode_key(store: &str, digest: &Digest) -> Vec<u8> {
    codec::key(KIND, &(store, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_few_are_kept_and_can_be_forgotten() {
        let blobs: &dyn BlobLocations = &Local::in_memory();
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        for repository in ["a", "b", "a", "c", "d", "e"] {
            blobs.add("ghcr.io", repository, &one);
        }
        assert_eq!(blobs.get("ghcr.io", &one), ["e", "d", "c", "b"]);
        assert!(blobs.get("ghcr.io", &other).is_empty());
        assert!(blobs.get("quay.io", &one).is_empty());
        for repository in ["d", "d", "never", "e", "c"] {
            blobs.forget("ghcr.io", repository, &one);
        }
        assert_eq!(blobs.get("ghcr.io", &one), ["b"]);
        blobs.forget("ghcr.io", "b", &one);
        assert!(blobs.get("ghcr.io", &one).is_empty());
    }
}
