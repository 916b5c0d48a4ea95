//! The daemon and its cleanup rules with `mode = "apply"`: what goes, when, and what stops it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon_cleanup::{image, pull_requests};
use crate::daemon_setup::{Home, LIMIT, copying};
use crate::support::scripted::Fault;
use crate::support::{Kind, Place, Scripted, eventually};

const APPLY: &str = "mode = \"apply\"\nmax_delete = { count = 9, percent = 100 }";

/// A registry with three images that are to go and one that stays.
fn registry() -> Scripted {
    let registry = Scripted::start();
    for tag in ["pr-1", "pr-2", "pr-3", "1.0.0"] {
        image(tag).load(&registry, "app", tag);
    }
    registry
}

fn deletions(registry: &Scripted) -> usize {
    registry.traffic().count("DELETE", Kind::Manifest)
}

fn steps(record: &Value, outcome: &str) -> u64 {
    record["cleanup"]["steps"][outcome].as_u64().unwrap()
}

fn all_gone(registry: &Scripted) {
    for tag in ["pr-1", "pr-2", "pr-3"] {
        assert_eq!(registry.tag("app", tag), None, "{tag}");
    }
    assert_eq!(registry.tag("app", "1.0.0"), Some(image("1.0.0").digest));
}

#[tokio::test]
async fn what_is_due_is_deleted_and_shown() {
    let registry = registry();
    let rule = pull_requests(&registry, "app", APPLY)
        .replace("schedule = \"0 0 1 1 *\"\nrun_at_start = true", "every = \"1s\"");
    let home = Home::new().registry(&registry, "").cleanup("old", &rule);
    let daemon = home.serve().await;
    let first = daemon.ran("old").await;
    assert_eq!((&first["outcome"], steps(&first, "deleted")), (&json!("succeeded"), 3));
    assert!(first["cleanup"]["bytes_freed"].as_u64().unwrap() > 3_000, "{first}");
    all_gone(&registry);
    // What comes later goes at the next time.
    image("late").load(&registry, "app", "pr-4");
    eventually("the next run", LIMIT, || async {
        registry.tag("app", "pr-4").is_none().then_some(())
    })
    .await;
    eventually("four deletions", LIMIT, || async {
        let deleted = [("rule", "old"), ("outcome", "deleted")];
        let metrics = daemon.metrics().await;
        (metrics.sum("tranship_cleanup_steps_total", &deleted) == 4.0).then_some(())
    })
    .await;
    assert!(daemon.metrics().await.sum("tranship_cleanup_freed_bytes_total", &[]) > 4_000.0);
    let plan = daemon.get("/api/v1/rules/old/plan").await;
    assert_eq!(plan["plans"][0]["steps"], json!([]));
    let text = daemon.text("/api/v1/runs?limit=500").await.1;
    let runs: Vec<Value> = serde_json::from_str(&text).unwrap();
    let causes: Vec<_> = runs.iter().map(|run| run["cause"].as_str().unwrap()).collect();
    assert!(causes.iter().all(|cause| ["start", "schedule"].contains(cause)), "{causes:?}");
}

/// To look at the plan of a rule that deletes deletes nothing.
#[tokio::test]
async fn the_plan_of_a_rule_that_applies_only_reads() {
    let registry = registry();
    let rule = pull_requests(&registry, "app", APPLY).replace("run_at_start = true\n", "");
    let daemon = Home::new().registry(&registry, "").cleanup("old", &rule).serve().await;
    let plan = daemon.get("/api/v1/rules/old/plan").await;
    assert_eq!(plan["plans"][0]["steps"].as_array().unwrap().len(), 3);
    assert_eq!(registry.traffic().writes(), 0);
}

/// A rule that copies to a repository and one that deletes in it wait for each other.
#[tokio::test]
async fn a_sync_and_a_cleanup_of_one_repository_take_turns() {
    let (source, target) = (Scripted::start(), registry());
    image("v1").load(&source, "app", "v1");
    let on_request = |rule: String| rule.replace("run_at_start = true\n", "");
    let home = Home::new()
        .registry(&source, "")
        .registry(&target, "")
        .rule("mirror", &on_request(copying("app", &source, &target)))
        .cleanup("old", &on_request(pull_requests(&target, "app", APPLY)));
    let daemon = home.serve().await;
    let put = target.on("PUT", Kind::Manifest).fail(Fault::Hang);
    let sync = daemon.run("mirror");
    let cleanup = async {
        eventually("a copy", LIMIT, || async { (put.count() == 1).then_some(()) }).await;
        let waits = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(deletions(&target), 0);
            target.clear_rules();
            target.release();
        };
        tokio::join!(daemon.run("old"), waits).0
    };
    let (sync, cleanup) = tokio::join!(sync, cleanup);
    assert_eq!((&sync["counts"]["copied"], steps(&cleanup, "deleted")), (&json!(1), 3));

    // The other way round.
    image("pr-5").load(&target, "app", "pr-5");
    image("v2").load(&source, "app", "v1");
    let mark = target.mark();
    let delete = target.on("DELETE", Kind::Manifest).fail(Fault::Hang);
    let cleanup = daemon.run("old");
    let sync = async {
        eventually("a deletion", LIMIT, || async { (delete.count() == 1).then_some(()) }).await;
        let waits = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let writes = target.requests_since(mark).writes();
            assert_eq!(writes, 1, "{}", target.requests_since(mark));
            target.clear_rules();
            target.release();
        };
        tokio::join!(daemon.run("mirror"), waits).0
    };
    let (cleanup, sync) = tokio::join!(cleanup, sync);
    assert_eq!((&sync["counts"]["copied"], steps(&cleanup, "deleted")), (&json!(1), 1));
    assert_eq!(target.tag("app", "v1"), Some(image("v2").digest));
}

/// What is being deleted comes to its end, the rest is for the next process.
#[tokio::test]
async fn a_stop_lets_the_deletion_under_way_come_to_its_end() {
    let registry = registry();
    let delete = registry.on("DELETE", Kind::Manifest).fail(Fault::Hang);
    let home =
        Home::new().registry(&registry, "").cleanup("old", &pull_requests(&registry, "app", APPLY));
    let daemon = home.serve().await;
    eventually("a deletion", LIMIT, || async { (delete.count() == 1).then_some(()) }).await;
    daemon.signal("TERM");
    daemon.logged("stopping: images and deletions under way").await;
    registry.clear_rules();
    registry.release();
    let (code, _) = daemon.into_process().ended().await;
    assert_eq!((code, deletions(&registry)), (Some(0), 1));
    let daemon = home.serve().await;
    let record = daemon.ran("old").await;
    assert_eq!((&record["outcome"], steps(&record, "deleted")), (&json!("succeeded"), 2));
    all_gone(&registry);
    let runs = daemon.get("/api/v1/runs").await;
    assert_eq!(runs[1]["outcome"], "interrupted");
    assert_eq!((steps(&runs[1], "deleted"), steps(&runs[1], "not_done")), (1, 2));
}

#[tokio::test]
async fn a_run_that_is_cancelled_deletes_no_more() {
    let registry = registry();
    let delete = registry.on("DELETE", Kind::Manifest).fail(Fault::Hang);
    let home =
        Home::new().registry(&registry, "").cleanup("old", &pull_requests(&registry, "app", APPLY));
    let daemon = home.serve().await;
    eventually("a deletion", LIMIT, || async { (delete.count() == 1).then_some(()) }).await;
    let running = daemon.get("/api/v1/running").await;
    assert_eq!(running[0]["kind"], "cleanup");
    daemon.cancel(running[0]["id"].as_str().unwrap()).await;
    registry.clear_rules();
    registry.release();
    let record = daemon.ran("old").await;
    assert_eq!((&record["outcome"], steps(&record, "deleted")), (&json!("interrupted"), 1));
    assert_eq!(deletions(&registry), 1);
}

/// Whether it was deleted is found out by the next process, which goes on.
#[tokio::test]
async fn kill_in_the_middle_of_a_deletion() {
    let registry = registry();
    let delete = registry.on("DELETE", Kind::Manifest).fail(Fault::CutAfterwards);
    let hang = registry.on("GET", Kind::Tags).after(2).fail(Fault::Hang);
    let home =
        Home::new().registry(&registry, "").cleanup("old", &pull_requests(&registry, "app", APPLY));
    let daemon = home.serve().await;
    eventually("a deletion", LIMIT, || async {
        (delete.count() + hang.count() >= 1).then_some(())
    })
    .await;
    daemon.signal("KILL");
    daemon.into_process().ended().await;
    registry.clear_rules();
    registry.release();
    let daemon = home.serve().await;
    let record = daemon.ran("old").await;
    assert_eq!(record["outcome"], "succeeded", "{record}");
    all_gone(&registry);
}

/// What could not be deleted is told, with its reason.
#[tokio::test]
async fn a_deletion_that_fails_fails_the_run() {
    let registry = registry();
    registry.on("DELETE", Kind::Manifest).fail(Fault::status(500));
    let host = registry.host();
    let home = Home::new()
        .alerting()
        .registry(&registry, "")
        .cleanup("old", &pull_requests(&registry, "app", APPLY));
    let daemon = home.serve().await;
    let record = daemon.ran("old").await;
    assert_eq!(record["outcome"], "failed", "{record}");
    assert!(steps(&record, "failed") >= 1, "{record}");
    let words = record["failures"][0]["message"].as_str().unwrap();
    assert!(words.contains("500"), "{record}");
    let told = home.alerts().came(1).await;
    assert!(told.contains(&format!("failed to delete {host}/app@sha256:")), "{told}");
    let failed = [("rule", "old"), ("outcome", "failed")];
    assert!(daemon.metrics().await.sum("tranship_cleanup_steps_total", &failed) >= 1.0);
}

/// What runs somewhere stays, and where that is not known, everything does.
#[tokio::test]
async fn what_is_in_use_is_read_for_each_run() {
    let registry = registry();
    // A rule's lines may be followed by a table of the whole configuration.
    let more = format!(
        "{APPLY}\nin_use = [\"by-hand\"]\n[in_use.by-hand]\nformat = \"list\"\nfile = \"used.txt\""
    );
    let rule = pull_requests(&registry, "app", &more).replace("run_at_start = true\n", "");
    let home = Home::new().alerting().registry(&registry, "").cleanup("old", &rule);
    let daemon = home.serve().await;
    let record = daemon.run("old").await;
    assert_eq!(record["outcome"], "failed", "{record}");
    let plan = daemon.get("/api/v1/rules/old/plan").await;
    assert_eq!(plan["plans"], json!([]));
    let told = home.alerts().came(1).await;
    assert!(told.contains("failed to read what is in use"), "{told}");
    assert_eq!(registry.traffic().writes(), 0);
    home.tranship.write("used.txt", format!("{}/app:pr-2\n", registry.host()));
    let record = daemon.run("old").await;
    assert_eq!((&record["outcome"], steps(&record, "deleted")), (&json!("succeeded"), 2));
    assert_eq!(registry.tag("app", "pr-2"), Some(image("pr-2").digest));
    home.alerts().came(2).await;
    assert_eq!(home.alerts().kinds(), ["failure", "recovery"]);
}

/// A pattern that was changed by mistake keeps nothing, and so condemns all that it should keep.
#[tokio::test]
async fn a_keep_line_that_suddenly_keeps_nothing_stops_one_run() {
    let registry = registry();
    let rule = |kept: &str| {
        let rule = pull_requests(&registry, "app", APPLY).replace("run_at_start = true\n", "");
        let all = "delete = [{ id = \"all\", tags = [\"*\"] }]";
        let lines: Vec<&str> = rule
            .lines()
            .map(|line| if line.starts_with("delete") { all } else { line })
            .filter(|line| !line.starts_with("keep"))
            .collect();
        format!("{}\nkeep = [{{ id = \"releases\", tags = [\"{kept}\"] }}]\n", lines.join("\n"))
    };
    let mut home = Home::new().registry(&registry, "").cleanup("old", &rule("1.*"));
    let daemon = home.serve().await;
    let first = daemon.run("old").await;
    assert_eq!((&first["outcome"], steps(&first, "deleted")), (&json!("succeeded"), 3), "{first}");
    all_gone(&registry);

    home.set_cleanup("old", &rule("1-*"));
    home.configure();
    daemon.signal("HUP");
    daemon.logged("the configuration was loaded anew").await;
    let second = daemon.run("old").await;
    assert_eq!((&second["outcome"], steps(&second, "deleted")), (&json!("failed"), 0), "{second}");
    assert!(second.to_string().contains("`releases` kept images here before"), "{second}");
    all_gone(&registry);
    let third = daemon.run("old").await;
    assert_eq!((&third["outcome"], steps(&third, "deleted")), (&json!("succeeded"), 1), "{third}");
}
