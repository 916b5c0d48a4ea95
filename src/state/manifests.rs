//! Manifests that were seen in a repository: since when, and what they refer to. What a digest
//! names never changes, so no manifest has to be read twice.

use std::collections::HashMap;
use std::fmt::Debug;

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::{microsecond, second};
use serde::{Deserialize, Serialize};

use super::codec;
use super::local::Local;
use crate::oci::Digest;

/// The first byte of the keys of manifests.
pub(super) const KIND: u8 = b'C';
/// The first byte of the keys of restorations.
const RESTORED: u8 = b'r';

/// A manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFacts {
    /// In whole seconds.
    #[serde(with = "second::required")]
    pub first_seen: Timestamp,
    pub summary: ManifestSummary,
    /// When the image was made, according to its configuration. `None`: nobody has looked.
    pub created: Option<Created>,
    /// The registry's last answer about its referrers.
    pub referrers: Option<ListedReferrers>,
}

/// What a manifest says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestSummary {
    /// Of the document itself, in bytes.
    pub size: u64,
    pub is_index: bool,
    /// What an index lists.
    pub children: Vec<Digest>,
    pub subject: Option<Digest>,
    pub artifact_type: Option<String>,
    /// Digest and size of the configuration and layers.
    pub blobs: Vec<(Digest, u64)>,
}

/// When an image was made, according to its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Created {
    /// Microseconds are as exact as configurations are.
    At(#[serde(with = "microsecond::required")] Timestamp),
    /// It does not say.
    Silent,
}

/// A registry's answer about referrers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedReferrers {
    /// When it was given, in whole seconds.
    #[serde(with = "second::required")]
    pub at: Timestamp,
    pub digests: Vec<Digest>,
}

/// Facts about manifests that were seen. `repository` is a `Repository::name`.
pub trait KnownManifests: Debug + Send + Sync {
    fn get(&self, repository: &str, digest: &Digest) -> Option<ManifestFacts>;

    /// Notes that a repository has a manifest.
    fn set(&self, repository: &str, digest: &Digest, manifest: &ManifestFacts);

    /// When a person last restored manifests of a repository that have been there since then.
    fn restored(&self, repository: &str) -> HashMap<Digest, Timestamp>;

    /// Notes that a person restored a manifest, or one of its tags. In whole seconds.
    fn set_restored(&self, repository: &str, digest: &Digest, at: Timestamp);

    /// Forgets a manifest that was deleted: if it comes back, it is new.
    fn forget(&self, repository: &str, digest: &Digest);

    /// Forgets the manifests of a repository that were not there at `now`: if one comes back, it is
    /// new. What was restored after `now` stays known. `is_there` must not use the state.
    fn retain(&self, repository: &str, now: Timestamp, is_there: &dyn Fn(&Digest) -> bool);
}

impl KnownManifests for Local {
    fn get(&self, repository: &str, digest: &Digest) -> Option<ManifestFacts> {
        codec::decode(&self.store.get(&encode_key(repository, digest))?)
    }

    fn set(&self, repository: &str, digest: &Digest, manifest: &ManifestFacts) {
        self.apply(vec![(encode_key(repository, digest), Some(codec::encode(manifest)))]);
    }

    fn restored(&self, repository: &str) -> HashMap<Digest, Timestamp> {
        let prefix = codec::key(RESTORED, &repository);
        let all = self.store.scan(&prefix, usize::MAX, |key, value| {
            Some((digest_of(key)?, decode_restored(value)?))
        });
        all.into_iter().collect()
    }

    fn set_restored(&self, repository: &str, digest: &Digest, at: Timestamp) {
        let second = codec::encode(&at.as_second());
        self.apply(vec![(restored_key(repository, digest), Some(second))]);
    }

    fn forget(&self, repository: &str, digest: &Digest) {
        let keys = [encode_key(repository, digest), restored_key(repository, digest)];
        self.apply(keys.map(|key| (key, None)).into());
    }

    fn retain(&self, repository: &str, now: Timestamp, is_there: &dyn Fn(&Digest) -> bool) {
        let is_gone = |key: &[u8]| digest_of(key).is_none_or(|digest| !is_there(&digest));
        let gone = self.store.scan(&codec::key(KIND, &repository), usize::MAX, |key, _| {
            is_gone(key).then(|| (key.to_vec(), None))
        });
        self.apply(gone);
        let gone = self.store.scan(&codec::key(RESTORED, &repository), usize::MAX, |key, value| {
            let is_later = decode_restored(value).is_some_and(|at| at >= now);
            (!is_later && is_gone(key)).then(|| (key.to_vec(), None))
        });
        self.apply(gone);
    }
}

/// The digest in the key of a manifest or a restoration.
fn digest_of(key: &[u8]) -> Option<Digest> {
    codec::decode::<(u8, &str, Digest)>(key).map(|(_, _, digest)| digest)
}

fn decode_restored(value: &[u8]) -> Option<Timestamp> {
    Timestamp::from_second(codec::decode(value)?).ok()
}

fn restored_key(repository: &str, digest: &Digest) -> Vec<u8> {
    codec::key(RESTORED, &(repository, digest))
}

fn encode_key(repository: &str, digest: &Digest) -> Vec<u8> {
    codec::key(KIND, &(repository, digest))
}

#[cfg(test)]
mod tests {
    use super::super::codec::digest;
    use super::*;
    use proptest::prelude::*;

    fn summary() -> impl Strategy<Value = ManifestSummary> {
        let children = prop::collection::vec(digest(), 0..4);
        let blobs = prop::collection::vec((digest(), any::<u64>()), 0..4);
        let (subject, artifact_type) = (prop::option::of(digest()), prop::option::of(".{0,20}"));
        (any::<u64>(), any::<bool>(), children, subject, artifact_type, blobs).prop_map(
            |(size, is_index, children, subject, artifact_type, blobs)| ManifestSummary {
                size,
                is_index,
                children,
                subject,
                artifact_type,
                blobs,
            },
        )
    }

    fn manifest() -> impl Strategy<Value = ManifestFacts> {
        let second = || (0_i64..4_000_000_000).prop_map(|at| Timestamp::from_second(at).unwrap());
        let microsecond = (-62_000_000_000_000_000_i64..62_000_000_000_000_000)
            .prop_map(|at| Timestamp::from_microsecond(at).unwrap());
        let created = prop_oneof![Just(Created::Silent), microsecond.prop_map(Created::At)];
        let referrers = (second(), prop::collection::vec(digest(), 0..3))
            .prop_map(|(at, digests)| ListedReferrers { at, digests });
        (second(), summary(), prop::option::of(created), prop::option::of(referrers)).prop_map(
            |(first_seen, summary, created, referrers)| ManifestFacts {
                first_seen,
                summary,
                created,
                referrers,
            },
        )
    }

    #[test]
    fn what_is_gone_is_forgotten_in_its_repository_only() {
        let state: &dyn KnownManifests = &Local::in_memory();
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let manifest = ManifestFacts {
            first_seen: Timestamp::from_second(1).unwrap(),
            summary: ManifestSummary::default(),
            created: None,
            referrers: None,
        };
        for (repository, digest) in [("a", &one), ("a", &other), ("ab", &one)] {
            state.set(repository, digest, &manifest);
        }
        let at = Timestamp::from_second(7).unwrap();
        for digest in [&one, &other] {
            state.set_restored("a", digest, at);
        }
        let gone = Digest::of(b"restored while the repository was read");
        state.set_restored("a", &gone, Timestamp::from_second(9).unwrap());
        state.retain("a", Timestamp::from_second(8).unwrap(), &|digest| *digest == other);
        assert!(state.restored("a").get(&gone).copied().is_some());
        assert_eq!((state.get("a", &one), state.restored("a").get(&one).copied()), (None, None));
        assert!(state.get("a", &other).is_some());
        assert_eq!(state.restored("a").get(&other).copied(), Some(at));
        assert!(state.get("ab", &one).is_some());
        state.forget("a", &other);
        assert_eq!(
            (state.get("a", &other), state.restored("a").get(&other).copied()),
            (None, None)
        );
    }

    proptest! {
        #[test]
        fn manifests_round_trip(manifest in manifest(), digest in digest()) {
            let state: &dyn KnownManifests = &Local::in_memory();
            state.set("r/a", &digest, &manifest);
            prop_assert_eq!(state.get("r/a", &digest), Some(manifest));
            prop_assert_eq!(state.get("r/b", &digest), None);
        }
    }
}
