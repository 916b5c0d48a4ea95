//! Changes that are not on the disk yet: what was applied since the last save began, and what is
//! being saved. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::database::Changes;

/// How much is kept of one kind of record, the first byte of its key, while the disk takes nothing,
/// in bytes. Each kind has its own limit, so that the many records of blobs do not push out the few
/// marks of rules.
const LIMIT: usize = 8 << 20;

/// What a change takes besides its key and its value, about.
const OVERHEAD: usize = 96;

#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Applied since the last save began.
    waiting: Changes,
    /// Being saved. For a key that is in both, `waiting` is newer.
    saving: Arc<Changes>,
    /// When the first change of each was applied.
    waiting_since: Option<Instant>,
    saving_since: Option<Instant>,
    /// How much both take, by kind.
    sizes: BTreeMap<u8, usize>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Whole,
    /// Only that the old value is not valid any more.
    AsRemoval,
    Not,
}

impl Pending {
    /// Adds a change. If the limit counts and is exceeded, a new value is forgotten: no value is
    /// better than an old one. If it is exceeded twice, the change is not kept.
    pub(super) fn add(
        &mut self,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
        is_limited: bool,
        now: Instant,
    ) -> Kept {
        let size = self.sizes.entry(kind(&key)).or_default();
        let (value, kept) = match value {
            _ if is_limited && *size > 2 * LIMIT && !self.waiting.contains_key(&key) => {
                return Kept::Not;
            }
            Some(_) if is_limited && *size > LIMIT => (None, Kept::AsRemoval),
            value => (value, Kept::Whole),
        };
        *size += cost(&key, value.as_ref());
        self.waiting_since.get_or_insert(now);
        let cost_of_key = cost(&key, None);
        if let Some(old) = self.waiting.insert(key, value) {
            *size = size.saturating_sub(cost_of_key + old.map_or(0, |value| value.len()));
        }
        kept
    }

    /// The new value of a key, or that it has none; `None`: the disk has what is valid.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let change = self.waiting.get(key).or_else(|| self.saving.get(key))?;
        Some(change.as_deref())
    }

    /// The changes of the keys that start with `prefix`.
    pub(super) fn with_prefix(&self, prefix: &[u8]) -> Changes {
        let of = |changes: &Changes| -> Changes {
            let all = changes.range(prefix.to_vec()..);
            let all = all.take_while(|(key, _)| key.starts_with(prefix));
            all.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let mut found = of(&self.saving);
        found.extend(of(&self.waiting));
        found
    }

    /// Begins a save of everything. `saved` or `not_saved` ends it.
    pub(super) fn begin(&mut self) -> Arc<Changes> {
        self.saving = Arc::new(std::mem::take(&mut self.waiting));
        self.saving_since = self.waiting_since.take();
        Arc::clone(&self.saving)
    }

    /// What was being saved is on the disk.
    pub(super) fn saved(&mut self) {
        self.saving = Arc::default();
        self.saving_since = None;
        self.measure();
    }

    /// What was being saved is not on the disk, or not for sure: it waits again.
    pub(super) fn not_saved(&mut self) {
        let saving = std::mem::take(&mut self.saving);
        let newer = std::mem::take(&mut self.waiting);
        self.waiting = Arc::unwrap_or_clone(saving);
        self.waiting.extend(newer);
        self.waiting_since = self.saving_since.take().or(self.waiting_since);
        self.measure();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When the oldest change was applied.
    pub(super) fn since(&self) -> Option<Instant> {
        self.saving_since.or(self.waiting_since)
    }

    /// How much all changes take in memory, in bytes, about.
    pub(super) fn size(&self) -> usize {
        self.sizes.values().sum()
    }

    fn measure(&mut self) {
        self.sizes.clear();
        for (key, value) in self.waiting.iter().chain(&*self.saving) {
            *self.sizes.entry(kind(key)).or_default() += cost(key, value.as_ref());
        }
    }
}

fn kind(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or_default()
}

fn cost(key: &[u8], value: Option<&Vec<u8>>) -> usize {
    key.len() + value.map_or(0, Vec::len) + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: u8, number: u32) -> Vec<u8> {
        [&[kind][..], &number.to_be_bytes()].concat()
    }

    fn add(pending: &mut Pending, key: &[u8], value: &[u8]) {
        assert_eq!(
            pending.add(key.to_vec(), Some(value.to_vec()), true, Instant::now()),
            Kept::Whole
        );
    }

    #[test]
    fn what_is_newer_counts_before_during_and_after_a_save() {
        let mut pending = Pending::default();
        assert_eq!((pending.get(b"a"), pending.since(), pending.size()), (None, None, 0));
        add(&mut pending, b"a", b"1");
        add(&mut pending, b"b", b"1");
        let first = pending.since();
        assert!(first.is_some());
        let saving = pending.begin();
        assert_eq!(saving.len(), 2);
        add(&mut pending, b"a", b"2");
        pending.add(b"c".to_vec(), None, true, Instant::now());
        let all = |pending: &Pending| {
            assert_eq!(pending.get(b"a"), Some(Some(&b"2"[..])));
            assert_eq!(pending.get(b"b"), Some(Some(&b"1"[..])));
            assert_eq!(pending.get(b"c"), Some(None));
            let keys: Vec<_> = pending.with_prefix(b"").into_keys().collect();
            assert_eq!(keys, [b"a", b"b", b"c"]);
            assert_eq!(pending.with_prefix(b"b").len(), 1);
            assert_eq!(pending.since(), first);
        };
        all(&pending);
        drop(saving);
        pending.not_saved();
        all(&pending);
        assert_eq!(pending.begin().len(), 3);
        add(&mut pending, b"d", b"1");
        pending.saved();
        assert_eq!((pending.get(b"a"), pending.get(b"d")), (None, Some(Some(&b"1"[..]))));
        assert!(pending.since() > first);
        pending.begin();
        pending.saved();
        assert_eq!((pending.since(), pending.size()), (None, 0));
    }

    /// Whatever is added while nothing can be saved, the memory is bounded, and other kinds are kept.
    #[test]
    fn too_much_is_forgotten_and_not_left_at_its_old_value() {
        let mut pending = Pending::default();
        let now = Instant::now();
        let mut counts = [0; 3];
        for number in 0..400_000 {
            let kept = pending.add(key(b'b', number), Some(vec![7; 100]), true, now);
            counts[kept as usize] += 1;
            let is_there = pending.get(&key(b'b', number));
            assert_eq!(
                is_there.map(|value| value.is_some()),
                match kept {
                    Kept::Whole => Some(true),
                    Kept::AsRemoval => Some(false),
                    Kept::Not => None,
                }
            );
        }
        assert!(counts.iter().all(|count| *count > 10_000), "{counts:?}");
        assert!(pending.size() < 2 * LIMIT + 1000, "{}", pending.size());
        // What is known to be waiting can change, and marks have their own room.
        assert_eq!(pending.add(key(b'b', 1), None, true, now), Kept::Whole);
        add(&mut pending, &key(b'M', 1), b"mark");
        // A disk that takes what it gets sets no limit.
        assert_eq!(pending.add(key(b'b', u32::MAX), Some(vec![7]), false, now), Kept::Whole);
    }

    #[test]
    fn replaced_values_take_no_room() {
        let mut pending = Pending::default();
        for round in 0..1000 {
            add(&mut pending, b"a", &vec![7; round]);
        }
        assert_eq!(pending.size(), 1 + 999 + OVERHEAD);
    }
}
