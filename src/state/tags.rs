//! Tags that were copied: which digests, when, and under which options.

use std::fmt::Debug;

use super::codec;
use super::local::Local;
use crate::oci::{Digest, Tag};

/// The first byte of the keys of tag states.
pub(super) const KIND: u8 = b'T';

/// One tag on its way from one repository to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagKey<'a> {
    /// The source repository's `Repository::name`.
    pub source: &'a str,
    /// The target repository's `Repository::name`.
    pub target: &'a str,
    pub tag: &'a Tag,
}

/// A tag as it was when source and target were last found to be in step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagState {
    pub source_digest: Digest,
    /// Differs from the source's if the image was rewritten on its way.
    pub target_digest: Digest,
    /// When the target was last seen to have it, in seconds since 1970.
    pub verified_at: u64,
    /// A fingerprint of the options of the copy (platforms, referrers …). If it differs from
    /// today's, this state is void.
    pub options: u64,
    /// Every manifest of the image's graph, that of the target's digest first: their referrers are
    /// looked for.
    pub subjects: Vec<Digest>,
    /// A fingerprint of the referrers that were seen, made by the caller.
    pub referrers: Option<Digest>,
    /// When the source was last asked for the referrers of every manifest below the root and had
    /// none, in seconds since 1970. `None`: it has some, or there is nothing below the root.
    pub bare_children_at: Option<u64>,
}

/// What is known of tags that were copied.
pub trait TagStates: Debug + Send + Sync {
    fn get(&self, key: &TagKey<'_>) -> Option<TagState>;

    /// Notes that a tag is in step.
    fn set(&self, key: &TagKey<'_>, state: &TagState);

    /// Drops what is known of a tag, because it turned out to be wrong or the tag is gone.
    fn forget(&self, key: &TagKey<'_>);
}

impl TagStates for Local {
    fn get(&self, key: &TagKey<'_>) -> Option<TagState> {
        TagState::decode(&self.store.get(&encode_key(key))?)
    }

    fn set(&self, key: &TagKey<'_>, state: &TagState) {
        self.apply(vec![(encode_key(key), Some(state.encode()))]);
    }

    fn forget(&self, key: &TagKey<'_>) {
        self.apply(vec![(encode_key(key), None)]);
    }
}

fn encode_key(key: &TagKey<'_>) -> Vec<u8> {
    codec::key(KIND, &(key.source, key.target, key.tag.as_str()))
}

impl TagState {
    /// The bytes that are stored. Most digests of a record are the source's: it is stored once.
    pub fn encode(&self) -> Vec<u8> {
        let rewritten = (self.target_digest != self.source_digest).then_some(&self.target_digest);
        let root = std::slice::from_ref(&self.target_digest);
        let below = self.subjects.strip_prefix(root).unwrap_or(&self.subjects);
        let options = self.options.to_be_bytes();
        let source = &self.source_digest;
        let stored = (source, rewritten, self.verified_at, options, below, &self.referrers);
        match self.bare_children_at {
            None => codec::encode(&stored),
            Some(at) => codec::encode(&(stored, at)),
        }
    }

    /// The state of a tag in a test, without anything beyond its digests.
    #[cfg(test)]
    pub(crate) fn sample(source: &Digest, target: &Digest) -> Self {
        Self {
            source_digest: source.clone(),
            target_digest: target.clone(),
            verified_at: 0,
            options: 0,
            subjects: Vec::new(),
            referrers: None,
            bare_children_at: None,
        }
    }

    /// `None` if these are not the bytes of a tag state, which then is not known.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        type Stored = (Digest, Option<Digest>, u64, [u8; 8], Vec<Digest>, Option<Digest>);
        // Without the last field, the bytes are those that versions before it wrote.
        let (stored, bare_children_at) = match codec::decode::<(Stored, u64)>(bytes) {
            Some((stored, at)) => (stored, Some(at)),
            None => (codec::decode::<Stored>(bytes)?, None),
        };
        let (source_digest, rewritten, verified_at, options, below, referrers) = stored;
        let target_digest = rewritten.unwrap_or_else(|| source_digest.clone());
        let mut subjects = below;
        subjects.insert(0, target_digest.clone());
        let options = u64::from_be_bytes(options);
        Some(Self {
            source_digest,
            target_digest,
            verified_at,
            options,
            subjects,
            referrers,
            bare_children_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::digest;
    use super::*;
    use proptest::prelude::*;

    fn tag_state() -> impl Strategy<Value = TagState> {
        let below = prop::collection::vec(digest(), 0..5);
        (
            digest(),
            prop::option::of(digest()),
            any::<u64>(),
            any::<u64>(),
            below,
            prop::option::of(digest()),
            prop::option::of(any::<u64>()),
        )
            .prop_map(|(source, target, verified_at, options, below, referrers, bare)| {
                let target_digest = target.unwrap_or_else(|| source.clone());
                let subjects = std::iter::once(target_digest.clone()).chain(below).collect();
                TagState {
                    source_digest: source,
                    target_digest,
                    verified_at,
                    options,
                    subjects,
                    referrers,
                    bare_children_at: bare,
                }
            })
    }

    /// A state may hold a hundred thousand of these.
    #[test]
    fn the_record_of_an_image_without_platforms_is_small() {
        let digest = Digest::of(b"image");
        let mut state = TagState {
            verified_at: 1_800_000_000,
            options: u64::MAX,
            subjects: vec![digest.clone()],
            ..TagState::sample(&digest, &digest)
        };
        assert_eq!(state.encode().len(), 49);
        state.subjects.push(Digest::of(b"child"));
        state.referrers = Some(digest);
        assert_eq!(state.encode().len(), 49 + 33 + 33);
    }

    proptest! {
        #[test]
        fn states_round_trip(state in tag_state()) {
            prop_assert_eq!(TagState::decode(&state.encode()), Some(state));
        }

        #[test]
        fn any_bytes_are_a_state_or_nothing(bytes: Vec<u8>) {
            let _ = TagState::decode(&bytes);
        }

        #[test]
        fn cut_or_longer_bytes_are_nothing(state in tag_state(), cut in any::<prop::sample::Index>()) {
            let state = TagState { bare_children_at: None, ..state };
            let bytes = state.encode();
            prop_assert_eq!(TagState::decode(&bytes[..cut.index(bytes.len())]), None);
            let mut bytes = TagState { bare_children_at: Some(1 << 40), ..state }.encode();
            bytes.push(0);
            prop_assert_eq!(TagState::decode(&bytes), None);
        }

        /// No two tags share a key, wherever their names are cut.
        #[test]
        fn keys_tell_names_apart(a in "[ab]{0,4}", b in "[ab]{0,4}", c in "[ab]{0,4}", d in "[ab]{0,4}") {
            let tag = "1.0".parse().unwrap();
            let key = |source, target| encode_key(&TagKey { source, target, tag: &tag });
            prop_assert_eq!(key(&a, &b) == key(&c, &d), (&a, &b) == (&c, &d));
        }
    }
}
