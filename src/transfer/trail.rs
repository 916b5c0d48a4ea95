//! The hash states that a blob's bytes left behind on their way, so that hashing can go on from
//! the middle when a target has kept only a part.

use crate::oci::{Digest, Hasher};

/// A state is kept every so many bytes: what is re-read at worst when an upload is resumed.
pub const STRIDE: u64 = 8 << 20;

/// A hash in the making, with states to go back to.
#[derive(Debug)]
pub struct Trail {
    digest: Digest,
    points: Vec<(u64, Hasher)>,
}

impl Trail {
    pub fn new(digest: &Digest) -> Self {
        Self { digest: digest.clone(), points: vec![(0, digest.hasher())] }
    }

    /// The trail that a journal has kept. Points that cannot be read are left out.
    pub fn from_journal<'a>(
        digest: &Digest,
        points: impl IntoIterator<Item = (u64, &'a [u8])>,
    ) -> Self {
        let mut trail = Self::new(digest);
        for (offset, state) in points {
            if let Some(hasher) = Hasher::deserialize(digest, state) {
                trail.add(offset, hasher);
            }
        }
        trail
    }

    /// Notes the state after `offset` bytes. Offsets only grow; others are known already.
    pub fn add(&mut self, offset: u64, hasher: Hasher) {
        if self.points.last().is_some_and(|(last, _)| *last < offset) {
            self.points.push((offset, hasher));
        }
    }

    /// The newest state at or before `offset`, from where bytes must be read to go on there.
    pub fn at_or_before(&self, offset: u64) -> (u64, Hasher) {
        let (at, hasher) = self
            .points
            .iter()
            .rev()
            .find(|(at, _)| *at <= offset)
            .map_or_else(|| (0, self.digest.hasher()), |(at, hasher)| (*at, hasher.clone()));
        (at, hasher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Wherever a target stands, hashing on from there gives the blob's digest.
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
            let trail = Trail::from_journal(&digest, journal.iter().map(|(at, state)| (*at, &state[..])));
            let stored = stored.min(content.len());
            let (at, mut hasher) = trail.at_or_before(stored as u64);
            prop_assert!(at as usize <= stored);
            hasher.update(&content[at as usize..]);
            prop_assert_eq!(hasher.finish(), digest);
        }
    }
}
