//! Tags that a cleanup rule deleted: what they pointed at, and under which policy. Without that, a
//! sync rule would copy the same image again and the cleanup rule delete it again, for ever.
//!
//! There may be as many as a repository ever had tags, so what has kept nothing from being copied
//! for long is dropped. If a sync rule wants such a tag after all, it is copied and deleted once.

use super::State;
use super::codec::{Reader, Writer};
use crate::oci::{Digest, Tag};

/// Keys of withdrawn tags start with this byte. Programs that do not know it leave them alone.
const KIND: u8 = b'w';

/// So many seconds a record is kept that nobody needs: half a year.
const KEPT: u64 = 180 * DAY;
/// A record that is needed is written anew after so many seconds.
const FRESH: u64 = 30 * DAY;
const DAY: u64 = 24 * 60 * 60;

/// A tag that is not at a target because a cleanup rule deleted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// What the tag pointed at when it was deleted.
    pub digest: Digest,
    /// The rule's [`mark`](crate::config::CleanupRule::mark): under another policy the tag may be
    /// wanted again.
    pub policy: u64,
    /// When it was deleted, or last kept from being copied, in seconds since 1970.
    pub at: u64,
}

impl State {
    /// Notes that a tag of a repository (`Repository::name`) was deleted.
    pub fn set_withdrawn(&self, repository: &str, tag: &Tag, withdrawn: &Withdrawn) {
        self.apply(vec![(encode_key(repository, tag), Some(withdrawn.encode()))]);
    }

    /// What is known of a tag's deletion. It may have been put again since then.
    pub fn withdrawn(&self, repository: &str, tag: &Tag) -> Option<Withdrawn> {
        Withdrawn::decode(&self.store().get(&encode_key(repository, tag))?)
    }

    /// Drops what is known of a tag's deletion: the tag is there again, or is to be.
    pub fn forget_withdrawn(&self, repository: &str, tag: &Tag) {
        self.apply(vec![(encode_key(repository, tag), None)]);
    }

    /// All such records, in memory: for who must not keep others from using the state.
    pub fn withdrawn_in_memory(&self) -> Self {
        let copy = Self::in_memory();
        let known = self.store().last_with_prefix(&[KIND], usize::MAX);
        copy.apply(known.into_iter().map(|(key, value)| (key, Some(value))).collect());
        copy
    }

    /// Notes that a record has kept its tag from being copied, so that it stays.
    pub fn confirm_withdrawn(&self, repository: &str, tag: &Tag, known: &Withdrawn, now: u64) {
        if now.saturating_sub(known.at) >= FRESH {
            self.set_withdrawn(repository, tag, &Withdrawn { at: now, ..known.clone() });
        }
    }

    /// Drops the records of a repository that have kept nothing from being copied for long.
    pub fn prune_withdrawn(&self, repository: &str, now: u64) {
        let prefix = Writer::key(KIND).text(repository).finish();
        let known = self.store().last_with_prefix(&prefix, usize::MAX);
        let is_needed = |value: &[u8]| {
            Withdrawn::decode(value).is_some_and(|known| now.saturating_sub(known.at) < KEPT)
        };
        let gone = known.into_iter().filter(|(_, value)| !is_needed(value));
        self.apply(gone.map(|(key, _)| (key, None)).collect());
    }
}

fn encode_key(repository: &str, tag: &Tag) -> Vec<u8> {
    Writer::key(KIND).text(repository).text(tag.as_str()).finish()
}

impl Withdrawn {
    fn encode(&self) -> Vec<u8> {
        Writer::default().digest(&self.digest).ordered(self.policy).number(self.at).finish()
    }

    /// `None` if these are not the bytes of such a record, which then is not known.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let withdrawn =
            Self { digest: reader.digest()?, policy: reader.ordered()?, at: reader.number()? };
        reader.at_end().then_some(withdrawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn withdrawn(at: u64) -> Withdrawn {
        Withdrawn { digest: Digest::of(b"image"), policy: 7, at }
    }

    #[test]
    fn a_record_is_known_until_it_is_forgotten() {
        let dir = tempfile::TempDir::new().unwrap();
        let (one, other) = ("v1".parse().unwrap(), "v2".parse().unwrap());
        for state in [State::in_memory(), State::open(dir.path()).unwrap()] {
            state.set_withdrawn("r/a", &one, &withdrawn(1));
            state.set_withdrawn("r/a", &other, &withdrawn(2));
            assert_eq!(state.withdrawn("r/a", &one), Some(withdrawn(1)));
            assert_eq!(state.withdrawn("r/b", &one), None);
            let copy = state.withdrawn_in_memory();
            state.forget_withdrawn("r/a", &one);
            assert_eq!(copy.withdrawn("r/a", &one), Some(withdrawn(1)));
            assert_eq!(state.withdrawn("r/a", &one), None);
            assert_eq!(state.withdrawn("r/a", &other), Some(withdrawn(2)));
        }
    }

    #[test]
    fn what_is_of_use_stays_and_the_rest_goes_in_time() {
        let state = State::in_memory();
        let (used, unused) = ("used".parse().unwrap(), "unused".parse().unwrap());
        for tag in [&used, &unused] {
            state.set_withdrawn("r/a", tag, &withdrawn(DAY));
            state.set_withdrawn("r/ab", tag, &withdrawn(DAY));
        }
        state.confirm_withdrawn("r/a", &used, &withdrawn(DAY), DAY + FRESH - 1);
        assert_eq!(state.withdrawn("r/a", &used), Some(withdrawn(DAY)), "not written each time");
        state.confirm_withdrawn("r/a", &used, &withdrawn(DAY), DAY + FRESH);
        state.prune_withdrawn("r/a", DAY + KEPT - 1);
        assert!(state.withdrawn("r/a", &unused).is_some());
        state.prune_withdrawn("r/a", DAY + KEPT);
        assert_eq!(state.withdrawn("r/a", &unused), None);
        assert_eq!(state.withdrawn("r/a", &used), Some(withdrawn(DAY + FRESH)));
        assert!(state.withdrawn("r/ab", &unused).is_some(), "of another repository");
    }

    proptest! {
        #[test]
        fn records_round_trip(bytes: [u8; 32], policy: u64, at: u64, cut in any::<prop::sample::Index>()) {
            let known = Withdrawn { digest: Digest::Sha256(bytes), policy, at };
            let mut bytes = known.encode();
            prop_assert_eq!(Withdrawn::decode(&bytes), Some(known));
            prop_assert_eq!(Withdrawn::decode(&bytes[..cut.index(bytes.len())]), None);
            bytes.push(0);
            prop_assert_eq!(Withdrawn::decode(&bytes), None);
        }

        #[test]
        fn any_bytes_are_a_record_or_nothing(bytes: Vec<u8>) {
            let _ = Withdrawn::decode(&bytes);
        }
    }
}
