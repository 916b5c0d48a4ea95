//! What the state does while its disk is slow, full or refuses to work, and afterwards.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::database::{Changes, Database, Failure};
use super::flusher::Pace;
use super::local::Local;
use super::{Health, State};

const LIMIT: Duration = Duration::from_secs(60);

const QUICK: Pace = Pace {
    interval: Duration::from_millis(1),
    retry: Duration::from_millis(1),
    patience: Duration::from_millis(50),
};

/// A disk that does what the test wants. Clones are the same disk.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<(Mutex<Contents>, Condvar)>);

#[derive(Debug)]
struct Contents {
    saved: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Saves wait until this is over.
    is_stalled: bool,
    free: u64,
    refusal: Option<Failure>,
    /// Reading fails as well.
    is_closed: bool,
    /// How often something was saved, and how much at most.
    saves: usize,
    largest: usize,
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            saved: BTreeMap::new(),
            is_stalled: false,
            free: u64::MAX,
            refusal: None,
            is_closed: false,
            saves: 0,
            largest: 0,
        }
    }
}

impl Disk {
    fn set(&self, change: impl FnOnce(&mut Contents)) {
        change(&mut self.0.0.lock());
        self.0.1.notify_all();
    }

    fn look<T>(&self, look: impl FnOnce(&Contents) -> T) -> T {
        look(&self.0.0.lock())
    }

    fn readable(&self) -> Result<parking_lot::MutexGuard<'_, Contents>, Failure> {
        let contents = self.0.0.lock();
        match &contents.refusal {
            Some(failure) if contents.is_closed => Err(failure.clone()),
            _ => Ok(contents),
        }
    }
}

impl Database for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.readable()?.saved.get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Failure> {
        let saved = self.readable()?.saved.clone();
        let mut found = saved.into_iter().rev().filter(|(key, _)| key.starts_with(prefix));
        found.all(|(key, value)| visit(&key, &value));
        Ok(())
    }

    fn save(&self, changes: &Changes) -> Result<(), Failure> {
        let mut contents = self.0.0.lock();
        self.0.1.wait_while(&mut contents, |contents| contents.is_stalled);
        contents.saves += 1;
        if let Some(failure) = &contents.refusal {
            return Err(failure.clone());
        }
        let size =
            changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len));
        contents.largest = contents.largest.max(size.sum());
        for (key, value) in changes.clone() {
            match value {
                Some(value) => contents.saved.insert(key, value),
                None => contents.saved.remove(&key),
            };
        }
        Ok(())
    }

    fn free_space(&self) -> io::Result<u64> {
        Ok(self.look(|contents| contents.free))
    }
}

fn start(pace: Pace) -> (Disk, State) {
    let disk = Disk::default();
    (disk.clone(), State::local(Local::on(disk, pace).unwrap()))
}

/// Waits until the state's health is as wanted.
fn wait(state: &State, is_wanted: impl Fn(&Health) -> bool) -> Health {
    let start = Instant::now();
    loop {
        let health = state.storage.health();
        if is_wanted(&health) {
            return health;
        }
        assert!(start.elapsed() < LIMIT, "{health:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn is_saved(health: &Health) -> bool {
    health.unsaved.is_zero()
}

fn fail_once(state: &State, rule: &str) {
    state.marks.update(rule, &mut |mark| mark.consecutive_failures += 1);
}

fn failures(state: &State, rule: &str) -> u32 {
    state.marks.get(rule).map_or(0, |mark| mark.consecutive_failures)
}

/// Whatever was noted is there, in another process too.
fn assert_is_saved(disk: &Disk, rules: &[(&str, u32)]) {
    let state = State::local(Local::on(disk.clone(), QUICK).unwrap());
    for (rule, count) in rules {
        assert_eq!(failures(&state, rule), *count, "{rule}");
    }
}

/// Without any flush by hand, what is noted is saved soon.
#[test]
fn what_is_noted_is_saved_soon() {
    let (disk, state) = start(Pace::default());
    for count in 1..=2 {
        fail_once(&state, "app");
        wait(&state, is_saved);
        assert_is_saved(&disk, &[("app", count)]);
    }
}

#[tokio::test]
async fn a_disk_that_stalls_loses_nothing_and_delays_nobody() {
    let (disk, state) = start(QUICK);
    fail_once(&state, "old");
    wait(&state, is_saved);
    disk.set(|contents| contents.is_stalled = true);
    fail_once(&state, "app");
    let health = wait(&state, |health| health.behind.is_some());
    assert!(health.behind.unwrap().contains("has not taken what was written for"));
    assert_eq!((health.broken, health.lost), (None, 0));
    assert!(health.unsaved >= QUICK.patience);
    // What waits is read, changed and added to; nobody waits for the disk for long.
    fail_once(&state, "app");
    fail_once(&state, "old");
    fail_once(&state, "new");
    state.storage.flush().await;
    assert_eq!(["app", "old", "new"].map(|rule| failures(&state, rule)), [2, 2, 1]);
    state.marks.keep_only(&["app", "old"]);
    assert_eq!(["app", "old", "new"].map(|rule| failures(&state, rule)), [2, 2, 0]);
    disk.set(|contents| contents.is_stalled = false);
    wait(&state, is_saved);
    assert_eq!(state.storage.health(), Health::default());
    assert_is_saved(&disk, &[("app", 2), ("old", 2), ("new", 0)]);
}

#[test]
fn a_disk_that_was_full_gets_everything() {
    let (disk, state) = start(QUICK);
    disk.set(|contents| contents.free = 1 << 20);
    fail_once(&state, "app");
    let health = wait(&state, |health| health.behind.is_some());
    assert_eq!(health.behind.unwrap(), "the disk is full (1.0 MiB left): free some space");
    assert_eq!(health.broken, None);
    fail_once(&state, "app");
    assert_eq!(failures(&state, "app"), 2);
    assert_eq!(disk.look(|contents| contents.saves), 0, "the database never meets a full disk");
    disk.set(|contents| contents.free = 1 << 30);
    wait(&state, is_saved);
    assert_eq!(state.storage.health(), Health::default());
    assert_is_saved(&disk, &[("app", 2)]);
}

#[test]
fn a_write_that_fails_is_tried_again() {
    let (disk, state) = start(QUICK);
    fail_once(&state, "old");
    wait(&state, is_saved);
    let refusal = Failure::from(io::Error::from_raw_os_error(28));
    disk.set(|contents| (contents.refusal, contents.is_closed) = (Some(refusal), true));
    fail_once(&state, "app");
    let health = wait(&state, |health| health.behind.is_some());
    assert_eq!(health.behind.unwrap(), "No space left on device (os error 28)");
    // What cannot be read is said to be unknown.
    assert_eq!((failures(&state, "old"), failures(&state, "app")), (0, 1));
    assert!(state.storage.health().broken.is_some());
    let saves = disk.look(|contents| contents.saves);
    let start = Instant::now();
    while disk.look(|contents| contents.saves) < saves + 3 {
        assert!(start.elapsed() < LIMIT, "it is not tried again");
    }
    disk.set(|contents| contents.refusal = None);
    wait(&state, is_saved);
    assert_eq!(state.storage.health(), Health::default());
    assert_is_saved(&disk, &[("old", 1), ("app", 1)]);
}

/// What could not be saved before is saved at the end.
#[test]
fn the_end_saves_what_is_left() {
    let pace = Pace { retry: LIMIT, ..QUICK };
    let (disk, state) = start(pace);
    let refusal = Failure::from(io::Error::from(ErrorKind::StorageFull));
    disk.set(|contents| contents.refusal = Some(refusal));
    fail_once(&state, "app");
    wait(&state, |health| health.behind.is_some());
    disk.set(|contents| contents.refusal = None);
    drop(state);
    assert_is_saved(&disk, &[("app", 1)]);
}

#[test]
fn only_damage_gives_the_state_up() {
    let (disk, state) = start(QUICK);
    fail_once(&state, "app");
    wait(&state, is_saved);
    disk.set(|contents| contents.refusal = Some(Failure::Damaged("bad page".to_owned())));
    fail_once(&state, "app");
    let health = wait(&state, |health| health.broken.is_some());
    assert_eq!(health, Health { broken: Some("bad page".to_owned()), ..Health::default() });
    fail_once(&state, "app");
    assert_eq!(failures(&state, "app"), 0);
    assert_eq!(disk.look(|contents| contents.saves), 2, "it is not touched any more");
}

/// A disk that works gets everything, however fast it comes, and little waits in memory.
#[test]
fn who_notes_very_much_waits_for_the_disk() {
    let pace = Pace { interval: Duration::from_millis(300), patience: LIMIT, ..QUICK };
    let disk = Disk::default();
    let local = Local::on(disk.clone(), pace).unwrap();
    for number in 0..100_u8 {
        local.apply(vec![(vec![b'b', number], Some(vec![number; 1 << 20]))]);
    }
    wait(&State::local(local), is_saved);
    assert_eq!(disk.look(|contents| contents.saved.len()), 100);
    let largest = disk.look(|contents| contents.largest) >> 20;
    assert!(largest <= 33, "{largest} MiB at once");
}

proptest::proptest! {
    /// What waits for the disk is read as if it were there.
    #[test]
    fn scans_see_what_is_saved_and_what_waits(
        saved in proptest::collection::btree_map("[ab][a-d]{0,2}", "[x-z]", 0..20),
        waiting in proptest::collection::btree_map("[ab][a-d]{0,2}", proptest::option::of("[x-z]"), 0..20),
        limit in 0..6_usize,
    ) {
        let (disk, plain) = (Disk::default(), Local::in_memory());
        let bytes = |text: &String| text.clone().into_bytes();
        for (key, value) in &saved {
            disk.set(|contents| drop(contents.saved.insert(bytes(key), bytes(value))));
            plain.apply(vec![(bytes(key), Some(bytes(value)))]);
        }
        let local = Local::on(disk, Pace { interval: LIMIT, ..QUICK }).unwrap();
        for (key, value) in &waiting {
            let change = (bytes(key), value.as_ref().map(bytes));
            local.apply(vec![change.clone()]);
            plain.apply(vec![change]);
        }
        for prefix in ["", "a", "ab", "b", "c"] {
            let scan = |local: &Local| {
                local.store.scan(prefix.as_bytes(), limit, |key, value| {
                    (value != b"z").then(|| (key.to_vec(), value.to_vec()))
                })
            };
            proptest::prop_assert_eq!(scan(&local), scan(&plain));
        }
        for key in saved.keys().chain(waiting.keys()) {
            proptest::prop_assert_eq!(local.store.get(key.as_bytes()), plain.store.get(key.as_bytes()));
        }
    }
}
