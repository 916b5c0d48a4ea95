//! The state on disk: what survives, what is set aside, and who is kept out.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::oci::{Digest, Tag};
use crate::repository::UploadSession;

const PATIENCE: Duration = Duration::from_secs(60);

fn tag_state(number: u64) -> TagState {
    let digest = Digest::of(&number.to_be_bytes());
    TagState {
        verified_at: number,
        options: 7,
        subjects: vec![digest.clone(), Digest::of(b"child")],
        ..TagState::sample(&digest, &digest)
    }
}

fn key(tag: &Tag) -> TagKey<'_> {
    TagKey { source: "ghcr.io/acme/app", target: "quay.io/acme/app", tag }
}

fn put(state: &State, number: u64) {
    state.tags.set(&key(&format!("v{number}").parse().unwrap()), &tag_state(number));
}

fn get(state: &State, number: u64) -> Option<TagState> {
    state.tags.get(&key(&format!("v{number}").parse().unwrap()))
}

/// Runs `work` and returns what it logged.
fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    let (writer, lines) = mpsc::channel();
    struct Lines(mpsc::Sender<Vec<u8>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || Lines(writer.clone()))
        .finish();
    let result = tracing::subscriber::with_default(subscriber, work);
    (result, lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // A file that is written to meanwhile may go; what counts is what can be read.
            let _ = fs::copy(entry.path(), target);
        }
    }
}

fn damaged(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.contains(".damaged-"));
    names.sort();
    names
}

#[tokio::test]
async fn everything_is_there_when_opened_again() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("deep/state");
    let blob = Digest::of(b"blob");
    let upload = UploadKey { store: "quay.io", repository: "acme/app", digest: &blob };
    let session = UploadSession { location: "/uploads/1".into(), offset: 9 };
    let checkpoint = Checkpoint { offset: 9, hash_state: blob.hasher().serialize() };

    let state = State::open(&path).unwrap();
    for folder in [&path, &path.join("index.sled")] {
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
    put(&state, 1);
    put(&state, 2);
    state.tags.forget(&key(&"v2".parse().unwrap()));
    state.blobs.add("quay.io", "acme/app", &blob);
    state.blobs.add("quay.io", "acme/other", &blob);
    state.blobs.add("quay.io", "acme/other", &Digest::of(b"other"));
    state.uploads.begin(&upload, &session);
    state.uploads.add_checkpoint(&upload, &checkpoint);
    drop(state);

    let (state, log) = logged(|| State::open(&path).unwrap());
    assert_eq!(log, "");
    assert_eq!(get(&state, 1), Some(tag_state(1)));
    assert_eq!(get(&state, 2), None);
    assert_eq!(state.blobs.get("quay.io", &blob), ["acme/other", "acme/app"]);
    assert_eq!(
        state.uploads.get(&upload),
        Some(Journal { session, checkpoints: vec![checkpoint] })
    );
    state.uploads.clear(&upload);
    state.storage.flush().await;
    assert_eq!(state.uploads.get(&upload), None);
    assert_eq!(state.storage.health(), Health::default());
    assert!(state.storage.size_bytes() > 0);
    assert_eq!(State::in_memory().storage.size_bytes(), 0);
}

#[test]
fn a_second_process_is_told_what_to_do() {
    let dir = TempDir::new().unwrap();
    let first = State::open(dir.path()).unwrap();
    let clone = first.clone();
    drop(first);
    // A lock belongs to an open file, so a second opening in this process meets it as well.
    let error = State::open(dir.path()).unwrap_err();
    assert!(matches!(error, StateError::InUse(_)));
    let message = error.to_string();
    assert!(message.contains(&dir.path().display().to_string()), "{message}");
    assert!(message.contains("in use by another tranship process: wait"), "{message}");
    assert!(damaged(dir.path()).is_empty());
    drop(clone);
    State::open(dir.path()).unwrap();
}

#[test]
fn a_directory_open_to_others_is_closed() {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let (_state, log) = logged(|| State::open(dir.path()).unwrap());
    assert!(log.contains("WARN") && log.contains("0755"), "{log}");
    assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = State::open(&file.join("state")).unwrap_err();
    assert!(matches!(error, StateError::Create { .. }), "{error}");
    assert!(error.to_string().contains("set `state` under [daemon]"), "{error}");

    let path = dir.path().join("not-mine");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o500)).unwrap();
    // The superuser may write everywhere, so there is nothing to see for it.
    if fs::write(path.join("probe"), "").is_err() {
        let error = State::open(&path).unwrap_err();
        assert!(matches!(error, StateError::Denied { .. }), "{error}");
    }
}

/// What one kind of damage does: a warning, an empty state, the old one aside, and it works.
fn assert_set_aside(damage: impl FnOnce(&Path)) {
    let dir = TempDir::new().unwrap();
    let path = dir.path();
    let state = State::open(path).unwrap();
    put(&state, 1);
    drop(state);
    // Opening an existing database is what writes a snapshot.
    drop(State::open(path).unwrap());
    damage(&path.join("index.sled"));
    let (state, log) = logged(|| State::open(path).unwrap());
    assert!(log.contains("WARN") && log.contains("starts anew"), "{log}");
    assert_eq!(damaged(path), ["index.sled.damaged-1"]);
    assert_eq!(get(&state, 1), None);
    put(&state, 2);
    drop(state);
    let (state, log) = logged(|| State::open(path).unwrap());
    assert_eq!((get(&state, 2), log.as_str()), (Some(tag_state(2)), ""));
}

fn change_sentinel(database: &Path, value: Option<&[u8]>) {
    let db = sled::open(database).unwrap();
    match value {
        Some(value) => db.insert([0], value).unwrap(),
        None => db.remove([0]).unwrap(),
    }
    .expect("every database has a sentinel");
    db.flush().unwrap();
}

#[test]
fn damaged_and_foreign_databases_are_set_aside() {
    assert_set_aside(|database| change_sentinel(database, None));
    assert_set_aside(|database| change_sentinel(database, Some(b"\x0etranship state\x02")));
    assert_set_aside(|database| fs::write(database.join("conf"), "not a configuration").unwrap());
    assert_set_aside(|database| {
        let snapshots = fs::read_dir(database).unwrap().map(|entry| entry.unwrap().path());
        let is_snapshot = |path: &PathBuf| path.to_string_lossy().contains("/snap.");
        let snapshots: Vec<_> = snapshots.filter(is_snapshot).collect();
        assert!(!snapshots.is_empty());
        for snapshot in snapshots {
            fs::write(snapshot, "").unwrap();
        }
    });
    assert_set_aside(|database| fs::remove_file(database.join("db")).unwrap());
}

#[test]
fn the_newest_damaged_databases_are_kept() {
    let dir = TempDir::new().unwrap();
    for _ in 0..4 {
        drop(State::open(dir.path()).unwrap());
        fs::write(dir.path().join("index.sled/conf"), "not a configuration").unwrap();
    }
    drop(State::open(dir.path()).unwrap());
    assert_eq!(damaged(dir.path()), ["index.sled.damaged-3", "index.sled.damaged-4"]);
}

/// Without any flush by hand, what was written reaches the disk soon: seen in a copy of the files,
/// which is what a killed process leaves behind. Nothing is written while they are copied.
#[test]
fn what_was_written_is_on_disk_soon() {
    let dir = TempDir::new().unwrap();
    let state = State::open(&dir.path().join("state")).unwrap();
    for number in 1..=2 {
        put(&state, number);
        let start = Instant::now();
        while !state.storage.health().unsaved.is_zero() {
            assert!(start.elapsed() < PATIENCE, "nothing reached the disk");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let left = dir.path().join(format!("copy-{number}"));
        copy(&dir.path().join("state"), &left);
        assert_eq!(get(&State::open(&left).unwrap(), number), Some(tag_state(number)));
    }
}

const CHILD_DIR: &str = "TRANSHIP_TEST_STATE_DIR";

/// The process that is killed in the test below; does nothing when run by itself.
#[tokio::test]
async fn writing_until_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let state = State::open(Path::new(&dir)).unwrap();
    let first = (1..).find(|&number| get(&state, number).is_none()).unwrap();
    for number in first.. {
        put(&state, number);
        if number % 50 == 0 {
            state.storage.flush().await;
            println!("flushed {number}");
        }
    }
}

#[test]
fn kill_9_loses_nothing_that_was_flushed() {
    let dir = TempDir::new().unwrap();
    let mut flushed = 0;
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "state::tests::writing_until_killed"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let reports = lines.by_ref().filter_map(|line| {
            line.split_once("flushed ").map(|(_, number)| number.parse::<u64>().unwrap())
        });
        flushed = reports.take(round * 3).last().expect("the child reports what it flushed");
        child.kill().unwrap();
        child.wait().unwrap();

        let (state, log) = logged(|| State::open(dir.path()).unwrap());
        assert_eq!(log, "");
        for number in 1..=flushed {
            assert_eq!(get(&state, number), Some(tag_state(number)), "round {round}");
        }
    }
    assert!(flushed >= 15 * 50);
}

/// What can happen to a file.
#[derive(Debug, Clone)]
enum Damage {
    Cut,
    Zero(usize),
    Random(Vec<u8>),
    Remove,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => Just(Damage::Cut),
        3 => (1..100_000_usize).prop_map(Damage::Zero),
        4 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Damage::Random),
        1 => Just(Damage::Remove),
    ]
}

fn inflict(damage: &Damage, path: &Path, at: prop::sample::Index) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let at = at.index(usize::try_from(length).unwrap().max(1)) as u64;
    match damage {
        Damage::Cut => file.set_len(at).unwrap(),
        Damage::Remove => fs::remove_file(path).unwrap(),
        Damage::Zero(count) => write_at(&mut file, at, &vec![0; *count]),
        Damage::Random(bytes) => write_at(&mut file, at, bytes),
    }
}

fn write_at(file: &mut fs::File, at: u64, bytes: &[u8]) {
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

const FUZZ_TAGS: u64 = 2500;

/// A state with `FUZZ_TAGS` tags, in a database that was opened more than once.
fn fuzz_original() -> TempDir {
    let dir = TempDir::new().unwrap();
    for part in 0..3 {
        let state = State::open(&dir.path().join("state")).unwrap();
        for number in (0..FUZZ_TAGS).filter(|number| number % 3 == part) {
            put(&state, number);
        }
    }
    drop(State::open(&dir.path().join("state")).unwrap());
    dir
}

/// Uses a state whose files were damaged.
fn use_damaged(path: &Path) {
    for _ in 0..2 {
        let state = State::open(path).unwrap();
        for number in 0..FUZZ_TAGS {
            let found = get(&state, number);
            assert!(found.is_none() || found == Some(tag_state(number)), "wrong data");
        }
        put(&state, FUZZ_TAGS);
    }
}

#[test]
fn damage_anywhere_gives_no_panic_no_endless_loop_and_no_wrong_data() {
    let original = fuzz_original();
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() };
    let cases = (damage(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    proptest!(config, |((damage, file, at) in cases)| {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("state");
        copy(&original.path().join("state"), &path);
        // The data file is nearly all of it, so it is chosen more often than its share.
        let entries = fs::read_dir(path.join("index.sled")).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.is_file());
        files.sort();
        files.extend(std::iter::repeat_n(path.join("index.sled/db"), 4));
        inflict(&damage, &files[file.index(files.len())], at);

        let (done, waiting) = mpsc::channel();
        let user = std::thread::spawn(move || {
            use_damaged(&path);
            done.send(()).unwrap();
        });
        match waiting.recv_timeout(PATIENCE) {
            Err(mpsc::RecvTimeoutError::Timeout) => prop_assert!(false, "it never ends"),
            _ => prop_assert!(user.join().is_ok(), "it panicked"),
        }
    });
}
