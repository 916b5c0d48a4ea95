//! `tranship restore` beside a running daemon, which restores instead: what is printed, and how it
//! ends, is the same.

use serde_json::{Value, json};

use crate::daemon_beside::{Beside, command, on_request};
use crate::daemon_cleanup::image;
use crate::daemon_setup::{Home, LIMIT, copying};
use crate::support::process::Finished;
use crate::support::scripted::Fault;
use crate::support::{DockerRegistry, Kind, Place, Scripted, eventually};

/// What is deleted is kept in a layout.
const KEPT: &str =
    "max_delete = { count = 9, percent = 100 }\nquarantine = { to = \"oci:kept\", ttl = \"30d\" }";

fn home(place: &impl Place) -> Home {
    Home::new().registry(place, "").cleanup("old", &on_request(place, "app", KEPT))
}

/// A registry with images of these tags, and a daemon that has deleted those of pull requests.
async fn cleaned(tags: &[&str]) -> (Scripted, Beside) {
    let registry = Scripted::start();
    for tag in tags {
        image(tag).load(&registry, "app", tag);
    }
    let beside = Beside::start(home(&registry)).await;
    clean(&beside).await;
    (registry, beside)
}

async fn clean(beside: &Beside) -> Finished {
    let finished = beside.run(&["cleanup", "--apply"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished
}

/// What was deleted comes back, and no sync rule takes it for deleted any more.
#[tokio::test]
async fn what_comes_back_is_not_withheld() {
    let (source, target) = (Scripted::start(), DockerRegistry::start().await);
    for tag in ["pr-1", "pr-2", "1.0.0"] {
        image(tag).load(&source, "app", tag);
    }
    let mirror = copying("app", &source, &target).replace("run_at_start = true\n", "");
    let home = home(&target).registry(&source, "").rule("mirror", &mirror);
    let beside = Beside::start(home).await;
    assert_eq!(beside.daemon.run("mirror").await["counts"]["copied"], 3);
    clean(&beside).await;
    let counts = beside.daemon.run("mirror").await["counts"].clone();
    assert_eq!((&counts["withheld"], &counts["copied"]), (&json!(2), &json!(0)), "{counts}");

    // To list and to try changes nothing.
    let name = format!("{}/app:pr-1", target.host());
    let mark = target.mark().await;
    for arguments in [&["restore"][..], &["restore", "--dry-run", &name]] {
        let listed = beside.json(arguments, 0).await;
        let tags = &listed["restorable"].as_array().unwrap().last().unwrap()["tags"];
        assert_eq!(tags, &json!(["pr-1"]), "{listed:#}");
    }
    assert!(target.requests_since(mark).await.is_empty());
    let mark = target.mark().await;
    let restored = beside.json(&["restore", &name], 0).await;
    let traffic = target.requests_since(mark).await;
    assert_eq!(traffic.count("PUT", Kind::Manifest), 1, "{traffic}");
    let one = &restored["restored"][0];
    assert_eq!((&restored["success"], &one["restored"]), (&json!(true), &json!(true)));
    assert_eq!((&one["tags"], &one["digest"]), (&json!(["pr-1"]), &json!(image("pr-1").digest)));
    assert_eq!(target.endpoint().tags("app").await, ["1.0.0", "pr-1"]);
    let counts = beside.daemon.run("mirror").await["counts"].clone();
    assert_eq!((&counts["withheld"], &counts["unchanged"]), (&json!(1), &json!(2)), "{counts}");

    let again = beside.run(&["restore", &name]).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("was restored already"), "{again:?}");
}

/// Tags that were pushed again are left alone, and the exit code says so, with a daemon and without.
#[tokio::test]
async fn what_is_left_alone_is_told_alike() {
    let registry = DockerRegistry::start().await;
    let (gone, new) = (image("gone"), image("new"));
    for tag in ["pr-1", "pr-1-green"] {
        gone.push(&registry, "app", tag).await;
    }
    image("kept").push(&registry, "app", "1.0.0").await;
    let beside = Beside::start(home(&registry)).await;
    clean(&beside).await;
    new.push(&registry, "app", "pr-1").await;
    let name = format!("{}/app", registry.host());
    let by_daemon = beside.run(&["restore", &name]).await;
    assert_eq!(by_daemon.code, Some(1), "{by_daemon:?}");
    assert!(by_daemon.stderr.contains("--overwrite moves it"), "{by_daemon:?}");
    let home = beside.without().await;
    let here = command(&home, &["restore", &name]).finish().await;
    assert_eq!(
        (by_daemon.code, &by_daemon.stdout, &by_daemon.stderr),
        (here.code, &here.stdout, &here.stderr)
    );
    let beside = Beside::start(home).await;
    let moved = beside.run(&["restore", "--overwrite", &name]).await;
    assert_eq!(moved.code, Some(0), "{moved:?}");
    let digest = async |tag: &str| registry.endpoint().digest("app", tag).await;
    assert_eq!(digest("pr-1").await.as_ref(), Some(&gone.digest));
    assert_eq!(digest("pr-1-green").await.as_ref(), Some(&gone.digest));
}

/// The image under way is finished, and no other is begun.
#[tokio::test]
async fn a_command_that_goes_away_stops_between_two_images() {
    let (registry, beside) = cleaned(&["pr-1", "pr-2", "pr-3", "1.0.0"]).await;
    let put = registry.on("PUT", Kind::Manifest).fail(Fault::Hang);
    let name = format!("{}/app", registry.host());
    let running = beside.start_command(&["restore", &name]);
    eventually("an image", LIMIT, || async { (put.count() == 1).then_some(()) }).await;
    // One at a time.
    let busy = beside.run(&["restore", &name]).await;
    assert_eq!(busy.code, Some(1), "{busy:?}");
    assert!(busy.stderr.contains("other images are being restored"), "{busy:?}");
    let interrupted = running.terminate().await;
    assert_eq!(interrupted.code, Some(143), "{interrupted:?}");
    assert!(interrupted.stderr.contains("error: interrupted"), "{interrupted:?}");
    beside.daemon.logged("a client follows no longer").await;
    registry.clear_rules();
    registry.release();
    beside.daemon.logged("restoration ends").await;
    let back = ["pr-1", "pr-2", "pr-3"].map(|tag| registry.tag("app", tag).is_some());
    assert_eq!(back.iter().filter(|is_back| **is_back).count(), 1, "{back:?}");
    // The rest can be restored.
    let rest = beside.json(&["restore", &name], 0).await;
    assert_eq!(rest["restored"].as_array().unwrap().len(), 2, "{rest:#}");
}

/// A run that writes to the same repository comes first.
#[tokio::test]
async fn a_restoration_waits_for_runs_in_its_repository() {
    let (registry, beside) = cleaned(&["pr-1", "1.0.0"]).await;
    image("pr-2").load(&registry, "app", "pr-2");
    let delete = registry.on("DELETE", Kind::Manifest).fail(Fault::Hang);
    let cleanup = beside.start_command(&["cleanup", "--apply"]);
    eventually("a deletion", LIMIT, || async { (delete.count() == 1).then_some(()) }).await;
    let mark = registry.mark();
    let name = format!("{}/app:pr-1", registry.host());
    let restore = beside.start_command(&["restore", &name]);
    beside.daemon.logged("endpoint=/api/v1/restore status=200").await;
    // Meanwhile it could have done all of its work.
    assert_eq!(beside.run(&["history"]).await.code, Some(0));
    assert!(registry.requests_since(mark).is_empty(), "{}", registry.requests_since(mark));
    registry.clear_rules();
    registry.release();
    let (cleanup, restore) = tokio::join!(cleanup.finish(), restore.finish());
    assert_eq!((cleanup.code, restore.code), (Some(0), Some(0)), "{cleanup:?} {restore:?}");
    assert_eq!(registry.tag("app", "pr-1"), Some(image("pr-1").digest));
    assert_eq!(registry.tag("app", "pr-2"), None);
}

/// Nothing is changed through an API that only reads; to list needs no API at all.
#[tokio::test]
async fn without_a_token_nothing_is_restored() {
    let (registry, beside) = cleaned(&["pr-1", "1.0.0"]).await;
    let home = beside.without().await.without_token();
    let beside = Beside::start(home).await;
    let name = format!("{}/app:pr-1", registry.host());
    let refused = beside.run(&["restore", &name]).await;
    assert_eq!((refused.code, &*refused.stdout), (Some(2), ""), "{refused:?}");
    assert!(refused.stderr.contains("has no `token`"), "{refused:?}");
    assert!(refused.stderr.contains("hint: set `token` in [daemon]"), "{refused:?}");
    let listed: Value = beside.json(&["restore"], 0).await;
    assert_eq!(listed["restorable"].as_array().unwrap().len(), 1, "{listed:#}");
    assert_eq!(registry.tag("app", "pr-1"), None);
}
