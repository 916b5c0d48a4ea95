//! What a log holds after crashes, on a full disk, among garbage, and when it grows too large.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::segments::list;
use super::*;

fn open(dir: &Path, segment: u64) -> Log {
    // A sixteenth of the whole is one segment.
    Log::open(dir, Limits::rotating(segment * 16)).unwrap()
}

fn all(dir: &Path) -> (Vec<String>, u64) {
    let mut reader = NewestFirst::open(dir).unwrap();
    let mut records: Vec<String> = Vec::new();
    while let Some(record) = reader.next(|_| true).unwrap() {
        records.push(record);
    }
    records.reverse();
    (records, reader.garbage())
}

fn append_all(log: &mut Log, records: &[String]) {
    for record in records {
        log.append(record).unwrap();
    }
    log.sync().unwrap();
}

/// From now on the log finds the disk full. Gives the file that it wrote to.
fn fill_disk(log: &mut Log) -> fs::File {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    std::mem::replace(&mut log.current.as_mut().unwrap().file, full)
}

fn last_segment(dir: &Path) -> std::path::PathBuf {
    list(dir).unwrap().pop().unwrap().path
}

fn size(dir: &Path) -> u64 {
    list(dir).unwrap().iter().map(|segment| fs::metadata(&segment.path).unwrap().len()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a killed process or a torn write leaves, it reads as a prefix, and the next
    /// process goes on behind it.
    #[test]
    fn any_cut_leaves_a_prefix(
        records in prop::collection::vec("[a-z\"\\n]{0,40}", 1..40),
        cut in any::<prop::sample::Index>(),
        segment in 40..400_u64,
    ) {
        let dir = TempDir::new().unwrap();
        // Wide enough that nothing is removed for its size.
        let mut log = Log::open(dir.path(), Limits::keep_all()).unwrap();
        log.limit_segments(segment);
        append_all(&mut log, &records);
        drop(log);
        prop_assert_eq!(all(dir.path()), (records.clone(), 0));

        let mut left = cut.index(usize::try_from(size(dir.path())).unwrap()) as u64;
        let mut whole = 0;
        for segment in list(dir.path()).unwrap() {
            let bytes = fs::read(&segment.path).unwrap();
            let kept = left.min(bytes.len() as u64);
            left -= kept;
            let kept = &bytes[..usize::try_from(kept).unwrap()];
            whole += kept.iter().filter(|byte| **byte == b'\n').count();
            if kept.is_empty() {
                fs::remove_file(&segment.path).unwrap();
            } else {
                fs::write(&segment.path, kept).unwrap();
            }
        }
        let prefix = &records[..whole];
        prop_assert_eq!(all(dir.path()), (prefix.to_vec(), 0));
        let mut log = open(dir.path(), 1 << 20);
        append_all(&mut log, &["next".to_owned()]);
        let expected: Vec<_> = prefix.iter().cloned().chain(["next".to_owned()]).collect();
        prop_assert_eq!(all(dir.path()), (expected, 0));
    }

    /// No bytes in the files stop a reader or a writer.
    #[test]
    fn any_bytes_can_be_read_and_written_behind(bytes: Vec<u8>) {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("000000000007.jsonl"), &bytes).unwrap();
        all(dir.path());
        let mut log = open(dir.path(), 1 << 20);
        append_all(&mut log, &["next".to_owned()]);
        prop_assert_eq!(all(dir.path()).0.pop(), Some("next".to_owned()));
    }
}

#[test]
fn garbage_is_skipped_and_counted() {
    let dir = TempDir::new().unwrap();
    append_all(&mut open(dir.path(), 1 << 30), &["a".to_owned()]);
    let mut file = OpenOptions::new().append(true).open(last_segment(dir.path())).unwrap();
    // Two lines that are no records, then one that is longer than is ever read at once.
    file.write_all(b"\0\0\0\n{\"b\n").unwrap();
    file.write_all(&vec![b'"'; 3 * MAX_LINE]).unwrap();
    file.write_all(b"\n\"z\"\n\"torn").unwrap();
    assert_eq!(all(dir.path()), (vec!["a".to_owned(), "z".to_owned()], 3));
    append_all(&mut open(dir.path(), 1 << 30), &["next".to_owned()]);
    assert_eq!(all(dir.path()).0, ["a", "z", "next"]);
    let mut reader = NewestFirst::open(dir.path()).unwrap();
    let record: Option<String> = reader.next(|line| line == b"\"a\"").unwrap();
    // What nobody wanted was not looked at.
    assert_eq!((record.as_deref(), reader.garbage()), (Some("a"), 1));
}

#[test]
fn it_stays_within_its_limit_and_keeps_the_newest() {
    let dir = TempDir::new().unwrap();
    let mut log = open(dir.path(), 1000);
    let name = |number: u32| format!("record {number:05}");
    for number in 0..5000 {
        log.append(&name(number)).unwrap();
        if number % 7 == 0 {
            log.sync().unwrap();
            assert!(size(dir.path()) <= 16_000);
        }
    }
    drop(log);
    let (records, garbage) = all(dir.path());
    assert_eq!(garbage, 0);
    let expected: Vec<_> = (5000 - records.len() as u32..5000).map(name).collect();
    assert_eq!(records, expected);
    assert!(size(dir.path()) > 14_000, "{}", size(dir.path()));
    for segment in list(dir.path()).unwrap() {
        let mode = fs::metadata(&segment.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_log_that_keeps_all_keeps_all() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::open(dir.path(), Limits::keep_all()).unwrap();
    log.limit_segments(100);
    let records: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    append_all(&mut log, &records);
    assert_eq!(all(dir.path()), (records, 0));
    assert!(list(dir.path()).unwrap().len() > 10);
}

#[test]
fn nothing_is_lost_while_the_disk_is_full() {
    let dir = TempDir::new().unwrap();
    let mut log = open(dir.path(), 1 << 20);
    append_all(&mut log, &["before".to_owned()]);
    let real = fill_disk(&mut log);
    log.append(&"meanwhile").unwrap();
    assert_eq!(log.sync().unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    // The first half of a line had room.
    (&real).write_all(b"\"mean").unwrap();
    assert_eq!(all(dir.path()).0, ["before"]);
    log.current.as_mut().unwrap().file = real;
    log.append(&"after").unwrap();
    log.sync().unwrap();
    assert_eq!(all(dir.path()), (["before", "meanwhile", "after"].map(str::to_owned).into(), 0));
}

#[test]
fn a_full_disk_does_not_fill_the_memory() {
    let dir = TempDir::new().unwrap();
    let mut log = open(dir.path(), 1 << 20);
    append_all(&mut log, &["before".to_owned()]);
    let real = fill_disk(&mut log);
    let large = "x".repeat(MAX_LINE / 2);
    let mut taken = 0;
    while log.append(&large).is_ok() {
        taken += 1;
        assert!(taken < 10);
    }
    log.current.as_mut().unwrap().file = real;
    append_all(&mut log, &["after".to_owned()]);
    let (records, _) = all(dir.path());
    assert_eq!((records.len(), &*records[records.len() - 1]), (taken + 2, "after"));
    assert!(log.append(&"x".repeat(MAX_LINE)).is_err());
}

#[test]
fn one_process_writes_and_others_see_that() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("deep/log");
    assert!(!is_being_written(&path));
    assert_eq!(all(&path), (Vec::new(), 0));
    let log = open(&path, 1000);
    assert!(is_being_written(&path));
    assert!(Log::open(&path, Limits::keep_all()).is_err());
    drop(log);
    assert!(!is_being_written(&path));
    open(&path, 1000);
}
