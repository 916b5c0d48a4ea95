//! `tranship run`, `plan`, `cancel` and `reload`: the daemon from the command line.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::daemon_beside::{Beside, command, on_request, on_request_sync};
use crate::daemon_cleanup::image;
use crate::daemon_setup::{Home, LIMIT, TOKEN};
use crate::support::process::Running;
use crate::support::scripted::Fault;
use crate::support::{Kind, Scripted, assert_same, eventually};

const LIMITS: &str = "max_delete = { count = 9, percent = 100 }";

/// A registry with an image to copy and, in another repository, one to delete.
fn registries() -> (Scripted, Scripted) {
    let (source, target) = (Scripted::start(), Scripted::start());
    image("1.0.0").load(&source, "app", "v1");
    for tag in ["pr-1", "1.0.0"] {
        image(tag).load(&target, "old", tag);
    }
    (source, target)
}

fn home(source: &Scripted, target: &Scripted) -> Home {
    let cleanup = on_request(target, "old", LIMITS);
    Home::new()
        .registry(source, "")
        .registry(target, "")
        .rule("apps", &on_request_sync(source, target, "app"))
        .cleanup("tidy", &cleanup)
        .cleanup("apply", &format!("{cleanup}\nmode = \"apply\""))
}

#[tokio::test]
async fn rules_of_both_kinds_are_run_and_followed() {
    let (source, target) = registries();
    let beside = Beside::start(home(&source, &target)).await;
    let planned = beside.json(&["run", "tidy", "apps", "--dry-run"], 0).await;
    assert_eq!(planned["sync"][0]["counts"]["copied"], 1, "{planned:#}");
    assert_eq!(planned["cleanup"][0]["plans"][0]["tags_deleted"], 1, "{planned:#}");
    assert_eq!(target.traffic().writes(), 0);

    let ran = beside.json(&["run", "tidy", "apps"], 0).await;
    assert_eq!((&ran["success"], &ran["cleanup"][0]["mode"]), (&json!(true), &json!("plan")));
    let images = ran["sync"][0]["images"].as_array().unwrap();
    assert_eq!((images.len(), &images[0]["action"]), (1, &json!("copied")), "{ran:#}");
    assert!(ran["moved"]["sent_bytes"].as_u64().unwrap() > 0, "{ran:#}");
    assert_same(&source, &target, "app", "v1").await;
    assert!(target.tag("old", "pr-1").is_some());
    assert_eq!(beside.daemon.ran("apps").await["cause"], "command");

    let rechecked = beside.json(&["run", "apps", "--recheck"], 0).await;
    assert_eq!(rechecked["sync"][0]["vouched"]["images"], 0, "{rechecked:#}");
    let usual = beside.run(&["run", "apps"]).await;
    assert_eq!(usual.code, Some(0), "{usual:?}");
    assert!(usual.stdout.contains("apps: 0 copied, 1 unchanged"), "{usual:?}");

    // The rule says that it deletes.
    let applied = beside.run(&["run", "apply"]).await;
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert!(applied.stdout.contains(": 1 deleted"), "{applied:?}");
    assert_eq!(target.tag("old", "pr-1"), None);
}

/// Failures of a run are failures of the command.
#[tokio::test]
async fn the_exit_code_is_that_of_the_worst_run() {
    let (source, target) = registries();
    target.on("PUT", Kind::Manifest).fail(Fault::status(403));
    let beyond = on_request(&target, "old", "max_delete = { count = 0, percent = 100 }");
    let beside = Beside::start(home(&source, &target).cleanup("beyond", &beyond)).await;
    assert_eq!(beside.run(&["run", "beyond"]).await.code, Some(3));
    let failed = beside.run(&["run", "beyond", "tidy", "apps"]).await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(
        failed.stderr.contains("403") && failed.stderr.contains("REFUSED beyond"),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_run_is_started_without_waiting_and_cancelled() {
    let (source, target) = registries();
    let list = source.on("GET", Kind::Tags).fail(Fault::Hang);
    let beside = Beside::start(home(&source, &target)).await;
    let started = beside.json(&["run", "apps", "--no-wait"], 0).await;
    assert_eq!(started["started"][0]["state"], "started", "{started:#}");
    let run = started["started"][0]["run"].as_str().unwrap().to_owned();
    eventually("a list", LIMIT, || async { (list.count() == 1).then_some(()) }).await;
    let queued = beside.run(&["run", "apps", "--no-wait"]).await;
    assert_eq!(queued.code, Some(0), "{queued:?}");
    assert!(queued.stdout.contains("queued: "), "{queued:?}");

    let cancelled = beside.json(&["cancel", "apps"], 0).await;
    assert_eq!(cancelled["cancelled"].as_array().unwrap().len(), 2, "{cancelled:#}");
    assert!(cancelled["cancelled"].as_array().unwrap().contains(&json!(run)));
    assert_eq!(beside.daemon.ran("apps").await["outcome"], "interrupted");
    // One by its id.
    let started = beside.json(&["run", "apps", "--no-wait"], 0).await;
    let run = started["started"][0]["run"].as_str().unwrap().to_owned();
    eventually("another list", LIMIT, || async { (list.count() == 2).then_some(()) }).await;
    let cancelled = beside.run(&["cancel", &run]).await;
    assert_eq!((cancelled.code, cancelled.stdout), (Some(0), format!("run {run} stops\n")));
    beside.daemon.ran("apps").await;

    // Each mistake has its own words.
    let words = async |arguments: &[&str]| {
        let finished = beside.run(arguments).await;
        (finished.code.unwrap(), finished.stderr)
    };
    let (code, ended) = words(&["cancel", &run]).await;
    assert_eq!(code, 1, "{ended}");
    let expected = format!("run {run} of rule `apps` has ended already: interrupted at ");
    assert!(ended.contains(&expected), "{ended}");
    let (code, idle) = words(&["cancel", "apps"]).await;
    assert_eq!(code, 1, "{idle}");
    assert!(idle.contains("no run of rule `apps` is in progress or queued"), "{idle}");
    let (code, unknown) = words(&["cancel", "app"]).await;
    assert_eq!(code, 2, "{unknown}");
    assert!(unknown.contains("no run and no rule `app` (did you mean `apps`?)"), "{unknown}");
    let (code, unknown) = words(&["cancel", "20260101T000000Z-0a1b2c"]).await;
    assert_eq!(code, 2, "{unknown}");
    assert!(unknown.contains("there is no run 20260101T000000Z-0a1b2c"), "{unknown}");
}

/// The command goes away, and the run goes on.
#[tokio::test]
async fn a_signal_leaves_the_run() {
    let (source, target) = registries();
    let list = source.on("GET", Kind::Tags).fail(Fault::Hang);
    let beside = Beside::start(home(&source, &target)).await;
    let running = beside.start_command(&["run", "apps", "--output", "json"]);
    eventually("a list", LIMIT, || async { (list.count() == 1).then_some(()) }).await;
    let left = running.terminate().await;
    assert_eq!(left.code, Some(143), "{left:?}");
    let document: Value = serde_json::from_str(&left.stdout).unwrap();
    let run = document["left"][0]["run"].as_str().unwrap();
    assert_eq!(document["success"], false, "{document:#}");
    assert!(left.stderr.contains(&format!("`tranship cancel {run}` stops it")), "{left:?}");
    source.clear_rules();
    source.release();
    assert_eq!(beside.daemon.ran("apps").await["outcome"], "succeeded");
    assert_same(&source, &target, "app", "v1").await;
}

/// With and without a daemon, plans are the same.
#[tokio::test]
async fn plans_are_made_by_the_daemon_or_here() {
    let (source, target) = registries();
    let beside = Beside::start(home(&source, &target)).await;
    assert_eq!(beside.run(&["plan"]).await.code, Some(0));
    let commands = [
        vec!["plan"],
        vec!["plan", "tidy"],
        vec!["plan", "apps", "--recheck", "--quiet"],
        vec!["plan", "tydy"],
        vec!["plan", "tidy", "--recheck"],
    ];
    let mut there = Vec::new();
    for arguments in &commands {
        there.push(beside.run(arguments).await);
    }
    let document = beside.json(&["plan", "apps", "tidy"], 0).await;
    assert_eq!(document["sync"][0]["images"][0]["action"], "would_copy", "{document:#}");
    assert_eq!(document["cleanup"][0]["plans"][0]["tags_deleted"], 1, "{document:#}");
    let home = beside.without().await;
    let words = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.split(" sent in ").next().unwrap().to_owned());
        lines.collect()
    };
    for (arguments, there) in commands.iter().zip(&there) {
        let here = command(&home, arguments).finish().await;
        assert_eq!(there.code, here.code, "{arguments:?} {here:?}");
        assert_eq!(words(&there.stdout), words(&here.stdout), "{arguments:?}");
        assert_eq!(words(&there.stderr), words(&here.stderr), "{arguments:?}");
    }
    let codes: Vec<_> = there.iter().map(|finished| finished.code.unwrap()).collect();
    assert_eq!(codes, [0, 0, 0, 2, 2]);
    assert!(there[0].stdout.contains("would copy "), "{:?}", there[0]);
    assert!(there[3].stderr.contains("did you mean `tidy`?"), "{:?}", there[3]);
    assert_eq!(target.traffic().writes(), 0);
}

#[tokio::test]
async fn a_reload_says_what_has_changed_or_what_is_wrong() {
    let (source, target) = registries();
    let mut beside = Beside::start(home(&source, &target)).await;
    let reload = async |beside: &Beside| beside.run(&["reload"]).await;
    let nothing = reload(&beside).await;
    assert_eq!(nothing.code, Some(0), "{nothing:?}");
    assert!(nothing.stdout.contains("with 3 rules; nothing has changed"), "{nothing:?}");

    beside.home.set_daemon("grace = \"3s\"");
    beside.home.set_rule("more", &on_request_sync(&source, &target, "more"));
    beside.home.configure();
    let changed = reload(&beside).await;
    assert_eq!(changed.code, Some(0), "{changed:?}");
    for line in ["with 4 rules", "\n  [daemon]: changed grace\n", "\n  [[sync]] more: added\n"] {
        assert!(changed.stdout.contains(line), "{line}: {changed:?}");
    }
    let document = beside.json(&["reload"], 0).await;
    assert_eq!(document["rules"], 4, "{document:#}");
    assert_eq!(document["config"]["changes"].as_array().unwrap().len(), 2, "{document:#}");

    let text = beside.home.text();
    beside.home.tranship.write("tranship.toml", format!("{text}\nnonsense = 1\n"));
    for output in ["text", "json"] {
        let rejected = beside.run(&["reload", "--output", output]).await;
        assert_eq!((rejected.code, &*rejected.stdout), (Some(2), ""), "{rejected:?}");
        assert!(rejected.stderr.contains("unknown key `nonsense`"), "{rejected:?}");
        assert!(rejected.stderr.contains("tranship.toml:"), "{rejected:?}");
        assert!(rejected.stderr.contains("hint: the daemon keeps"), "{rejected:?}");
    }
    assert_eq!(beside.daemon.get("/api/v1/rules").await.as_array().unwrap().len(), 4);
}

/// No daemon, no rule, no token, another token: each has its own words.
#[tokio::test]
async fn what_is_missing_is_said() {
    let (source, target) = registries();
    let beside = Beside::start(home(&source, &target)).await;
    let commands: [&[&str]; 4] =
        [&["run", "apps"], &["run", "apps", "--no-wait"], &["cancel", "apps"], &["reload"]];
    for arguments in commands {
        let mut command = beside.home.tranship.command();
        command.args(["--config", "cli.toml"]).args(arguments).env("TOKEN", format!("{TOKEN}!"));
        command.stdin(Stdio::null());
        let wrong = Running::new(&mut command).finish().await;
        assert_eq!((wrong.code, &*wrong.stdout), (Some(2), ""), "{wrong:?}");
        assert!(wrong.stderr.contains("this is not the daemon's token"), "{wrong:?}");
    }
    let unknown = beside.run(&["run", "aps"]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    let words = "the daemon has no rule `aps` (did you mean `apps`?): the rules are ";
    assert!(unknown.stderr.contains(words), "{unknown:?}");
    let recheck = beside.run(&["run", "tidy", "--recheck"]).await;
    assert_eq!(recheck.code, Some(2), "{recheck:?}");
    assert!(recheck.stderr.contains("`tidy` is a [[cleanup]] rule"), "{recheck:?}");

    let home = beside.without().await;
    for arguments in commands.into_iter().chain([&["run", "apps", "--dry-run"][..]]) {
        let nobody = command(&home, arguments).finish().await;
        assert_eq!((nobody.code, &*nobody.stdout), (Some(1), ""), "{nobody:?}");
        assert!(nobody.stderr.contains("no daemon listens at 127.0.0.1:"), "{nobody:?}");
        assert!(nobody.stderr.contains("hint: "), "{nobody:?}");
    }
    let beside = Beside::start(home.without_token()).await;
    for arguments in commands {
        let none = beside.run(arguments).await;
        assert_eq!((none.code, &*none.stdout), (Some(2), ""), "{none:?}");
        assert!(none.stderr.contains("has no `token`"), "{none:?}");
    }
    assert_eq!(beside.run(&["run", "apps", "--dry-run"]).await.code, Some(0));
    assert_eq!(target.traffic().writes(), 0);
}
