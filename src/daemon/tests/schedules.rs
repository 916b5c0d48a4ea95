//! When runs begin: over years, after breaks, with clocks that are set.

use std::time::Duration;

use jiff::civil::{self, time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan};

use super::world::{Way, World, pass, rule};
use crate::history::{Cause, RunOutcome};

const NIGHTLY: &str = "schedule = \"30 2 * * *\"\ntimezone = \"Europe/Berlin\"";

/// The loop through five years of nights, with ten changes of the clocks: each day has its run.
#[tokio::test(start_paused = true)]
async fn five_years_of_nights() {
    let mut world = World::started("2026-01-01T00:00:00Z", &rule("r", NIGHTLY)).await;
    let days = 5 * 365 + 1;
    for _ in 0..days {
        let next = world.rule("r").next_run.unwrap();
        // Nobody looks at a clock between two nights.
        world.clock.jump(next.duration_since(world.now()) - SignedDuration::from_secs(1));
        pass(40).await;
    }
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let begun: Vec<_> = world.runs.begun();
    let local: Vec<_> = begun.iter().map(|at| at.to_zoned(berlin.clone()).datetime()).collect();
    assert_eq!(local.len(), days);
    let mut day = civil::date(2026, 1, 1);
    let mut moved = 0;
    for at in local {
        assert_eq!(at.date(), day);
        // In spring there is no half past two.
        if at.time() >= time(3, 0, 0, 0) {
            assert_eq!((at.month(), at.time() < time(3, 31, 0, 0)), (3, true), "{at}");
            moved += 1;
        } else {
            assert!(at.time() >= time(2, 30, 0, 0) && at.time() < time(2, 31, 0, 0), "{at}");
        }
        day += 1.day();
    }
    assert_eq!(moved, 5);
    assert_eq!(world.rule("r").last_run.unwrap().cause, Cause::Schedule);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_while_down_runs_once() {
    let mut world = World::started("2026-05-01T00:00:00Z", &rule("r", NIGHTLY)).await;
    pass(60).await;
    assert!(world.runs.begun().is_empty(), "its time has not come");
    world.stop().await;
    world.clock.jump(SignedDuration::from_hours(24 * 10));
    world.start().await;
    pass(600).await;
    assert_eq!(world.runs.begun().len(), 1);
    assert_eq!(world.rule("r").last_run.unwrap().cause, Cause::Missed);
    // Half past two in Berlin, in summer.
    assert_eq!(world.rule("r").next_run, Some("2026-05-11T00:30:00Z".parse().unwrap()));
    world.stop().await;
    // Nothing was missed since.
    world.start().await;
    pass(60).await;
    assert_eq!(world.runs.begun().len(), 1);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_run_is_followed_by_one_not_by_many() {
    let mut world = World::at("2026-05-01T00:00:00Z", &rule("r", "every = \"1m\""));
    world.runs.go(Way::Takes(Duration::from_secs(600)));
    world.start().await;
    // That it never overlaps itself is looked after by the runs.
    pass(2 * 3600).await;
    let runs = world.runs.begun().len();
    assert!((11..=12).contains(&runs), "{runs}");
    world.stop().await;
}

/// Rounds that take longer than the interval: all get their turns, with a bound on what runs.
#[tokio::test(start_paused = true)]
async fn a_thousand_rules_of_one_schedule_starve_nobody() {
    let rules: String = (0..1_000)
        .map(|at| rule(&format!("r{at:03}"), "every = \"1m\"\nrun_at_start = true"))
        .collect();
    let mut world = World::at("2026-05-01T00:00:00Z", &rules);
    world.runs.go(Way::Takes(Duration::from_secs(10)));
    world.start().await;
    pass(5).await;
    assert_eq!(world.daemon().status().queued, 1_000 - 64);
    // A round is 16 times ten seconds.
    pass(165).await;
    let runs = world.runs.by_rule();
    assert_eq!((runs.len(), world.runs.most()), (1_000, 64));
    pass(800).await;
    // Nobody waits longer than for a round, and for its own next minute before.
    let longest = world.runs.longest_pause();
    assert!(longest < Duration::from_secs(160 + 60 + 10), "{longest:?}");
    assert_eq!(world.runs.most(), 64);
    world.stop().await;
}

/// As many rules as may run at once, and more, are stuck: the others run all the same.
#[tokio::test(start_paused = true)]
async fn rules_that_are_stuck_take_no_room_from_others() {
    let rules: String =
        (0..100).map(|at| rule(&format!("stuck{at}"), "every = \"1h\"")).collect::<String>();
    let rules = rules + &rule("well", "every = \"1h\"");
    let mut world = World::started("2026-05-01T00:00:00Z", &rules).await;
    world.runs.go(Way::Stalls);
    for at in 0..100 {
        world.ask(&format!("stuck{at}")).await;
    }
    pass(1).await;
    assert_eq!(world.daemon().active().len(), 64);
    world.runs.go(Way::Takes(Duration::from_secs(1)));
    let before = world.runs.by_rule().len();
    world.ask("well").await;
    pass(20).await;
    assert_eq!(world.rule("well").last_run.unwrap().outcome, RunOutcome::Succeeded);
    assert_eq!((before, world.runs.by_rule().len()), (64, 101));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_stops_nobody_and_floods_nobody() {
    let rules = rule("often", "every = \"15m\"") + &rule("nightly", "schedule = \"0 4 * * *\"");
    let mut world = World::started("2026-05-10T00:00:00Z", &rules).await;
    pass(3610).await;
    let counts = |world: &World| {
        let runs = world.runs.by_rule();
        (runs["often"], runs.get("nightly").copied().unwrap_or(0))
    };
    // At the start, and at each quarter.
    assert_eq!(counts(&world), (5, 0));
    world.clock.jump(SignedDuration::from_hours(-24 * 3));
    pass(3600).await;
    let (often, nightly) = counts(&world);
    assert!((8..=10).contains(&often) && nightly == 0, "{often}, {nightly}");
    // Three nights are jumped over, and a thousand quarters.
    world.clock.jump(SignedDuration::from_hours(24 * 3));
    pass(60).await;
    let (after, nightly) = counts(&world);
    assert_eq!(nightly, 1);
    assert!(after - often <= 2, "{after}");
    assert_eq!(world.rule("nightly").last_run.unwrap().cause, Cause::Missed);
    pass(3600).await;
    let (later, nightly) = counts(&world);
    assert!((3..=5).contains(&(later - after)), "{later}");
    assert_eq!(nightly, 1);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_hours_is_not_hammered_and_ends_at_once() {
    let mut world = World::at("2026-05-10T00:00:00Z", &rule("r", "every = \"10s\""));
    world.runs.go(Way::Unreachable);
    world.start().await;
    pass(8 * 3600).await;
    let tried = world.runs.begun().len();
    // 30 seconds, doubled up to 15 minutes.
    assert!((30..=40).contains(&tried), "{tried}");
    assert_eq!(world.rule("r").consecutive_failures as usize, tried);
    assert!(!world.daemon().readiness().ready);
    world.runs.go(Way::Takes(Duration::from_secs(1)));
    // Who knows that it is over need not wait.
    world.ask("r").await;
    pass(60).await;
    let recovered = world.runs.begun().len() - tried;
    assert!((5..=7).contains(&recovered), "{recovered}");
    assert_eq!(world.rule("r").consecutive_failures, 0);
    assert!(world.daemon().readiness().ready);
    world.stop().await;
}
