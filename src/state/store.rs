//! Keys and values, in memory or on a disk.
//!
//! What is kept here only saves time, so nothing in here returns an error. What is applied is in
//! memory until it is on the disk, so a disk that is slow or full loses nothing as long as the
//! process lives, and delays nobody. Only a database that is damaged is given up: it is empty and
//! takes nothing until the next start.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::database::{Change, Changes, Database, Failure};
use super::pending::{Kept, Pending};

/// How much may wait for a disk that works, in bytes: beyond it, who applies waits for a save.
const MAX_WAITING: usize = 32 << 20;

/// How much of the disk is left free: a database that meets a full disk has to be opened again.
const MIN_FREE: u64 = 2 << 20;

#[derive(Debug)]
pub(super) enum Store {
    Memory(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>),
    Disk(Box<Saved>),
}

/// A database, and the changes that are not in it yet.
#[derive(Debug)]
pub(super) struct Saved {
    database: Box<dyn Database>,
    /// How long a save may take before the disk counts as stalled.
    patience: Duration,
    unsaved: Mutex<Unsaved>,
    /// A save has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Unsaved {
    pending: Pending,
    /// When the save in progress began.
    begun: Option<Instant>,
    /// Why the last save failed.
    failing: Option<String>,
    /// Why the database could not be read, if that has not worked since.
    unreadable: Option<String>,
    /// Why the database was given up.
    damaged: Option<String>,
    /// Whether the log says that the disk takes nothing.
    is_told: bool,
    /// Changes that were not kept, or only as removals.
    lost: u64,
}

/// Whether everything that was applied is on the disk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Condition {
    /// Why the database cannot be read.
    pub(super) broken: Option<String>,
    /// Why what was applied does not get to the disk.
    pub(super) behind: Option<String>,
    /// How long the oldest change that is not on the disk has waited.
    pub(super) unsaved: Duration,
    /// Changes that did not fit into the memory.
    pub(super) lost: u64,
}

impl Store {
    pub(super) fn on(database: impl Database + 'static, patience: Duration) -> Self {
        Self::Disk(Box::new(Saved {
            database: Box::new(database),
            patience,
            unsaved: Mutex::default(),
            ended: Condvar::new(),
        }))
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Memory(map) => map.lock().get(key).cloned(),
            Self::Disk(saved) => saved.get(key),
        }
    }

    /// Makes all changes, or none if the process is killed meanwhile.
    pub(super) fn apply(&self, changes: Vec<Change>) {
        match self {
            Self::Memory(map) => {
                let mut map = map.lock();
                for (key, value) in changes {
                    match value {
                        Some(value) => map.insert(key, value),
                        None => map.remove(&key),
                    };
                }
            }
            Self::Disk(saved) => saved.apply(changes),
        }
    }

    /// What `pick` makes of the entries whose keys start with `prefix`, in the order of their keys;
    /// of more than `limit`, the last ones. There may be very many entries: only what is picked is
    /// held. `pick` must not use the store.
    ///
    /// Every scan is done here, so this is where scans could be kept off the runtime's workers.
    pub(super) fn scan<T>(
        &self,
        prefix: &[u8],
        limit: usize,
        mut pick: impl FnMut(&[u8], &[u8]) -> Option<T>,
    ) -> Vec<T> {
        let mut picked = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            if picked.len() < limit {
                picked.extend(pick(key, value));
            }
            picked.len() < limit
        };
        let is_whole = match self {
            Self::Memory(map) => {
                let map = map.lock();
                let entries = map.range(prefix.to_vec()..);
                let entries: Vec<_> =
                    entries.take_while(|(key, _)| key.starts_with(prefix)).collect();
                entries.into_iter().rev().all(|(key, value)| visit(key, value));
                true
            }
            Self::Disk(saved) => saved.scan(prefix, &mut visit),
        };
        if !is_whole {
            return Vec::new();
        }
        picked.reverse();
        picked
    }

    /// Brings everything that was applied until now to the disk, durably. `false`: that is to be
    /// tried again later. One thread calls this.
    pub(super) fn save(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Disk(saved) => saved.save(),
        }
    }

    pub(super) fn condition(&self) -> Condition {
        match self {
            Self::Memory(_) => Condition::default(),
            Self::Disk(saved) => saved.condition(),
        }
    }
}

impl Saved {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        {
            let unsaved = self.unsaved.lock();
            if unsaved.damaged.is_some() {
                return None;
            }
            if let Some(value) = unsaved.pending.get(key) {
                return value.map(<[u8]>::to_vec);
            }
        }
        // What was saved since then is in the database.
        self.read(self.database.get(key))?
    }

    /// Shows the entries from the last key to the first, until `visit` returns `false`. `false`:
    /// not all of them could be read.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> bool {
        let mut newer = {
            let unsaved = self.unsaved.lock();
            if unsaved.damaged.is_some() {
                return false;
            }
            unsaved.pending.with_prefix(prefix)
        };
        let mut goes_on = true;
        let scanned = self.database.scan(prefix, &mut |key, value| {
            while goes_on && newer.last_key_value().is_some_and(|(newer, _)| newer[..] > *key) {
                goes_on = visit_last(&mut newer, visit);
            }
            let is_newer = newer.last_key_value().is_some_and(|(newer, _)| newer[..] == *key);
            goes_on =
                goes_on && if is_newer { visit_last(&mut newer, visit) } else { visit(key, value) };
            goes_on
        });
        while goes_on && !newer.is_empty() {
            goes_on = visit_last(&mut newer, visit);
        }
        self.read(scanned).is_some()
    }

    /// The result of an operation that reads, or `None` if it failed.
    fn read<T>(&self, result: Result<T, Failure>) -> Option<T> {
        match result {
            Ok(value) => return Some(value),
            Err(Failure::Damaged(why)) => Self::give_up(&mut self.unsaved.lock(), why),
            Err(Failure::Refused { words, .. }) => self.unsaved.lock().unreadable = Some(words),
        }
        None
    }

    fn apply(&self, changes: Vec<Change>) {
        let mut unsaved = self.unsaved.lock();
        while unsaved.pending.size() > MAX_WAITING && !self.takes_nothing(&unsaved) {
            self.ended.wait_for(&mut unsaved, self.patience);
        }
        if unsaved.damaged.is_some() {
            return;
        }
        self.tell(&mut unsaved);
        let is_limited = self.takes_nothing(&unsaved);
        let now = Instant::now();
        for (key, value) in changes {
            if unsaved.pending.add(key, value, is_limited, now) != Kept::Whole {
                unsaved.lost += 1;
            }
        }
    }

    fn save(&self) -> bool {
        let changes = {
            let mut unsaved = self.unsaved.lock();
            let is_done = unsaved.pending.since().is_none() && unsaved.unreadable.is_none();
            if is_done || unsaved.damaged.is_some() {
                return true;
            }
            unsaved.begun = Some(Instant::now());
            unsaved.pending.begin()
        };
        let result = self.try_save(&changes);
        drop(changes);
        let mut unsaved = self.unsaved.lock();
        unsaved.begun = None;
        let is_over = match result {
            Ok(()) => {
                unsaved.pending.saved();
                unsaved.failing = None;
                unsaved.unreadable = None;
                if std::mem::take(&mut unsaved.is_told) {
                    tracing::info!("the state is written again");
                }
                true
            }
            Err(Failure::Damaged(why)) => {
                Self::give_up(&mut unsaved, why);
                true
            }
            Err(Failure::Refused { words, .. }) => {
                unsaved.pending.not_saved();
                unsaved.failing = Some(words);
                self.tell(&mut unsaved);
                false
            }
        };
        drop(unsaved);
        self.ended.notify_all();
        is_over
    }

    fn try_save(&self, changes: &Changes) -> Result<(), Failure> {
        let size = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
            key.len() + value.as_ref().map_or(0, Vec::len)
        };
        let size: usize = changes.iter().map(size).sum();
        // Twice: the database moves what is beside a change, and removes old copies later.
        let needed = MIN_FREE.saturating_add(2 * size as u64);
        let free = self.database.free_space()?;
        if free < needed {
            let free = bytesize::ByteSize(free).display().iec();
            let words = format!("the disk is full ({free} left): free some space");
            return Err(Failure::Refused { kind: ErrorKind::StorageFull, words });
        }
        self.database.save(changes)
    }

    /// Says once in the log that the disk takes nothing, if that is so.
    fn tell(&self, unsaved: &mut Unsaved) {
        if let Some(why) = self.behind(unsaved).filter(|_| !unsaved.is_told) {
            unsaved.is_told = true;
            tracing::warn!(
                "the state cannot be written and is kept in memory until it can; a process that is \
                 killed meanwhile loses the newest of it, which only costs time: {why}"
            );
        }
    }

    fn give_up(unsaved: &mut Unsaved, why: String) {
        if unsaved.damaged.is_none() {
            tracing::warn!(
                "the state is damaged and left alone until the next start, which sets it aside and \
                 only costs time: {why}"
            );
            unsaved.damaged = Some(why);
        }
        unsaved.pending.clear();
    }

    /// Whether it is of no use to wait for the disk.
    fn takes_nothing(&self, unsaved: &Unsaved) -> bool {
        unsaved.damaged.is_some() || self.behind(unsaved).is_some()
    }

    /// Why what was applied does not get to the disk.
    fn behind(&self, unsaved: &Unsaved) -> Option<String> {
        let stalled =
            unsaved.begun.map(|begun| begun.elapsed()).filter(|time| *time > self.patience);
        match stalled {
            Some(time) => {
                Some(format!("the disk has not taken what was written for {} s", time.as_secs()))
            }
            None => unsaved.failing.clone(),
        }
    }

    fn condition(&self) -> Condition {
        let unsaved = self.unsaved.lock();
        Condition {
            broken: unsaved.damaged.clone().or_else(|| unsaved.unreadable.clone()),
            behind: self.behind(&unsaved),
            unsaved: unsaved.pending.since().map(|since| since.elapsed()).unwrap_or_default(),
            lost: unsaved.lost,
        }
    }
}

/// Shows the last entry and takes it out. `false`: no more are wanted.
fn visit_last(entries: &mut Changes, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> bool {
    match entries.pop_last() {
        Some((key, Some(value))) => visit(&key, &value),
        _ => true,
    }
}
