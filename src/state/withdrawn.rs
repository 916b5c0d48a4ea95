//! Tags that a cleanup rule deleted: what they pointed at, and under which policy. Without that, a
//! sync rule would copy the same image again and the cleanup rule delete it again, for ever.
//!
//! The policies are kept as text, each once: they are few, and stay.
//!
//! There may be as many as a repository ever had tags, so records that have kept nothing from being
//! copied for long are dropped. If a sync rule wants such a tag after all, it is copied and deleted
//! once.

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::codec;
use super::local::Local;
use crate::oci::{Digest, Tag};

/// The first byte of the keys of withdrawn tags.
const KIND: u8 = b'w';
/// The first byte of the keys of policies.
const POLICY: u8 = b'p';

/// For how many seconds a record is kept that nobody needs: half a year.
const KEPT: u64 = 180 * DAY;
/// A record that is needed is written again after so many seconds.
const FRESH: u64 = 30 * DAY;
const DAY: u64 = 24 * 60 * 60;

/// A tag that is not at a target because a cleanup rule deleted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// What the tag pointed at when it was deleted.
    pub digest: Digest,
    /// The rule's [`mark`](crate::config::CleanupRule::mark): under another policy the tag may be
    /// wanted again.
    #[serde(with = "postcard::fixint::be")]
    pub policy: u64,
    /// When it was deleted, or last kept from being copied, in seconds since 1970.
    pub at: u64,
}

/// Tags that cleanup rules deleted. `repository` is a `Repository::name`.
pub trait WithdrawnTags: Debug + Send + Sync {
    /// What is known of a tag's deletion. It may have been put again since then.
    fn get(&self, repository: &str, tag: &Tag) -> Option<Withdrawn>;

    /// Notes that a tag was deleted.
    fn set(&self, repository: &str, tag: &Tag, withdrawn: &Withdrawn);

    /// Drops what is known of a tag's deletion: the tag is there again, or is to be.
    fn forget(&self, repository: &str, tag: &Tag);

    /// Notes that a record has kept its tag from being copied, so that the record stays.
    fn confirm(&self, repository: &str, tag: &Tag, known: &Withdrawn, now: u64) {
        if now.saturating_sub(known.at) >= FRESH {
            self.set(repository, tag, &Withdrawn { at: now, ..known.clone() });
        }
    }

    /// What a policy was under which tags were deleted, as
    /// [`policy_text`](crate::config::CleanupRule::policy_text) gives it. `mark`: the rule's mark.
    fn policy(&self, mark: u64) -> Option<String>;

    /// Notes what the policy with a mark is.
    fn set_policy(&self, mark: u64, text: &str);

    /// Drops the records of a repository that have kept nothing from being copied for long.
    fn prune(&self, repository: &str, now: u64);

    /// A copy of all records in memory, for reading them without keeping the state open.
    fn copy(&self) -> Arc<dyn WithdrawnTags>;
}

impl WithdrawnTags for Local {
    fn get(&self, repository: &str, tag: &Tag) -> Option<Withdrawn> {
        codec::decode(&self.store.get(&encode_key(repository, tag))?)
    }

    fn set(&self, repository: &str, tag: &Tag, withdrawn: &Withdrawn) {
        self.apply(vec![(encode_key(repository, tag), Some(codec::encode(withdrawn)))]);
    }

    fn forget(&self, repository: &str, tag: &Tag) {
        self.apply(vec![(encode_key(repository, tag), None)]);
    }

    fn policy(&self, mark: u64) -> Option<String> {
        codec::decode(&self.store.get(&policy_key(mark))?)
    }

    fn set_policy(&self, mark: u64, text: &str) {
        if self.policy(mark).as_deref() != Some(text) {
            self.apply(vec![(policy_key(mark), Some(codec::encode(&text)))]);
        }
    }

    fn prune(&self, repository: &str, now: u64) {
        let is_needed = |value: &[u8]| {
            codec::decode(value).is_some_and(|known: Withdrawn| now.saturating_sub(known.at) < KEPT)
        };
        let prefix = codec::key(KIND, &repository);
        let gone = self.store.scan(&prefix, usize::MAX, |key, value| {
            (!is_needed(value)).then(|| (key.to_vec(), None))
        });
        self.apply(gone);
    }

    fn copy(&self) -> Arc<dyn WithdrawnTags> {
        let copy = Self::in_memory();
        let all = |key: &[u8], value: &[u8]| Some((key.to_vec(), Some(value.to_vec())));
        for kind in [KIND, POLICY] {
            copy.apply(self.store.scan(&[kind], usize::MAX, all));
        }
        Arc::new(copy)
    }
}

fn encode_key(repository: &str, tag: &Tag) -> Vec<u8> {
    codec::key(KIND, &(repository, tag.as_str()))
}

fn policy_key(mark: u64) -> Vec<u8> {
    codec::key(POLICY, &mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawn(at: u64) -> Withdrawn {
        Withdrawn { digest: Digest::of(b"image"), policy: 7, at }
    }

    #[test]
    fn a_record_is_known_until_it_is_forgotten() {
        let dir = tempfile::TempDir::new().unwrap();
        let (one, other) = ("v1".parse().unwrap(), "v2".parse().unwrap());
        for state in [Local::in_memory(), Local::open(dir.path()).unwrap()] {
            let state: &dyn WithdrawnTags = &state;
            state.set("r/a", &one, &withdrawn(1));
            state.set("r/a", &other, &withdrawn(2));
            state.set_policy(7, "clock = []");
            assert_eq!(state.copy().policy(7).as_deref(), Some("clock = []"));
            assert_eq!(state.policy(8), None);
            assert_eq!(state.get("r/a", &one), Some(withdrawn(1)));
            assert_eq!(state.get("r/b", &one), None);
            let copy = state.copy();
            state.forget("r/a", &one);
            assert_eq!(copy.get("r/a", &one), Some(withdrawn(1)));
            assert_eq!(state.get("r/a", &one), None);
            assert_eq!(state.get("r/a", &other), Some(withdrawn(2)));
        }
    }

    #[test]
    fn what_is_of_use_stays_and_the_rest_goes_in_time() {
        let state: &dyn WithdrawnTags = &Local::in_memory();
        let (used, unused) = ("used".parse().unwrap(), "unused".parse().unwrap());
        for tag in [&used, &unused] {
            state.set("r/a", tag, &withdrawn(DAY));
            state.set("r/ab", tag, &withdrawn(DAY));
        }
        state.confirm("r/a", &used, &withdrawn(DAY), DAY + FRESH - 1);
        assert_eq!(state.get("r/a", &used), Some(withdrawn(DAY)), "not written each time");
        state.confirm("r/a", &used, &withdrawn(DAY), DAY + FRESH);
        state.prune("r/a", DAY + KEPT - 1);
        assert!(state.get("r/a", &unused).is_some());
        state.prune("r/a", DAY + KEPT);
        assert_eq!(state.get("r/a", &unused), None);
        assert_eq!(state.get("r/a", &used), Some(withdrawn(DAY + FRESH)));
        assert!(state.get("r/ab", &unused).is_some(), "of another repository");
    }
}
