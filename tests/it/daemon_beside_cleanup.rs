//! `tranship cleanup` beside a running daemon, which plans and deletes instead: what is printed, and
//! how it ends, is the same.

use serde_json::{Value, json};

use crate::daemon_beside::{Beside, command, listening, on_request};
use crate::daemon_cleanup::image;
use crate::daemon_setup::{Home, LIMIT};
use crate::support::endpoint::client_builder;
use crate::support::process::Finished;
use crate::support::scripted::Fault;
use crate::support::{Family, Image, Kind, Place, Scripted, eventually};

const LIMITS: &str = "max_delete = { count = 9, percent = 100 }";

/// Three images that are to go, one of them with its platforms, and one that stays.
fn registry() -> Scripted {
    let registry = Scripted::start();
    for tag in ["pr-10", "pr-2", "1.0.0"] {
        image(tag).load(&registry, "app", tag);
    }
    Image::platforms(Family::Oci, "index", &["amd64", "arm64"]).load(&registry, "app", "pr-3");
    registry
}

async fn beside(registry: &Scripted, more: &str) -> Beside {
    let rule = on_request(registry, "app", more);
    Beside::start(Home::new().registry(registry, "").cleanup("old", &rule)).await
}

fn deletions(registry: &Scripted) -> usize {
    registry.traffic().count("DELETE", Kind::Manifest)
}

/// What was printed, without the moments for which plans were made and warnings were logged.
fn timeless(finished: &Finished) -> (Option<i32>, Vec<&str>, Vec<&str>) {
    let is_now = |line: &&str| line.trim_start().starts_with("\"now\": ");
    let printed = finished.stdout.lines().filter(|line| !is_now(line));
    let told = finished.stderr.lines().map(|line| match line.split_once("Z  WARN ") {
        Some((_, warning)) => warning,
        None => line,
    });
    (finished.code, printed.collect(), told.collect())
}

#[tokio::test]
async fn plans_and_explanations_are_printed_alike() {
    let registry = registry();
    image("beyond").load(&registry, "small", "pr-1");
    let name = |tag: &str| format!("{}/app:{tag}", registry.host());
    let (index, gone, meant) = (name("pr-3"), name("zzz"), name("pr-30"));
    let commands: Vec<Vec<&str>> = vec![
        vec!["cleanup"],
        vec!["cleanup", "--output", "json"],
        vec!["cleanup", "--rule", "old", "--quiet"],
        vec!["cleanup", "--rule", "limited"],
        vec!["cleanup", "--rule", "limited", "--output", "json"],
        vec!["cleanup", "--explain", &index],
        vec!["cleanup", "--explain", &index, "--output", "json"],
        vec!["cleanup", "--explain", &gone],
        vec!["cleanup", "--explain", &meant, "--output", "json"],
        vec!["cleanup", "--rule", "limited", "--explain", &index],
        vec!["cleanup", "--rule", "none"],
    ];
    let home = Home::new()
        .registry(&registry, "")
        .cleanup("old", &on_request(&registry, "app", LIMITS))
        .cleanup("limited", &on_request(&registry, "small", "max_delete = { count = 0 }"));
    let beside = Beside::start(home).await;
    // From here on, the state knows every manifest.
    assert_eq!(beside.run(&["cleanup"]).await.code, Some(3));
    let mark = registry.mark();
    let mut expected = Vec::new();
    for arguments in &commands {
        expected.push(beside.run(arguments).await);
    }
    let asked = registry.requests_since(mark);
    let home = beside.without().await;
    let mark = registry.mark();
    for (arguments, by_daemon) in commands.iter().zip(&expected) {
        let here = command(&home, arguments).finish().await;
        assert_eq!(timeless(by_daemon), timeless(&here), "{arguments:?}");
    }
    let here = registry.requests_since(mark);
    assert_eq!((asked.len(), asked.writes()), (here.len(), 0), "{asked}\n{here}");
    let codes: Vec<_> = expected.iter().map(|finished| finished.code.unwrap()).collect();
    assert_eq!(codes, [3, 3, 0, 3, 3, 0, 0, 1, 1, 1, 2]);
    assert!(expected[0].stdout.contains("3 of 4 tags"), "{:?}", expected[0]);
    assert!(expected[0].stderr.contains("REFUSED limited"), "{:?}", expected[0]);
    assert!(expected[5].stdout.contains("pr-3 (sha256:"), "{:?}", expected[5]);
    assert!(expected[8].stderr.contains("did you mean `pr-3`?"), "{:?}", expected[8]);
}

/// A rule that only plans by itself deletes when it is told to, once.
#[tokio::test]
async fn a_plan_is_applied_whatever_the_mode_of_its_rule() {
    let registry = registry();
    let beside = beside(&registry, LIMITS).await;
    let document = beside.json(&["cleanup", "--apply"], 0).await;
    assert_eq!(document["success"], true);
    let rule = &document["rules"][0];
    assert_eq!((&rule["rule"], &rule["mode"]), (&json!("old"), &json!("apply")));
    let steps = rule["plans"][0]["steps"].as_array().unwrap();
    let outcomes = rule["repositories"][0]["steps"].as_array().unwrap();
    assert_eq!((steps.len(), outcomes.len(), deletions(&registry)), (5, 5, 5), "{document:#}");
    assert!(outcomes.iter().all(|step| step["outcome"] == "deleted"), "{document:#}");
    assert_eq!(registry.tag("app", "1.0.0"), Some(image("1.0.0").digest));

    let record = beside.daemon.ran("old").await;
    assert_eq!(
        (&record["cause"], &record["cleanup"]["mode"]),
        (&json!("command"), &json!("apply"))
    );
    assert_eq!(record["cleanup"]["steps"]["deleted"], 5);
    // By itself it still plans.
    image("late").load(&registry, "app", "pr-4");
    let record = beside.daemon.run("old").await;
    assert_eq!(record["cleanup"]["mode"], "plan");
    assert_eq!((deletions(&registry), registry.tag("app", "pr-4").is_some()), (5, true));
    // Text, and what it says without a daemon.
    let by_daemon = beside.run(&["cleanup", "--apply"]).await;
    assert_eq!(registry.tag("app", "pr-4"), None);
    image("late").load(&registry, "app", "pr-4");
    let home = beside.without().await;
    let here = command(&home, &["cleanup", "--apply"]).finish().await;
    assert_eq!(timeless(&by_daemon), timeless(&here));
    assert!(here.stdout.contains(": 1 deleted; "), "{here:?}");
    assert_eq!(deletions(&registry), 7);
}

#[tokio::test]
async fn beyond_the_limits_nothing_goes() {
    let registry = registry();
    let beside = beside(&registry, "max_delete = { count = 1, percent = 100 }").await;
    let refused = beside.run(&["cleanup", "--apply"]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("3 of 4 tags would go"), "{refused:?}");
    assert_eq!(registry.traffic().writes(), 0);
}

/// What fails is told with its reasons, as without a daemon.
#[tokio::test]
async fn what_fails_is_told() {
    let registry = registry();
    registry.on("DELETE", Kind::Manifest).fail(Fault::status(405));
    let beside = beside(&registry, LIMITS).await;
    let failed = beside.run(&["cleanup", "--apply"]).await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("FAILED old: 5 of 5 steps"), "{failed:?}");
    assert!(failed.stderr.contains("405"), "{failed:?}");
    assert_eq!(deletions(&registry), 1);
}

/// The deletion under way comes to its end, and no other is begun.
#[tokio::test]
async fn a_signal_cancels_the_run() {
    let registry = registry();
    let delete = registry.on("DELETE", Kind::Manifest).fail(Fault::Hang);
    let beside = beside(&registry, LIMITS).await;
    let running = beside.start_command(&["cleanup", "--apply", "--output", "json"]);
    eventually("a deletion", LIMIT, || async { (delete.count() == 1).then_some(()) }).await;
    let ended = tokio::spawn(running.terminate());
    beside.daemon.logged("endpoint=/api/v1/runs/{id}/cancel").await;
    registry.clear_rules();
    registry.release();
    let finished = ended.await.unwrap();
    assert_eq!(finished.code, Some(143), "{finished:?}");
    let document: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(document["rules"][0]["interrupted"], true, "{document:#}");
    let steps = document["rules"][0]["repositories"][0]["steps"].as_array().unwrap();
    let with = |outcome: &str| steps.iter().filter(|step| step["outcome"] == outcome).count();
    assert_eq!((with("deleted"), with("not_done")), (1, 4), "{document:#}");
    assert_eq!(deletions(&registry), 1);
    assert_eq!(beside.daemon.ran("old").await["outcome"], "interrupted");
}

/// A run that waits for its turn is withdrawn.
#[tokio::test]
async fn a_run_that_waits_is_cancelled_too() {
    let registry = registry();
    let beside = beside(&registry, LIMITS).await;
    let list = registry.on("GET", Kind::Tags).fail(Fault::Hang);
    let present = beside.daemon.run("old");
    let waiting = async {
        eventually("a run", LIMIT, || async { (list.count() == 1).then_some(()) }).await;
        let running = beside.start_command(&["cleanup", "--apply"]);
        eventually("a run that waits", LIMIT, || async {
            (beside.daemon.get("/api/v1/status").await["queued"] == 1).then_some(())
        })
        .await;
        let finished = running.terminate().await;
        registry.clear_rules();
        registry.release();
        finished
    };
    let (present, finished) = tokio::join!(present, waiting);
    assert_eq!(present["outcome"], "succeeded");
    assert_eq!(finished.code, Some(143), "{finished:?}");
    assert!(finished.stderr.contains("old: interrupted"), "{finished:?}");
    assert_eq!(registry.traffic().writes(), 0);
}

/// Nothing is changed through an API that only reads, and plans are made all the same.
#[tokio::test]
async fn without_a_token_it_only_plans() {
    let registry = registry();
    let home = Home::new().registry(&registry, "");
    let home = home.without_token().cleanup("old", &on_request(&registry, "app", LIMITS));
    let beside = Beside::start(home).await;
    assert_eq!(beside.run(&["cleanup"]).await.code, Some(0));
    for arguments in [&["cleanup", "--apply"][..], &["cleanup", "--apply", "--output", "json"]] {
        let refused = beside.run(arguments).await;
        assert_eq!((refused.code, &*refused.stdout), (Some(2), ""), "{refused:?}");
        assert!(refused.stderr.contains("has no `token`"), "{refused:?}");
        assert!(refused.stderr.contains("hint: set `token` in [daemon]"), "{refused:?}");
    }
    assert_eq!(registry.traffic().writes(), 0);
}

/// The daemon has a rule that must not delete, whatever the command's file says by now.
#[tokio::test]
async fn a_rule_that_covers_too_much_is_refused_by_the_daemon() {
    let registry = registry();
    let home = Home::new().registry(&registry, "");
    let home = home.cleanup("old", &on_request(&registry, "**", LIMITS));
    let beside = Beside::start(home).await;
    let usage = beside.run(&["cleanup", "--apply"]).await;
    assert_eq!(usage.code, Some(2), "{usage:?}");
    let text = listening(&beside.home.text(), &beside.daemon).replace("/**\"", "/app\"");
    beside.home.tranship.write("cli.toml", text);
    let refused = beside.run(&["cleanup", "--apply"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("covers every repository of a registry"), "{refused:?}");
    assert_eq!(registry.traffic().writes(), 0);
}

/// Who listens at the port and has another state is asked for nothing.
#[tokio::test]
async fn another_configurations_daemon_is_not_asked() {
    let (registry, foreign) = (registry(), registry());
    let own = beside(&registry, LIMITS).await;
    let other = beside(&foreign, LIMITS).await;
    let text = listening(&own.home.text(), &other.daemon);
    own.home.tranship.write("cli.toml", text);
    let marks = (registry.mark(), foreign.mark());
    for arguments in [&["cleanup"][..], &["cleanup", "--apply"]] {
        let refused = own.run(arguments).await;
        assert_eq!((refused.code, &*refused.stdout), (Some(1), ""), "{refused:?}");
        assert!(refused.stderr.contains("is in use by another tranship process"), "{refused:?}");
    }
    let asked = registry.requests_since(marks.0).len() + foreign.requests_since(marks.1).len();
    assert_eq!(asked, 0);
}

/// Nothing more is read for a plan that nobody waits for.
#[tokio::test]
async fn a_plan_is_stopped_with_its_command() {
    let registry = registry();
    let beside = beside(&registry, LIMITS).await;
    let list = registry.on("GET", Kind::Tags).fail(Fault::Hang);
    let running = beside.start_command(&["cleanup"]);
    eventually("a plan", LIMIT, || async { (list.count() == 1).then_some(()) }).await;
    let stopped = running.terminate().await;
    assert_eq!(stopped.code, Some(143), "{stopped:?}");
    assert!(stopped.stderr.contains("old: interrupted"), "{stopped:?}");
    beside.daemon.logged("a client follows no longer").await;
    registry.clear_rules();
    registry.release();
    let mark = registry.mark();
    // Another plan is made at once; of the first one, nothing more is asked.
    assert_eq!(beside.run(&["cleanup"]).await.code, Some(0));
    let traffic = registry.requests_since(mark);
    assert_eq!(traffic.count("GET", Kind::Tags), 1, "{traffic}");
}

/// The daemon ends in good order, and the command says what was done until then.
#[tokio::test]
async fn the_end_of_the_daemon_is_the_end_of_the_run() {
    let registry = registry();
    let delete = registry.on("DELETE", Kind::Manifest).fail(Fault::Hang);
    let beside = beside(&registry, LIMITS).await;
    let running = beside.start_command(&["cleanup", "--apply"]);
    eventually("a deletion", LIMIT, || async { (delete.count() == 1).then_some(()) }).await;
    beside.daemon.signal("TERM");
    beside.daemon.logged("stopping: images and deletions under way").await;
    registry.clear_rules();
    registry.release();
    let finished = running.finish().await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("old: interrupted"), "{finished:?}");
    assert!(finished.stdout.contains(": 1 deleted, 4 not done; "), "{finished:?}");
    let (code, _) = beside.daemon.into_process().ended().await;
    assert_eq!((code, deletions(&registry)), (Some(0), 1));
}

/// A daemon that is killed says nothing more, and the command does not wait for it.
#[tokio::test]
async fn a_daemon_that_is_killed_is_an_error() {
    let registry = registry();
    let delete = registry.on("DELETE", Kind::Manifest).fail(Fault::Hang);
    let beside = beside(&registry, LIMITS).await;
    let running = beside.start_command(&["cleanup", "--apply"]);
    eventually("a deletion", LIMIT, || async { (delete.count() == 1).then_some(()) }).await;
    beside.daemon.signal("KILL");
    let finished = running.finish().await;
    assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.contains("it broke off its answer"), "{finished:?}");
}

/// Whoever waits knows that the daemon is alive.
#[tokio::test]
async fn a_long_wait_has_signs_of_life() {
    let registry = registry();
    let beside = beside(&registry, LIMITS).await;
    registry.on("GET", Kind::Tags).fail(Fault::Hang);
    let url = format!("http://{}/api/v1/rules/old/plan/lines", beside.daemon.address());
    let mut answer = client_builder().build().unwrap().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    for _ in 0..2 {
        let chunk = tokio::time::timeout(LIMIT, answer.chunk()).await.expect("a sign of life");
        assert_eq!(chunk.unwrap().unwrap(), "\n");
    }
}

/// Paths are what they are for the command, wherever the daemon runs.
#[tokio::test]
async fn layouts_are_cleaned_up_too() {
    let registry = registry();
    let rule =
        on_request(&registry, "app", &format!("{LIMITS}\nquarantine = {{ to = \"oci:kept\" }}"))
            .replace(&format!("{}/app", registry.host()), "oci:images/**");
    let home = Home::new().cleanup("old", &rule);
    for tag in ["pr-2", "pr-3", "1.0.0"] {
        let (source, target) = (registry.reference("app", tag), format!("oci:images/app:{tag}"));
        home.tranship.succeed(["copy", "--insecure", "http", &source, &target]).await;
    }
    let beside = Beside::start(home).await;
    let explained = beside.run(&["cleanup", "--explain", "oci:images/app:pr-3"]).await;
    assert_eq!(explained.code, Some(0), "{explained:?}");
    assert!(explained.stdout.contains("delete `pr`: yes"), "{explained:?}");
    let applied = beside.run(&["cleanup", "--apply"]).await;
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let tags = async || {
        let listed = beside.json(&["list-tags", "oci:images/app"], 0).await;
        listed["tags"].clone()
    };
    assert_eq!(tags().await, json!(["1.0.0"]));
    let restored = beside.run(&["restore", "oci:images/app:pr-3"]).await;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!(tags().await, json!(["1.0.0", "pr-3"]));
}
