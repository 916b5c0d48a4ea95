//! The states of a blob's hash at certain offsets, so that hashing can continue from the middle of
//! the blob when a target has kept only a part of it.

use crate::oci::{Digest, Hasher};

/// A checkpoint is kept every so many bytes: at most as much is read again when an upload resumes.
pub const STRIDE: u64 = 8 << 20;

/// The hash states of one blob, by offset.
#[derive(Debug)]
pub struct Checkpoints {
    digest: Digest,
    /// Rising; the first is at 0.
    states: Vec<(u64, Hasher)>,
}

impl Checkpoints {
    pub fn new(digest: &Digest) -> Self {
        Self { digest: digest.clone(), states: vec![(0, digest.hasher())] }
    }

    /// The checkpoints that a journal has kept, by rising offset. Those that cannot be read are
    /// left out.
    pub fn restore<'a>(digest: &Digest, states: impl IntoIterator<Item = (u64, &'a [u8])>) -> Self {
        let mut checkpoints = Self::new(digest);
        for (offset, state) in states {
            if let Some(hasher) = Hasher::deserialize(digest, state) {
                checkpoints.add(offset, hasher);
            }
        }
        checkpoints
    }

    /// Adds the state after `offset` bytes. Offsets that are not higher than the last are known
    /// already.
    pub fn add(&mut self, offset: u64, hasher: Hasher) {
        if self.states.last().is_some_and(|(last, _)| *last < offset) {
            self.states.push((offset, hasher));
        }
    }

    /// The last checkpoint at or before `offset`: to continue at `offset`, bytes are read from
    /// there.
    pub fn at_or_before(&self, offset: u64) -> (u64, Hasher) {
        let found = self.states.iter().rev().find(|(at, _)| *at <= offset);
        found.cloned().unwrap_or_else(|| (0, self.digest.hasher()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// From whatever offset hashing continues, it ends with the blob's digest.
        #[test]
        fn hashing_goes_on_from_any_offset(
            content in proptest::collection::vec(any::<u8>(), 1..400),
            cuts in proptest::collection::btree_set(1usize..400, 0..6),
            stored in 0usize..400,
        ) {
            let digest = Digest::of(&content);
            let (mut hasher, mut journal, mut done) = (digest.hasher(), Vec::new(), 0);
            for cut in cuts.into_iter().filter(|cut| *cut <= content.len()) {
                hasher.update(&content[done..cut]);
                done = cut;
                journal.push((cut as u64, hasher.serialize()));
            }
            let checkpoints = Checkpoints::restore(&digest, journal.iter().map(|(at, state)| (*at, &state[..])));
            let stored = stored.min(content.len());
            let (at, mut hasher) = checkpoints.at_or_before(stored as u64);
            prop_assert!(at as usize <= stored);
            hasher.update(&content[at as usize..]);
            prop_assert_eq!(hasher.finish(), digest);
        }
    }
}
