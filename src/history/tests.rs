//! The history, written and read, across processes and faults.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::line::FOLDER;
use super::*;
use crate::cleanup::{self, CleanupReport, RepositoryReport};
use crate::config::cleanup::Mode as CleanupMode;
use crate::oci::Digest;
use crate::removal::{StepAction, StepOutcome, StepReport};
use crate::repository::Failure;
use crate::sync::{Action, Counts, ImageReport, Mode, RuleReport};

const LIMIT: u64 = 1 << 20;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn open(state: &Path) -> History {
    History::open(state, LIMIT, at(0)).unwrap()
}

fn opened() -> (TempDir, History) {
    let dir = TempDir::new().unwrap();
    let history = open(dir.path());
    (dir, history)
}

fn begun(rule: &str, second: i64) -> RunStart {
    let started = at(second);
    let id = RunId::new(started, u32::try_from(second).unwrap());
    RunStart { id, rule: rule.to_owned(), cause: Cause::Schedule, started }
}

fn report(rule: &str, failed: usize) -> RuleReport {
    let mut report = RuleReport::new(rule, Mode::Apply);
    report.counts = Counts { copied: 1, unchanged: 2, failed, ..Counts::default() };
    report
}

fn ended(begun: &RunStart, failed: usize) -> RunRecord {
    let finished = begun.started + SignedDuration::from_secs(5);
    RunRecord::ended(begun, finished, &report(&begun.rule, failed))
}

/// Writes the beginning and the end of a run.
async fn record(history: &History, begun: &RunStart, failed: usize) {
    history.begin(begun);
    history.end(&ended(begun, failed)).await;
}

fn image(tag: &str, action: Action) -> ImageReport {
    ImageReport {
        source_digest: Some("sha256:00".to_owned()),
        bytes: 7,
        seconds: 0.5,
        errors: vec![Failure::new("put manifest", "b.io/app", "no".to_owned())],
        ..ImageReport::sample(tag, action)
    }
}

fn all(state: &Path) -> Vec<(String, RunOutcome)> {
    let read = read_runs(state, &Filter::default()).unwrap();
    assert_eq!(read.garbage, 0);
    read.runs.into_iter().map(|run| (run.rule, run.outcome)).collect()
}

#[tokio::test]
async fn a_run_is_read_back_with_every_image() {
    let (_dir, history) = opened();
    let (one, other) = (begun("one", 1), begun("other", 2));
    history.begin(&one);
    history.begin(&other);
    history.image(&one.id, &image("1", Action::Copied));
    history.image(&other.id, &image("x", Action::Copied));
    history.image(&one.id, &image("2", Action::Failed));
    let (first, second) = (ended(&one, 1), ended(&other, 0));
    history.end(&first).await;
    history.end(&second).await;

    let (run, images) = history.run(one.id.clone()).await.unwrap().unwrap();
    assert_eq!(run, first);
    assert_eq!(images, [image("1", Action::Copied), image("2", Action::Failed)]);
    assert_eq!(history.run(begun("one", 9).id).await.unwrap(), None);
    let runs = history.runs(Filter::default()).await.unwrap();
    assert_eq!((runs.runs, runs.garbage), (vec![second, first], 0));
    assert_eq!(history.health(), Health::default());
}

#[tokio::test]
async fn filters_choose() {
    let (dir, history) = opened();
    for second in 0..10 {
        let run = begun(if second % 2 == 0 { "even" } else { "odd" }, second * 100);
        record(&history, &run, usize::from(second % 3 == 0)).await;
    }
    let read = |filter: Filter| {
        let runs = read_runs(dir.path(), &filter).unwrap().runs;
        runs.into_iter()
            .map(|run| run.started.duration_since(at(0)).as_secs() / 100)
            .collect::<Vec<_>>()
    };
    let all = Filter::default();
    assert_eq!(read(all.clone()), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(read(Filter { limit: Some(2), ..all.clone() }), [9, 8]);
    assert_eq!(read(Filter { rule: Some("odd".into()), limit: Some(3), ..all.clone() }), [9, 7, 5]);
    assert_eq!(read(Filter { outcome: Some(RunOutcome::Failed), ..all.clone() }), [9, 6, 3, 0]);
    // It ended at 705.
    assert_eq!(read(Filter { since: Some(at(705)), ..all.clone() }), [9, 8, 7]);
    assert_eq!(read(Filter { since: Some(at(706)), ..all }), [9, 8]);
}

/// For a run that is not there, only the runs around its time are read.
#[tokio::test]
async fn a_run_that_is_not_there_is_not_looked_for_among_all() {
    const DAY: i64 = 86_400;
    let (dir, history) = opened();
    // The clock was wrong for some runs.
    let runs = (0..40).chain([-500 * DAY; 20]).chain(2 * DAY..2 * DAY + 40);
    for second in runs.chain([10 * DAY]) {
        let id = RunId::new(at(second), 9);
        let run = RunStart { id, started: at(second), ..begun("a", 0) };
        record(&history, &run, 0).await;
    }
    let found = async |second| {
        history.run(RunId::new(at(second), 9)).await.unwrap().map(|(run, _)| run.started)
    };
    assert_eq!(found(3).await, Some(at(3)), "behind the wrong clock");
    assert_eq!(found(-500 * DAY).await, Some(at(-500 * DAY)));
    assert_eq!(found(5).await, Some(at(5)));
    // A reader that goes on to the end meets something that cannot be read.
    fs::create_dir(dir.path().join(FOLDER).join(format!("{:012}.jsonl", 0))).unwrap();
    for second in [3 * DAY, 9 * DAY, 900 * DAY] {
        assert_eq!(found(second).await, None);
    }
    let unknown = RunId::new(at(DAY / 2), 9);
    assert!(history.run(unknown).await.is_err(), "this one could be there");
}

#[tokio::test]
async fn the_last_complete_run_of_each_rule_is_found_among_events() {
    let (dir, history) = opened();
    let (old, lost, new) = (begun("often", 1), begun("seldom", 2), begun("often", 3));
    record(&history, &old, 1).await;
    history.begin(&lost);
    record(&history, &new, 0).await;
    let event = RunStart { cause: Cause::Event, ..begun("often", 4) };
    record(&history, &event, 1).await;
    let rules = || ["often", "seldom", "never"].map(str::to_owned).into();
    let last = history.last_runs(rules()).await.unwrap();
    assert_eq!(last, [("often".to_owned(), ended(&new, 0))].into());
    drop(history);
    let last = read_last_runs(dir.path(), &rules()).unwrap();
    assert_eq!(last["seldom"].outcome, RunOutcome::Interrupted);
    assert_eq!(last.len(), 2);
}

#[tokio::test]
async fn what_never_ended_was_interrupted_once_its_process_is_gone() {
    let dir = TempDir::new().unwrap();
    let lost = begun("lost", 1);
    {
        let history = open(dir.path());
        history.begin(&lost);
        history.image(&lost.id, &image("1", Action::Copied));
        record(&history, &begun("done", 2), 0).await;
        let running = ("lost".to_owned(), RunOutcome::Running);
        assert_eq!(all(dir.path()), [("done".to_owned(), RunOutcome::Succeeded), running]);
    }
    let interrupted = ("lost".to_owned(), RunOutcome::Interrupted);
    assert_eq!(all(dir.path())[1], interrupted);
    let history = open(dir.path());
    record(&history, &begun("next", 3), 1).await;
    let (run, images) = history.run(lost.id).await.unwrap().unwrap();
    assert_eq!((run.outcome, run.finished, images.len()), (RunOutcome::Interrupted, None, 1));
    assert_eq!(all(dir.path())[0], ("next".to_owned(), RunOutcome::Failed));
    assert_eq!(all(dir.path())[2], interrupted);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_fails_no_run_and_is_tried_again() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(FOLDER), "in the way").unwrap();
    let history = open(dir.path());
    record(&history, &begun("a", 1), 0).await;
    let health = history.health();
    assert!(health.failing.unwrap().contains(FOLDER));
    assert_eq!(health.lost, 2);

    fs::remove_file(dir.path().join(FOLDER)).unwrap();
    record(&history, &begun("b", 2), 0).await;
    assert_eq!(history.health(), Health { failing: None, lost: 2 });
    assert_eq!(all(dir.path()), [("b".to_owned(), RunOutcome::Succeeded)]);
}

#[tokio::test]
async fn it_stays_within_its_limit_and_can_be_read_meanwhile() {
    let (dir, history) = opened();
    let reading = {
        let path = dir.path().to_owned();
        std::thread::spawn(move || {
            let newest = Filter { limit: Some(1), rule: Some("last".into()), ..Filter::default() };
            let deadline = std::time::Instant::now() + Duration::from_secs(60);
            while read_runs(&path, &newest).unwrap().runs.is_empty() {
                assert!(std::time::Instant::now() < deadline);
            }
        })
    };
    for second in 0..4000 {
        record(&history, &begun("often", second), 0).await;
    }
    record(&history, &begun("last", 4000), 0).await;
    tokio::task::spawn_blocking(|| reading.join().unwrap()).await.unwrap();
    let files = fs::read_dir(dir.path().join(FOLDER)).unwrap();
    let size: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!((LIMIT / 2..=LIMIT).contains(&size), "{size}");
    let kept = all(dir.path());
    assert!((1000..4000).contains(&kept.len()), "{}", kept.len());
}

#[tokio::test]
async fn nothing_from_outside_makes_it_large() {
    let (_dir, history) = opened();
    let run = begun("a", 1);
    history.begin(&run);
    let mut image = image("1", Action::Failed);
    image.errors = vec![Failure::new("step", "subject", "ü".repeat(100_000)); 50];
    history.image(&run.id, &image);
    let mut report = report("a", 1);
    report.failures = image.errors;
    history.end(&RunRecord::ended(&run, at(2), &report)).await;
    let (run, images) = history.run(run.id).await.unwrap().unwrap();
    assert_eq!((run.failures.len(), images[0].errors.len()), (20, 20));
    assert_eq!(run.notes, ["30 more failures are not kept"]);
    assert!(images[0].errors[0].message.len() < 3000);
}

/// Repositories of which some may not be cleaned up, and a deletion of each that fails.
fn cleaned(repositories: usize) -> CleanupReport {
    let step = StepReport {
        action: StepAction::Delete,
        tags: Vec::new(),
        digest: Digest::of(b"x"),
        line: None,
        with: None,
        outcome: StepOutcome::Failed,
        reason: Some("ü".repeat(100_000)),
        bytes_freed: 0,
    };
    let repository = |at: usize| RepositoryReport {
        repository: format!("r.io/{at}"),
        refused: vec!["ü".repeat(100_000); at % 2 * 9],
        planned: cleanup::Planned { tags_deleted: 1, ..cleanup::Planned::default() },
        steps: vec![step.clone()],
        bytes_freed: 1,
        notes: vec!["something".to_owned()],
        ..RepositoryReport::default()
    };
    let mut report = CleanupReport::new("old", CleanupMode::Apply);
    report.repositories = (0..repositories).map(repository).collect();
    report
}

#[tokio::test]
async fn a_run_of_a_cleanup_rule_is_read_back_and_stays_small() {
    let (dir, history) = opened();
    let run = begun("old", 1);
    history.begin(&run);
    let record = RunRecord::cleaned(&run, at(2), &cleaned(1_000));
    history.end(&record).await;
    let (read, images) = history.run(run.id).await.unwrap().unwrap();
    assert_eq!((&read, images.len()), (&record, 0));
    assert_eq!((read.outcome, read.repositories), (RunOutcome::Failed, 1_000));
    assert_eq!((read.failures.len(), read.notes.len()), (20, 21));
    assert_eq!(read.notes[0], "r.io/0: something");
    let cleaned = read.cleanup.unwrap();
    assert_eq!((cleaned.planned.tags_deleted, cleaned.bytes_freed), (1_000, 1_000));
    assert_eq!((cleaned.steps.failed, cleaned.limited, cleaned.incomplete), (1_000, 0, 500));
    assert_eq!((cleaned.refused.len(), cleaned.refused[0].reasons.len()), (20, 3));
    assert!(cleaned.refused[0].reasons[0].len() < 3_000);
    let found = |outcome| {
        let filter = Filter { outcome: Some(outcome), ..Filter::default() };
        read_runs(dir.path(), &filter).unwrap().runs.len()
    };
    assert_eq!((found(RunOutcome::Failed), found(RunOutcome::Limited)), (1, 0));
}

/// As a program wrote it that knew of no cleanup rules.
#[test]
fn a_run_of_before_is_still_understood() {
    let text = r#"{"id":"20261121T093719Z-0a1b2c","rule":"a","cause":"schedule",
        "started":"2026-11-21T09:37:19Z","finished":"2026-11-21T09:37:24Z","outcome":"failed",
        "repositories":1,"counts":{"copied":0,"unchanged":11,"kept":0,"failed":1},"bytes":0,
        "seconds":5.1,"failures":[],"notes":[]}"#;
    let run: RunRecord = serde_json::from_str(text).unwrap();
    assert_eq!(run.cleanup, None);
    // And what is not of a cleanup rule is written as it was.
    assert!(!serde_json::to_string(&run).unwrap().contains("cleanup"));
}
