//! Runs that somebody asks for and follows: with which options, and what is told.

use std::time::Duration;

use super::world::{Way, World, cleanup_rule, pass, rule};
use crate::cleanup::CleanupReport;
use crate::config::cleanup::Mode;
use crate::daemon::news::{CleanupNews, Following, SyncNews};
use crate::daemon::{AskedBy, RuleRefusal, RunOptions};
use crate::history::{Cause, RunId};
use crate::sync::RuleReport;
use crate::transfer::TransferTotals;

const NIGHTLY: &str = "schedule = \"0 3 * * *\"";
const APPLY: RunOptions =
    RunOptions { mode: Some(Mode::Apply), recheck: false, asked_by: AskedBy::Api };
const START: &str = "2026-05-01T00:00:00Z";

/// The run and the report that a follower is told of, and nothing else.
async fn told(mut following: Following) -> (RunId, CleanupReport) {
    let mut lines = Vec::new();
    while let Some(line) = following.next().await {
        lines.push(serde_json::from_str::<CleanupNews<'static>>(&line).unwrap());
    }
    let Ok([CleanupNews::Run(run), CleanupNews::Report(report)]) = <[_; 2]>::try_from(lines) else {
        panic!("other news");
    };
    (run, report.into_owned())
}

async fn follow(world: &World) -> Following {
    world.daemon().follow_run("old", APPLY).await.unwrap()
}

/// A run that deletes is another one than a run that plans, and those who ask for it share it.
#[tokio::test(start_paused = true)]
async fn a_run_in_another_mode_is_a_run_of_its_own() {
    let mut world = World::started(START, &cleanup_rule("old", NIGHTLY)).await;
    world.runs.go(Way::Takes(Duration::from_secs(100)));
    let planning = [world.ask("old").await.run, world.ask("old").await.run];
    let following = [follow(&world).await, follow(&world).await];
    assert_eq!(world.ask("old").await.run, planning[1]);
    assert_eq!(world.daemon().status().queued, 2);
    pass(150).await;
    assert_eq!(world.runs.mode("old"), Mode::Plan);
    pass(300).await;
    assert_eq!((world.runs.mode("old"), world.runs.by_rule()["old"]), (Mode::Apply, 3));
    let last = world.rule("old").last_run.unwrap();
    assert_eq!((last.cause, last.cleanup.unwrap().mode), (Cause::Api, Mode::Apply));
    for following in following {
        let (run, report) = told(following).await;
        assert_eq!((&run, report.mode, report.interrupted), (&last.id, Mode::Apply, false));
    }
    // What is due is planned, as the rule says.
    pass(24 * 3600).await;
    assert_eq!(world.runs.mode("old"), Mode::Plan);
    world.stop().await;
}

/// Whatever becomes of a run that waits, its followers are told.
#[tokio::test(start_paused = true)]
async fn a_run_that_never_begins_is_told_of() {
    let mut world = World::started(START, &cleanup_rule("old", NIGHTLY)).await;
    world.runs.go(Way::Takes(Duration::from_secs(10)));
    world.ask("old").await;
    let cancelled = follow(&world).await;
    let waiting = world.daemon().run_rule("old", APPLY).await.unwrap().run;
    assert!(world.daemon().cancel(waiting.clone()).await.unwrap());
    let (run, report) = told(cancelled).await;
    assert_eq!((run, report.interrupted), (waiting, true));
    let removed = follow(&world).await;
    world.reload("").await;
    assert!(told(removed).await.1.interrupted);
    pass(60).await;
    world.reload(&cleanup_rule("old", NIGHTLY)).await;
    world.ask("old").await;
    let stopped = follow(&world).await;
    world.stop().await;
    assert!(told(stopped).await.1.interrupted);
    assert_eq!(world.runs.by_rule()["old"], 2);
}

/// A rule that covers everything may plan. It must not delete, whenever that turns out.
#[tokio::test(start_paused = true)]
async fn a_rule_that_covers_everything_deletes_nothing() {
    let sweeping = cleanup_rule("old", NIGHTLY).replace("target.test/old", "target.test/**");
    let mut world = World::started(START, &cleanup_rule("old", NIGHTLY)).await;
    world.runs.go(Way::Takes(Duration::from_secs(10)));
    world.ask("old").await;
    let asked_before = follow(&world).await;
    world.reload(&sweeping).await;
    pass(60).await;
    let (_, report) = told(asked_before).await;
    assert!(report.failures[0].message.contains("must not delete"), "{report:?}");
    assert_eq!((world.runs.mode("old"), world.runs.by_rule()["old"]), (Mode::Plan, 1));
    let refused = world.daemon().run_rule("old", APPLY).await.unwrap_err();
    assert_eq!(refused, RuleRefusal::Sweeping("old".to_owned()));
    world.ask("old").await;
    pass(60).await;
    assert_eq!(world.runs.by_rule()["old"], 2);
    world.stop().await;
}

/// A run that asks the targets about everything is another one than the usual run.
#[tokio::test(start_paused = true)]
async fn a_run_that_rechecks_is_a_run_of_its_own() {
    let mut world = World::started(START, &rule("apps", NIGHTLY)).await;
    world.runs.go(Way::Takes(Duration::from_secs(10)));
    let usual = [world.ask("apps").await.run, world.ask("apps").await.run];
    let recheck = RunOptions { recheck: true, ..RunOptions::default() };
    let rechecks = world.daemon().run_rule("apps", recheck).await.unwrap().run;
    assert!(!usual.contains(&rechecks));
    assert_eq!(world.daemon().run_rule("apps", recheck).await.unwrap().run, rechecks);
    pass(5).await;
    assert!(!world.runs.rechecks("apps"));
    pass(20).await;
    assert!(world.runs.rechecks("apps"));
    let refused = world.daemon().run_rule("apps", APPLY).await.unwrap_err();
    assert_eq!(refused, RuleRefusal::NoCleanup("apps".to_owned()));
    world.reload(&cleanup_rule("old", NIGHTLY)).await;
    let refused = world.daemon().run_rule("old", recheck).await.unwrap_err();
    assert_eq!(refused, RuleRefusal::NoSync("old".to_owned()));
    world.stop().await;
}

/// Followers of a sync rule are told of its run, what it moved and how it ended.
#[tokio::test(start_paused = true)]
async fn runs_of_sync_rules_are_followed_too() {
    let mut world = World::started(START, &rule("apps", NIGHTLY)).await;
    world.runs.go(Way::Takes(Duration::from_secs(10)));
    let ended = world.daemon().follow_run("apps", RunOptions::default()).await.unwrap();
    let withdrawn = world.daemon().follow_run("apps", RunOptions::default()).await.unwrap();
    pass(5).await;
    let stopped = world.daemon().cancel_rule("apps").await.unwrap();
    assert_eq!(stopped.len(), 2);
    for following in [ended, withdrawn] {
        let (run, report) = synced(following).await;
        assert!(stopped.contains(&run) && report.interrupted, "{report:?}");
    }
    let idle = world.daemon().cancel_rule("apps").await.unwrap_err();
    assert_eq!(idle, RuleRefusal::Idle("apps".to_owned()));
    let unknown = world.daemon().cancel_rule("none").await.unwrap_err();
    assert_eq!(unknown, RuleRefusal::Unknown("none".to_owned()));
    let ended = world.daemon().follow_run("apps", RunOptions::default()).await.unwrap();
    pass(20).await;
    let (_, report) = synced(ended).await;
    assert_eq!((report.interrupted, report.counts.unchanged), (false, 1));
    world.stop().await;
}

/// The run and the report that a follower of a sync rule is told of.
async fn synced(mut following: Following) -> (RunId, RuleReport) {
    let mut lines = Vec::new();
    while let Some(line) = following.next().await {
        lines.push(serde_json::from_str::<SyncNews<'static>>(&line).unwrap());
    }
    let Ok([SyncNews::Run(run), SyncNews::Moved(moved), SyncNews::Report(report)]) =
        <[_; 3]>::try_from(lines)
    else {
        panic!("other news");
    };
    assert_eq!(moved, TransferTotals::default());
    (run, report.into_owned())
}
