//! Which repositories of a store are known to hold a blob, so that it can be mounted.

use std::collections::HashSet;

use super::State;
use super::codec::{Reader, Writer};
use crate::oci::Digest;

/// Keys of blob locations start with this byte.
const KIND: u8 = b'b';

/// So many repositories are remembered for a blob: one to mount from, and some to spare for
/// when that one is deleted or does not allow it.
pub const MAX_LOCATIONS: usize = 4;

impl State {
    /// The repositories of a store (`Repository::store`) that were seen to hold a blob, by their
    /// paths, the newest first, at most `MAX_LOCATIONS`.
    pub fn blob_locations(&self, store: &str, digest: &Digest) -> Vec<String> {
        self.store()
            .get(&encode_key(store, digest))
            .and_then(|bytes| decode(&bytes))
            .unwrap_or_default()
    }

    /// Notes that a repository holds these blobs.
    pub fn add_blobs<'a>(
        &self,
        store: &str,
        repository: &str,
        digests: impl IntoIterator<Item = &'a Digest>,
    ) {
        let _alone = self.updating();
        let digests: HashSet<&Digest> = digests.into_iter().collect();
        let changes = digests.into_iter().filter_map(|digest| {
            let known = self.blob_locations(store, digest);
            // The order among known ones is not worth a write.
            let is_known = known.iter().any(|other| other == repository);
            let newest = std::iter::once(repository.to_owned()).chain(known).take(MAX_LOCATIONS);
            let newest = newest.collect::<Vec<_>>();
            (!is_known).then(|| (encode_key(store, digest), Some(encode(&newest))))
        });
        self.apply(changes.collect());
    }

    /// Notes that a repository does not hold a blob after all.
    pub fn forget_blob(&self, store: &str, repository: &str, digest: &Digest) {
        let _alone = self.updating();
        let mut known = self.blob_locations(store, digest);
        let before = known.len();
        known.retain(|other| other != repository);
        if known.len() < before {
            let value = (!known.is_empty()).then(|| encode(&known));
            self.apply(vec![(encode_key(store, digest), value)]);
        }
    }
}

fn encode_key(store: &str, digest: &Digest) -> Vec<u8> {
    Writer::key(KIND).text(store).digest(digest).finish()
}

fn encode(repositories: &[String]) -> Vec<u8> {
    let writer = Writer::default().number(repositories.len() as u64);
    repositories.iter().fold(writer, |writer, repository| writer.text(repository)).finish()
}

fn decode(bytes: &[u8]) -> Option<Vec<String>> {
    let mut reader = Reader::new(bytes);
    let repositories = reader.list(Reader::text)?;
    (reader.at_end() && repositories.len() <= MAX_LOCATIONS).then_some(repositories)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_newest_few_are_kept_and_can_be_forgotten() {
        let state = State::in_memory();
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        for repository in ["a", "b", "a", "c", "d", "e"] {
            state.add_blobs("ghcr.io", repository, [&one, &one]);
        }
        assert_eq!(state.blob_locations("ghcr.io", &one), ["e", "d", "c", "b"]);
        assert!(state.blob_locations("ghcr.io", &other).is_empty());
        assert!(state.blob_locations("quay.io", &one).is_empty());
        for repository in ["d", "d", "never", "e", "c"] {
            state.forget_blob("ghcr.io", repository, &one);
        }
        assert_eq!(state.blob_locations("ghcr.io", &one), ["b"]);
        state.forget_blob("ghcr.io", "b", &one);
        assert!(state.blob_locations("ghcr.io", &one).is_empty());
    }

    proptest! {
        #[test]
        fn lists_round_trip(list in prop::collection::vec(".{0,20}", 0..=MAX_LOCATIONS)) {
            prop_assert_eq!(decode(&encode(&list)), Some(list));
        }

        #[test]
        fn any_bytes_are_a_list_or_nothing(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
