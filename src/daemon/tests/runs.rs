//! Runs that are asked for, stopped, cut off, stuck or broken; and rules that come and go.

use std::time::Duration;

use tokio::time::Instant;

use super::world::{Way, World, pass, rule};
use crate::daemon::view::AcceptedState;
use crate::daemon::{RuleRefusal, RunOptions, Stopping};
use crate::history::{Cause, RunOutcome};

const NIGHTLY: &str = "schedule = \"0 4 * * *\"";
const HOUR: Way = Way::Takes(Duration::from_secs(3600));

async fn nightly() -> World {
    let mut world = World::at("2026-05-01T00:00:00Z", &rule("r", NIGHTLY));
    world.runs.go(HOUR);
    world.start().await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_request_while_it_runs_is_queued_once() {
    let mut world = nightly().await;
    let first = world.ask("r").await;
    assert_eq!(first.state, AcceptedState::Started);
    pass(60).await;
    let (second, third) = (world.ask("r").await, world.ask("r").await);
    assert_eq!((second.state, third.state), (AcceptedState::Queued, AcceptedState::Queued));
    assert_eq!(second.run, third.run);
    assert_ne!(second.run, first.run);
    pass(3 * 3600).await;
    assert_eq!(world.runs.begun().len(), 2);
    assert_eq!(world.rule("r").last_run.unwrap().id, second.run);
    let unknown = world.daemon().run_rule("unknown", RunOptions::default()).await.unwrap_err();
    assert_eq!(unknown, RuleRefusal::Unknown("unknown".to_owned()));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_is_over() {
    let mut world = nightly().await;
    let run = world.ask("r").await.run;
    pass(1).await;
    let queued = world.ask("r").await.run;
    assert!(world.daemon().cancel(queued.clone()).await.unwrap());
    assert!(!world.rule("r").queued);
    // That the next one is not wanted says nothing about the one that runs.
    assert!(world.mark("r").unfinished);
    assert!(world.daemon().cancel(run.clone()).await.unwrap());
    pass(1).await;
    let last = world.rule("r").last_run.unwrap();
    assert_eq!((last.id, last.outcome), (run.clone(), RunOutcome::Interrupted));
    assert!(!world.daemon().cancel(run).await.unwrap());
    assert!(!world.daemon().cancel(queued).await.unwrap());
    assert!(!world.mark("r").unfinished);
    pass(600).await;
    world.stop().await;
    world.start().await;
    pass(600).await;
    assert_eq!(world.runs.begun().len(), 1);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_end_cut_off_is_taken_up_by_the_next_start() {
    let mut world = nightly().await;
    world.ask("r").await;
    pass(60).await;
    let before = Instant::now();
    world.stop().await;
    assert!(before.elapsed() < Duration::from_secs(1), "nothing was under way but the run");
    assert!(world.mark("r").unfinished);
    world.start().await;
    pass(2 * 3600).await;
    assert_eq!(world.runs.begun().len(), 2);
    let last = world.rule("r").last_run.unwrap();
    assert_eq!((last.cause, last.outcome), (Cause::Missed, RunOutcome::Succeeded));
    assert!(!world.mark("r").unfinished);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn grace_has_an_end() {
    let mut world = nightly().await;
    world.runs.go(Way::Hangs);
    world.ask("r").await;
    pass(60).await;
    let (before, daemon) = (Instant::now(), world.daemon().clone());
    world.stop().await;
    let took = before.elapsed().as_secs();
    assert!((20..22).contains(&took), "{took}");
    assert!(world.mark("r").unfinished);
    let refused = daemon.run_rule("r", RunOptions::default()).await.unwrap_err();
    assert_eq!(refused, RuleRefusal::Stopping(Stopping));
    assert!(!daemon.readiness().ready);
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_run() {
    let rules = rule("r", "every = \"10s\"") + &rule("other", NIGHTLY);
    let mut world = World::at("2026-05-01T00:00:00Z", &rules);
    world.runs.go(Way::Panics);
    world.start().await;
    pass(5).await;
    let failed = world.rule("r");
    assert_eq!((failed.consecutive_failures, failed.running.len()), (1, 0));
    let last = failed.last_run.unwrap();
    assert_eq!(last.outcome, RunOutcome::Failed);
    let words = last.failures[0].to_string();
    assert_eq!(words, "failed to finish rule `r`: internal error of tranship: a fault of ours");
    assert_eq!(world.metric("tranship_rule_running{rule=\"r\"}"), 0.0);
    let of_runs = "tranship_rule_runs_total{rule=\"r\",scope=\"all\",outcome=\"failed\"}";
    assert_eq!(world.metric(of_runs), 1.0);
    world.runs.go(Way::Takes(Duration::from_secs(1)));
    world.ask("other").await;
    pass(40).await;
    assert_eq!(world.rule("other").last_run.unwrap().outcome, RunOutcome::Succeeded);
    assert_eq!(world.rule("r").last_run.unwrap().outcome, RunOutcome::Succeeded);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_stands_still_is_seen() {
    let mut world = nightly().await;
    world.runs.go(Way::Hangs);
    let limit = "stall_after = \"7s\"";
    world.configure_with(limit, &rule("r", NIGHTLY));
    world.daemon().reload().await.unwrap();
    world.ask("r").await;
    pass(6).await;
    assert_eq!(world.daemon().active()[0].stalled_seconds, None);
    pass(2).await;
    let stalled = world.daemon().active()[0].stalled_seconds.unwrap();
    assert!((7.0..9.0).contains(&stalled), "{stalled}");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_went_while_it_waited_comes_back() {
    // One of 65 has no room.
    let rules = |count| -> String {
        (0..count).map(|at| rule(&format!("r{at:02}"), "every = \"1m\"")).collect()
    };
    let mut world = World::at("2026-05-01T00:00:00Z", &rules(65));
    world.runs.go(HOUR);
    world.start().await;
    pass(1).await;
    assert!(world.rule("r64").queued);
    world.reload(&rules(64)).await;
    assert!(world.daemon().rule("r64").is_none());
    assert_eq!(world.daemon().status().queued, 0);
    world.reload(&rules(65)).await;
    pass(2 * 3600).await;
    assert!(world.runs.by_rule().contains_key("r64"));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_what_runs_from_now_on() {
    let mut world = nightly().await;
    world.runs.go(Way::Takes(Duration::from_secs(1)));
    let new = rule("r", "schedule = \"0 1 * * *\"") + &rule("new", "every = \"30m\"");
    world.reload(&new).await;
    assert_eq!(world.rule("r").next_run, Some("2026-05-01T01:00:00Z".parse().unwrap()));
    pass(3600 + 60).await;
    assert_eq!(world.runs.by_rule()["r"], 1);
    assert!(world.runs.by_rule()["new"] >= 2);
    world.configure(&(new.clone() + "nonsense"));
    let why = world.daemon().reload().await.unwrap_err().to_string();
    assert!(why.contains("tranship.toml"), "{why}");
    assert_eq!(world.daemon().status().config.rejected, Some(why));
    assert!(!world.daemon().readiness().ready);
    assert_eq!(world.metric("tranship_config_last_reload_successful"), 0.0);
    let before = world.runs.by_rule()["new"];
    pass(3600).await;
    assert!(world.runs.by_rule()["new"] > before, "the old one stays in use");
    world.reload(&new).await;
    assert_eq!(world.daemon().status().config.rejected, None);
    assert!(world.daemon().readiness().ready);
    assert_eq!(world.metric("tranship_config_last_reload_successful"), 1.0);
    world.stop().await;
}

/// A file that is being written is empty for a moment, and an empty configuration is valid.
#[tokio::test(start_paused = true)]
async fn a_file_is_loaded_when_it_is_written_to_its_end() {
    let rules = rule("r", "schedule = \"0 3 * * *\"");
    let mut world = World::started("2026-05-01T00:00:00Z", &rules).await;
    world.configure("");
    let daemon = world.daemon().clone();
    let reloading = tokio::spawn(async move { daemon.reload().await });
    // It has looked at the file and waits.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    world.configure(&rules);
    reloading.await.unwrap().unwrap();
    assert_eq!(world.daemon().rules().len(), 1);
    assert_eq!(world.daemon().status().config.changed, None);
    world.stop().await;
}
