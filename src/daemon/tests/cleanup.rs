//! Cleanup rules beside sync rules: the same agenda, and what their runs come to.

use std::time::Duration;

use jiff::SignedDuration;

use super::world::{Way, World, cleanup_rule, pass, rule};
use crate::alerts::Alert;
use crate::cleanup::{Planned, RepositoryReport};
use crate::config::AlertKind;
use crate::config::RuleKind;
use crate::config::cleanup::Mode;
use crate::history::{Cause, RunOutcome};
use crate::oci::Digest;
use crate::removal::{StepAction, StepOutcome, StepReport};

const NIGHTLY: &str = "schedule = \"0 3 * * *\"";

fn repository(refused: &[&str], limited: bool, outcomes: &[StepOutcome]) -> RepositoryReport {
    let step = |outcome: &StepOutcome| StepReport {
        action: StepAction::Delete,
        tags: Vec::new(),
        digest: Digest::of(b"x"),
        line: Some("pr".to_owned()),
        with: None,
        outcome: *outcome,
        reason: Some("503".to_owned()),
        bytes_freed: 0,
    };
    RepositoryReport {
        repository: "target.test/old".to_owned(),
        refused: refused.iter().map(|reason| (*reason).to_owned()).collect(),
        limited,
        planned: Planned {
            tags: 9,
            tags_deleted: 3,
            manifests: 7,
            manifests_deleted: 2,
            bytes_freed: 50,
        },
        steps: outcomes.iter().map(step).collect(),
        bytes_freed: 40,
        ..RepositoryReport::default()
    }
}

/// Both kinds run at their times, are missed, asked for and remembered alike.
#[tokio::test(start_paused = true)]
async fn both_kinds_are_on_one_agenda() {
    let rules = rule("mirror", NIGHTLY)
        + &cleanup_rule("plans", NIGHTLY)
        + &cleanup_rule("applies", "every = \"12h\"\nrun_at_start = true\nmode = \"apply\"");
    let mut world = World::started("2026-05-01T00:00:00Z", &rules).await;
    assert_eq!(world.daemon().status().rules, 3);
    let names: Vec<_> = world.daemon().rules().into_iter().map(|rule| rule.name).collect();
    assert_eq!(names, ["mirror", "plans", "applies"]);
    pass(24 * 3600).await;
    let runs = world.runs.by_rule();
    assert_eq!((runs["mirror"], runs["plans"]), (1, 1));
    assert!(runs["applies"] >= 2, "{runs:?}");
    assert_eq!((world.runs.mode("plans"), world.runs.mode("applies")), (Mode::Plan, Mode::Apply));
    let plans = world.rule("plans");
    assert_eq!((plans.kind, plans.mode), (RuleKind::Cleanup, Some(Mode::Plan)));
    assert_eq!((plans.source, plans.repositories), (None, vec!["target.test/plans".to_owned()]));
    assert_eq!(plans.last_run.unwrap().cause, Cause::Schedule);
    world.stop().await;
    world.clock.jump(SignedDuration::from_hours(24 * 3));
    world.start().await;
    pass(60).await;
    assert_eq!(world.runs.by_rule()["plans"], 2);
    assert_eq!(world.rule("plans").last_run.unwrap().cause, Cause::Missed);
    world.ask("plans").await;
    pass(60).await;
    assert_eq!(world.rule("plans").last_run.unwrap().cause, Cause::Api);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cut_off_is_taken_up_by_the_next_start() {
    let mut world = World::at("2026-05-01T00:00:00Z", &cleanup_rule("old", NIGHTLY));
    world.runs.go(Way::Takes(Duration::from_secs(3600)));
    world.start().await;
    world.ask("old").await;
    pass(60).await;
    assert_eq!(world.daemon().active()[0].kind, RuleKind::Cleanup);
    world.stop().await;
    assert!(world.mark("old").unfinished);
    world.start().await;
    pass(2 * 3600).await;
    let last = world.rule("old").last_run.unwrap();
    assert_eq!((last.cause, last.outcome), (Cause::Missed, RunOutcome::Succeeded));
    let cancelled = world.ask("old").await.run;
    pass(1).await;
    assert!(world.daemon().cancel(cancelled).await.unwrap());
    pass(1).await;
    assert_eq!(world.rule("old").last_run.unwrap().outcome, RunOutcome::Interrupted);
    assert!(!world.mark("old").unfinished);
    world.stop().await;
}

/// What a run of a cleanup rule came to is in its record and in the metrics.
#[tokio::test(start_paused = true)]
async fn outcomes_are_told_apart() {
    let mut world = World::started("2026-05-01T00:00:00Z", &cleanup_rule("old", NIGHTLY)).await;
    let run = async |world: &World, repositories: &[RepositoryReport]| {
        world.runs.clean(repositories);
        world.ask("old").await;
        pass(5).await;
        (world.rule("old"), world.rule("old").last_run.unwrap())
    };
    let deleted = [StepOutcome::Deleted, StepOutcome::Gone, StepOutcome::Refused];
    let (rule, record) = run(&world, &[repository(&[], false, &deleted)]).await;
    assert_eq!((record.outcome, rule.consecutive_failures), (RunOutcome::Succeeded, 0));
    let good = rule.last_success.unwrap();
    let cleaned = record.cleanup.unwrap();
    let steps = cleaned.steps;
    assert_eq!((steps.deleted, steps.gone, steps.refused, steps.failed), (1, 1, 1, 0));
    assert_eq!((cleaned.planned.tags_deleted, cleaned.bytes_freed), (3, 40));

    let failed = [StepOutcome::Deleted, StepOutcome::Failed];
    let (rule, record) = run(&world, &[repository(&[], false, &failed)]).await;
    assert_eq!((record.outcome, rule.consecutive_failures), (RunOutcome::Failed, 1));
    let words = record.failures[0].to_string();
    let expected = format!("failed to delete target.test/old@{}: 503", Digest::of(b"x"));
    assert_eq!(words, expected);
    assert!(!world.daemon().readiness().ready);

    let (rule, record) = run(&world, &[repository(&["3 of 9 tags would go"], true, &[])]).await;
    assert_eq!((record.outcome, rule.consecutive_failures), (RunOutcome::Limited, 0));
    assert_eq!(rule.last_success, Some(good));
    let cleaned = record.cleanup.unwrap();
    assert_eq!((cleaned.limited, cleaned.incomplete), (1, 0));
    assert_eq!(cleaned.refused[0].reasons, ["3 of 9 tags would go"]);
    assert!(world.daemon().readiness().ready);

    let (_, record) = run(&world, &[repository(&["the list is not whole"], false, &[])]).await;
    assert_eq!(record.outcome, RunOutcome::Failed);
    assert_eq!(record.cleanup.unwrap().incomplete, 1);
    for (metric, value) in [
        ("tranship_cleanup_steps_total{rule=\"old\",outcome=\"deleted\"}", 2.0),
        ("tranship_cleanup_steps_total{rule=\"old\",outcome=\"failed\"}", 1.0),
        ("tranship_cleanup_freed_bytes_total{rule=\"old\"}", 160.0),
        ("tranship_cleanup_planned_tags{rule=\"old\"}", 3.0),
        ("tranship_cleanup_planned_manifests{rule=\"old\"}", 2.0),
        ("tranship_cleanup_planned_bytes{rule=\"old\"}", 50.0),
        ("tranship_cleanup_repositories{rule=\"old\",state=\"incomplete\"}", 1.0),
        ("tranship_cleanup_repositories{rule=\"old\",state=\"planned\"}", 0.0),
        ("tranship_rule_runs_total{rule=\"old\",scope=\"all\",outcome=\"limited\"}", 1.0),
        ("tranship_rule_runs_total{rule=\"old\",scope=\"all\",outcome=\"failed\"}", 2.0),
        ("tranship_rule_tags_total{rule=\"old\"", 0.0),
    ] {
        assert_eq!(world.metric(metric), value, "{metric}");
    }
    let planned = world.metric("tranship_cleanup_last_plan_timestamp_seconds{rule=\"old\"}");
    // One that reaches nothing has no plan: the one before it grows old.
    world.runs.go(Way::Unreachable);
    run(&world, &[]).await;
    let metric = "tranship_cleanup_last_plan_timestamp_seconds{rule=\"old\"}";
    assert_eq!(world.metric(metric), planned);
    assert!(planned > 0.0);
    world.stop().await;
}

/// What was pushed to a repository is never the reason to delete something in it.
#[tokio::test(start_paused = true)]
async fn push_events_do_not_concern_them() {
    let rules = "[events.hub]\nformat = \"distribution\"\nregistry = \"target.test\"\n".to_owned()
        + &cleanup_rule("old", NIGHTLY);
    let mut world = World::started("2026-05-01T00:00:00Z", &rules).await;
    let digest = Digest::of(b"x");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let target = serde_json::json!({
        "mediaType": media_type, "digest": digest, "repository": "old", "tag": "pr-1",
    });
    let event = serde_json::json!({ "id": "1", "action": "push", "target": target });
    let body = serde_json::json!({ "events": [event] }).to_string();
    let headers = http::HeaderMap::new();
    let intake = world.daemon().intake("hub", &headers, None).unwrap();
    let taken = intake.take(&headers, None, body.as_bytes()).await.unwrap();
    assert_eq!((taken.accepted, taken.ignored), (0, 1));
    pass(600).await;
    assert!(world.runs.begun().is_empty());
    world.stop().await;
}

/// A name that is another kind's after a reload.
#[tokio::test(start_paused = true)]
async fn a_rule_may_become_one_of_another_kind() {
    let mut world = World::started("2026-05-01T00:00:00Z", &rule("r", NIGHTLY)).await;
    world.ask("r").await;
    pass(5).await;
    assert_eq!(world.metric("tranship_rule_tags_total{rule=\"r\",outcome=\"unchanged\"}"), 0.0);
    world.reload(&cleanup_rule("r", NIGHTLY)).await;
    assert_eq!(world.rule("r").kind, RuleKind::Cleanup);
    world.ask("r").await;
    pass(5).await;
    assert!(world.rule("r").last_run.unwrap().cleanup.is_some());
    assert_eq!(world.metric("tranship_cleanup_repositories{rule=\"r\""), 0.0);
    world.stop().await;
}

/// With its reason, once, and in the notification too.
#[tokio::test(start_paused = true)]
async fn what_was_not_done_is_told() {
    let world = World::started("2026-05-01T00:00:00Z", &cleanup_rule("old", NIGHTLY)).await;
    let not_done = [StepOutcome::Deleted, StepOutcome::NotDone, StepOutcome::NotDone];
    world.runs.clean(&[repository(&[], false, &not_done)]);
    world.ask("old").await;
    pass(5).await;
    let record = world.rule("old").last_run.unwrap();
    let words: Vec<String> = record.failures.iter().map(ToString::to_string).collect();
    let expected = "failed to clean up target.test/old: 2 steps were not done: 503";
    assert_eq!(words, [expected]);
    let alert = Alert::of_run(AlertKind::Failure, &record, &[]);
    assert_eq!(alert.summary, format!("rule `old` fails: {expected}"));
    assert_eq!(alert.details, [expected]);
}
