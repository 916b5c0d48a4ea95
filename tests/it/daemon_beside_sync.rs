//! `tranship sync` beside a running daemon, which copies instead: what is printed, and how it ends,
//! is the same.

use serde_json::{Value, json};

use crate::daemon_beside::{Beside, command, on_request_sync};
use crate::daemon_setup::{Home, LIMIT, TOKEN};
use crate::support::process::{Finished, Running};
use crate::support::scripted::Fault;
use crate::support::{Family, Image, Kind, Place, Scripted, assert_same, eventually};

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[3_000, 500])
}

/// A source with three images, one of them of two platforms.
fn source() -> Scripted {
    let source = Scripted::start();
    for tag in ["v1", "v2"] {
        image(tag).load(&source, "app", tag);
    }
    Image::platforms(Family::Oci, "index", &["amd64", "arm64"]).load(&source, "app", "v3");
    source
}

fn home(source: &Scripted, target: &Scripted) -> Home {
    Home::new()
        .registry(source, "")
        .registry(target, "")
        .rule("apps", &on_request_sync(source, target, "app"))
}

/// The target forgets everything.
async fn forget(target: &Scripted, repository: &str, tags: &[&str]) {
    for tag in tags {
        if let Some(digest) = target.tag(repository, tag) {
            target.endpoint().delete(repository, &digest).await;
        }
    }
}

/// A document without what depends on the time.
fn timeless(mut document: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("seconds");
                map.remove("since");
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut document);
    document
}

/// The lines of a report, in any order, without the times that things took and since when the state
/// knows of them.
fn lines(finished: &Finished) -> (Option<i32>, Vec<String>, Vec<String>) {
    let line = |line: &str| {
        let line = line.split(" sent in ").next().unwrap_or_default();
        line.split(" since ").next().unwrap_or_default().to_owned()
    };
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(line).collect();
        lines.sort();
        lines
    };
    (finished.code, sorted(&finished.stdout), sorted(&finished.stderr))
}

#[tokio::test]
async fn what_is_copied_is_printed_alike() {
    let (source, target) = (source(), Scripted::start());
    let rules = home(&source, &target).rule("more", &on_request_sync(&source, &target, "gone"));
    let beside = Beside::start(rules).await;
    let commands: Vec<Vec<&str>> = vec![
        vec!["sync", "--dry-run", "--rule", "apps"],
        vec!["sync", "--dry-run", "--output", "json"],
        vec!["sync", "--rule", "apps"],
        vec!["sync", "--rule", "apps", "--quiet"],
        vec!["sync"],
        vec!["sync", "--rule", "app"],
    ];
    let mut by_daemon = Vec::new();
    for arguments in &commands {
        by_daemon.push(beside.run(arguments).await);
    }
    let writes = beside.daemon.ran("apps").await;
    assert_eq!((&writes["cause"], &writes["outcome"]), (&json!("command"), &json!("succeeded")));
    assert_same(&source, &target, "app", "v3").await;
    // The same from the beginning, in another home and with another target.
    drop(beside.without().await);
    let fresh = Scripted::start();
    let rules = home(&source, &fresh).rule("more", &on_request_sync(&source, &fresh, "gone"));
    rules.tranship.write("cli.toml", rules.text());
    for (arguments, there) in commands.iter().zip(&by_daemon) {
        let here = command(&rules, arguments).finish().await;
        let renamed = |text: &str| text.replace(fresh.host(), target.host());
        let here =
            Finished { stdout: renamed(&here.stdout), stderr: renamed(&here.stderr), ..here };
        match arguments.contains(&"json") {
            true => {
                let document = |text: &str| timeless(serde_json::from_str(text).unwrap());
                assert_eq!(document(&there.stdout), document(&here.stdout));
                assert_eq!(there.code, here.code);
            }
            false => assert_eq!(lines(there), lines(&here), "{arguments:?}"),
        }
    }
    let codes: Vec<_> = by_daemon.iter().map(|finished| finished.code.unwrap()).collect();
    assert_eq!(codes, [0, 1, 0, 0, 1, 2]);
    let copied = &by_daemon[2];
    assert!(
        copied.stdout.contains("copied ") && copied.stdout.contains("apps: 3 copied"),
        "{copied:?}"
    );
    assert!(by_daemon[5].stderr.contains("did you mean `apps`?"), "{:?}", by_daemon[5]);
}

#[tokio::test]
async fn documents_are_the_same() {
    let (source, target) = (source(), Scripted::start());
    let beside = Beside::start(home(&source, &target)).await;
    let there = beside.json(&["sync"], 0).await;
    let home = beside.without().await;
    // A target and a state that know nothing.
    let fresh = Scripted::start();
    let text = home.text().replace(target.host(), fresh.host());
    let text = text.replace("[daemon]", "[daemon]\nstate = \"other\"");
    home.tranship.write("cli.toml", text);
    let here = command(&home, &["sync", "--output", "json"]).finish().await;
    assert_eq!(here.code, Some(0), "{here:?}");
    let here: Value =
        serde_json::from_str(&here.stdout.replace(fresh.host(), target.host())).unwrap();
    assert_eq!(there["moved"]["blobs_sent"], here["moved"]["blobs_sent"]);
    assert!(there["moved"]["received_bytes"].as_u64().unwrap() > 0, "{there:#}");
    assert_eq!(there["rules"][0]["images"].as_array().unwrap().len(), 3, "{there:#}");
    assert_eq!(timeless(there), timeless(here));
}

/// What the state knows is not asked for, unless it is wanted.
#[tokio::test]
async fn a_recheck_asks_about_every_image() {
    let (source, target) = (source(), Scripted::start());
    // Few tags are looked up at the target one by one.
    for tag in ["v4", "v5", "v6"] {
        image(tag).load(&source, "app", tag);
    }
    let beside = Beside::start(home(&source, &target)).await;
    assert_eq!(beside.run(&["sync"]).await.code, Some(0));
    let asked = async |arguments: &[&str]| {
        let mark = target.mark();
        let document = beside.json(arguments, 0).await;
        let requests = target.requests_since(mark).count("HEAD", Kind::Manifest);
        (document["rules"][0]["vouched"]["images"].clone(), requests)
    };
    assert_eq!(asked(&["sync"]).await, (json!(6), 0));
    assert_eq!(asked(&["sync", "--dry-run"]).await, (json!(6), 0));
    assert_eq!(asked(&["sync", "--recheck", "--dry-run"]).await, (json!(0), 6));
    assert_eq!(asked(&["sync", "--recheck"]).await, (json!(0), 6));
}

#[tokio::test]
async fn what_fails_is_told() {
    let (source, target) = (source(), Scripted::start());
    target.on("PUT", Kind::Manifest).containing("/manifests/v2").fail(Fault::status(403));
    let beside = Beside::start(home(&source, &target)).await;
    let failed = beside.run(&["sync"]).await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("FAILED") && failed.stderr.contains("403"), "{failed:?}");
    assert!(failed.stdout.contains("2 copied") && failed.stdout.contains("1 failed"), "{failed:?}");
    let document = beside.json(&["sync"], 1).await;
    let images = document["rules"][0]["images"].as_array().unwrap();
    assert_eq!(images.len(), 1, "{document:#}");
    assert_eq!(images[0]["action"], "failed", "{document:#}");
    assert!(images[0]["errors"][0]["message"].as_str().unwrap().contains("403"), "{document:#}");
}

/// Limits are limits, whoever copies.
#[tokio::test]
async fn what_the_limits_hold_back_ends_with_3() {
    let (source, target) = (source(), Scripted::start());
    let rule = on_request_sync(&source, &target, "app");
    let rule = format!("{rule}\nremove_extra = true\nmax_delete = {{ count = 0 }}");
    let beside = Beside::start(home(&source, &target).rule("apps", &rule)).await;
    assert_eq!(beside.run(&["sync"]).await.code, Some(0));
    forget(&source, "app", &["v1"]).await;
    let limited = beside.run(&["sync"]).await;
    assert_eq!(limited.code, Some(3), "{limited:?}");
    assert!(target.tag("app", "v1").is_some());
    let planned = beside.json(&["sync", "--dry-run"], 3).await;
    assert_eq!(planned["rules"][0]["limited"], 1, "{planned:#}");
}

/// Images are told when they are settled, not at the end.
#[tokio::test]
async fn images_are_printed_live_and_a_signal_cancels_the_run() {
    let (source, target) = (source(), Scripted::start());
    let blob =
        source.on("GET", Kind::Blob).containing(&image("v2").blobs[1].digest).fail(Fault::Hang);
    let beside = Beside::start(home(&source, &target)).await;
    let running = beside.start_command(&["sync"]);
    eventually("a blob", LIMIT, || async { (blob.count() == 1).then_some(()) }).await;
    eventually("the others", LIMIT, || async {
        ["v1", "v3"].iter().all(|tag| target.tag("app", tag).is_some()).then_some(())
    })
    .await;
    let finished = running.terminate().await;
    assert_eq!(finished.code, Some(143), "{finished:?}");
    assert!(finished.stdout.contains("apps: 2 copied"), "{finished:?}");
    assert!(finished.stdout.contains("; interrupted"), "{finished:?}");
    assert!(finished.stderr.contains("interrupted: "), "{finished:?}");
    assert_eq!(beside.daemon.ran("apps").await["outcome"], "interrupted");
    assert!(beside.daemon.log().contains("endpoint=/api/v1/runs/{id}/cancel"));
}

/// Somebody else cancels the run that a command follows.
#[tokio::test]
async fn a_run_that_is_cancelled_elsewhere_has_failed() {
    let (source, target) = (source(), Scripted::start());
    let list = source.on("GET", Kind::Tags).fail(Fault::Hang);
    let beside = Beside::start(home(&source, &target)).await;
    for (turn, arguments) in (1..).zip([&["sync", "--output", "json"][..], &["sync"]]) {
        let running = beside.start_command(arguments);
        eventually("a list", LIMIT, || async { (list.count() == turn).then_some(()) }).await;
        let cancelled = beside.run(&["cancel", "apps"]).await;
        assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
        let finished = running.finish().await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        if turn == 1 {
            let document: Value = serde_json::from_str(&finished.stdout).unwrap();
            assert_eq!(document["rules"][0]["interrupted"], true, "{document:#}");
        } else {
            let why = "apps: interrupted: the run was cancelled in the daemon, or the daemon was stopped\n";
            assert!(finished.stderr.contains(why), "{finished:?}");
        }
    }
}

/// A plan that nobody waits for is not made any further.
#[tokio::test]
async fn a_plan_is_stopped_with_its_command() {
    let (source, target) = (source(), Scripted::start());
    let list = source.on("GET", Kind::Tags).fail(Fault::Hang);
    let beside = Beside::start(home(&source, &target)).await;
    let running = beside.start_command(&["sync", "--dry-run"]);
    eventually("a plan", LIMIT, || async { (list.count() == 1).then_some(()) }).await;
    let stopped = running.terminate().await;
    assert_eq!(stopped.code, Some(143), "{stopped:?}");
    beside.daemon.logged("a client follows no longer").await;
}

/// A daemon that is killed says nothing more, and the command does not wait for it.
#[tokio::test]
async fn a_daemon_that_is_killed_is_an_error() {
    let (source, target) = (source(), Scripted::start());
    let list = source.on("GET", Kind::Tags).fail(Fault::Hang);
    let beside = Beside::start(home(&source, &target)).await;
    let running = beside.start_command(&["sync"]);
    eventually("a list", LIMIT, || async { (list.count() == 1).then_some(()) }).await;
    beside.daemon.signal("KILL");
    let finished = running.finish().await;
    assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.contains("it broke off its answer"), "{finished:?}");
}

/// A token that is missing or wrong is a mistake in the configuration; to plan, none is needed.
#[tokio::test]
async fn without_the_token_nothing_is_copied() {
    let (source, target) = (source(), Scripted::start());
    let beside = Beside::start(home(&source, &target)).await;
    let wrong = {
        let mut command = beside.home.tranship.command();
        command.args(["--config", "cli.toml", "sync"]).env("TOKEN", format!("{TOKEN}!"));
        Running::new(&mut command).finish().await
    };
    assert_eq!((wrong.code, &*wrong.stdout), (Some(2), ""), "{wrong:?}");
    assert!(wrong.stderr.contains("this is not the daemon's token"), "{wrong:?}");
    let home = beside.without().await.without_token();
    let beside = Beside::start(home).await;
    assert_eq!(beside.run(&["sync", "--dry-run"]).await.code, Some(0));
    let none = beside.run(&["sync"]).await;
    assert_eq!((none.code, &*none.stdout), (Some(2), ""), "{none:?}");
    assert!(none.stderr.contains("has no `token`"), "{none:?}");
    assert!(none.stderr.contains("hint: set `token` in [daemon]"), "{none:?}");
    assert_eq!(target.traffic().writes(), 0);
}
