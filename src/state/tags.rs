//! What is known of a tag that was copied: which digests, when, and under which options.

use super::State;
use super::codec::{Reader, Writer};
use crate::oci::{Digest, Tag};

/// Keys of tag states start with this byte.
const KIND: u8 = b't';

/// One tag on its way from one repository to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagKey<'a> {
    /// The source repository, as `Repository::name` has it.
    pub source: &'a str,
    /// The target repository, as `Repository::name` has it.
    pub target: &'a str,
    pub tag: &'a Tag,
}

/// A tag as it was when it was last found to be in step. A hint that saves requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagState {
    pub source_digest: Digest,
    /// Another one than the source's where the image was rewritten on its way.
    pub target_digest: Digest,
    /// When the target was last seen to have it, in seconds since 1970.
    pub verified_at: u64,
    /// A fingerprint of what was asked for (platforms, referrers …). Another one today makes
    /// this state void.
    pub options: u64,
    /// Every manifest of the image's graph: what their referrers are looked for under.
    pub subjects: Vec<Digest>,
    /// A fingerprint of the referrers that were seen, made by the caller.
    pub referrers: Option<Digest>,
}

const REWRITTEN: u8 = 1;
const HAS_REFERRERS: u8 = 2;

impl State {
    /// What is known of a tag.
    pub fn tag(&self, key: &TagKey<'_>) -> Option<TagState> {
        TagState::decode(&self.store().get(&encode_key(key))?)
    }

    /// Notes that a tag is in step.
    pub fn set_tag(&self, key: &TagKey<'_>, state: &TagState) {
        self.apply(vec![(encode_key(key), Some(state.encode()))]);
    }

    /// Drops what is known of a tag, because it turned out to be wrong or the tag is gone.
    pub fn forget_tag(&self, key: &TagKey<'_>) {
        self.apply(vec![(encode_key(key), None)]);
    }
}

fn encode_key(key: &TagKey<'_>) -> Vec<u8> {
    Writer::key(KIND).text(key.source).text(key.target).text(key.tag.as_str()).finish()
}

impl TagState {
    /// The bytes that are stored.
    pub fn encode(&self) -> Vec<u8> {
        let rewritten = self.target_digest != self.source_digest;
        let flags = if rewritten { REWRITTEN } else { 0 }
            | if self.referrers.is_some() { HAS_REFERRERS } else { 0 };
        let mut writer = Writer::default().byte(flags).digest(&self.source_digest);
        if rewritten {
            writer = writer.digest(&self.target_digest);
        }
        writer = writer.number(self.verified_at).ordered(self.options);
        writer = writer.number(self.subjects.len() as u64);
        for subject in &self.subjects {
            writer = writer.digest(subject);
        }
        if let Some(referrers) = &self.referrers {
            writer = writer.digest(referrers);
        }
        writer.finish()
    }

    /// `None` if these are not the bytes of a tag state, which is then not known.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let flags = reader.byte().filter(|flags| flags & !(REWRITTEN | HAS_REFERRERS) == 0)?;
        let source_digest = reader.digest()?;
        let target_digest =
            if flags & REWRITTEN == 0 { source_digest.clone() } else { reader.digest()? };
        let state = Self {
            source_digest,
            target_digest,
            verified_at: reader.number()?,
            options: reader.ordered()?,
            subjects: reader.list(Reader::digest)?,
            referrers: if flags & HAS_REFERRERS == 0 { None } else { Some(reader.digest()?) },
        };
        reader.at_end().then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest() -> impl Strategy<Value = Digest> {
        prop_oneof![
            any::<[u8; 32]>().prop_map(Digest::Sha256),
            any::<u8>().prop_map(|byte| Digest::Sha512(Box::new([byte; 64]))),
        ]
    }

    fn tag_state() -> impl Strategy<Value = TagState> {
        let subjects = prop::collection::vec(digest(), 0..5);
        (
            digest(),
            prop::option::of(digest()),
            any::<u64>(),
            any::<u64>(),
            subjects,
            prop::option::of(digest()),
        )
            .prop_map(
                |(source_digest, target, verified_at, options, subjects, referrers)| TagState {
                    target_digest: target.unwrap_or_else(|| source_digest.clone()),
                    source_digest,
                    verified_at,
                    options,
                    subjects,
                    referrers,
                },
            )
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
            let mut bytes = state.encode();
            prop_assert_eq!(TagState::decode(&bytes[..cut.index(bytes.len())]), None);
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
