//! What the world does to a daemon: ports that are taken, disks that are full, registries that are
//! down for hours or say nothing at all.

use std::fs;
use std::time::Duration;

use crate::daemon_setup::{Home, LIMIT, SmallDisk, copying};
use crate::support::{
    Family, Fault, Image, Kind, LayoutRegistry, Scripted, assert_same, eventually,
};

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[3_000])
}

/// A home with a rule of one image.
fn home() -> (Home, Scripted, Scripted) {
    let (source, target) = (Scripted::start(), Scripted::start());
    image("app").load(&source, "app", "v1");
    (Home::new().mirror("app", &source, &target), source, target)
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let (mut home, _source, target) = home();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    home.set_daemon(&format!("listen = \"{address}\""));
    home.configure();
    let process = home.spawn(&mut home.command());
    process.logged(&format!("error: failed to listen on {address}: ")).await;
    assert_eq!(process.ended().await.0, Some(1));
    assert!(target.traffic().is_empty());
}

#[tokio::test]
async fn a_second_daemon_on_one_state_is_refused() {
    let (home, _source, _target) = home();
    let first = home.serve().await;
    first.ran("app").await;
    let second = home.spawn(&mut home.command());
    second.logged("is in use by another tranship process").await;
    assert_eq!(second.ended().await.0, Some(1));
    assert_eq!(first.run("app").await["outcome"], "succeeded");
}

#[tokio::test]
async fn a_state_that_cannot_be_written_is_told_at_the_start() {
    let (home, source, _target) = home();
    for (options, words) in [
        ("ro", "is on a read-only file system"),
        ("size=4k,mode=0700", "the disk of the state directory"),
    ] {
        let Some(_disk) = SmallDisk::mount(&home.state(), options) else { return };
        home.configure();
        let process = home.spawn(&mut home.command());
        process.logged(words).await;
        assert_eq!(process.ended().await.0, Some(1), "{options}");
    }
    assert!(source.traffic().is_empty(), "nothing was begun");
}

/// The disk gets full while the daemon runs: images are mirrored all the same, and it says so. With
/// room again, it writes what it kept in memory, without a restart.
#[tokio::test]
async fn a_disk_that_gets_full_stops_no_mirroring() {
    let (home, source, target) = home();
    let Some(_disk) = SmallDisk::mount(&home.state(), "size=8m,mode=0700") else { return };
    let daemon = home.serve().await;
    assert_eq!(daemon.ran("app").await["outcome"], "succeeded");
    let filler = home.state().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    // Deleted, it would take its room as long as it is open.
    drop(file);
    for tag in 0..20 {
        image(&format!("more{tag}")).load(&source, "app", &format!("more{tag}"));
    }
    let run = daemon.run("app").await;
    assert_eq!((&run["outcome"], &run["counts"]["copied"]), (&"succeeded".into(), &20.into()));
    assert_same(&source, &target, "app", "more7").await;
    daemon.logged("history cannot be written").await;
    daemon.logged("the state cannot be written and is kept in memory").await;
    let (status, _) = daemon.text("/healthz").await;
    assert_eq!(status, 200);
    let (status, ready) = daemon.text("/readyz").await;
    assert_eq!(status, 503);
    assert!(ready.contains("kept in memory until it can: the disk is full"), "{ready}");
    assert!(!ready.contains("Os {"), "{ready}");
    assert!(daemon.metrics().await.sum("tranship_state_unsaved_seconds", &[]) > 0.0);
    // What is kept in memory counts.
    let run = daemon.run("app").await;
    assert_eq!(run["counts"]["unchanged"], 21);
    fs::remove_file(filler).unwrap();
    daemon.logged("the state is written again").await;
    assert_eq!(daemon.run("app").await["outcome"], "succeeded");
    eventually("readiness", LIMIT, || async { daemon.unready().await.is_empty().then_some(()) })
        .await;
    daemon.into_process().terminate(Duration::from_secs(10)).await;
    // Everything is known at the next start.
    let known = target.traffic().count("HEAD", Kind::Manifest);
    let daemon = home.serve().await;
    assert_eq!(daemon.ran("app").await["counts"]["unchanged"], 21);
    assert_eq!(target.traffic().count("HEAD", Kind::Manifest), known);
    daemon.unready_is(&[]).await;
}

#[tokio::test]
async fn a_damaged_state_is_set_aside_aloud() {
    let (home, source, target) = home();
    let daemon = home.serve().await;
    daemon.ran("app").await;
    daemon.into_process().terminate(Duration::from_secs(5)).await;
    for entry in fs::read_dir(home.state().join("index.sled")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::write(path, [0xa5; 4096]).unwrap();
        }
    }
    let daemon = home.serve().await;
    daemon.logged("cannot be used and starts anew").await;
    let metrics = daemon.metrics().await;
    assert_eq!(metrics.sum("tranship_state_set_aside_total", &[]), 1.0);
    // Nothing is lost but requests.
    let run = daemon.ran("app").await;
    assert_eq!((&run["outcome"], &run["counts"]["unchanged"]), (&"succeeded".into(), &1.into()));
    daemon.unready_is(&[]).await;
    assert_same(&source, &target, "app", "v1").await;
}

#[tokio::test]
async fn a_history_that_cannot_be_written_stops_nobody() {
    let (home, source, target) = home();
    fs::create_dir_all(home.state()).unwrap();
    fs::write(home.state().join("history"), "in the way").unwrap();
    let daemon = home.serve().await;
    let run = daemon.ran("app").await;
    assert_eq!(run["outcome"], "succeeded");
    assert_same(&source, &target, "app", "v1").await;
    assert_eq!(daemon.run("app").await["outcome"], "succeeded");
    let told = daemon.log().matches("the history cannot be written").count();
    assert_eq!(told, 1, "{}", daemon.log());
    daemon.into_process().terminate(Duration::from_secs(5)).await;
}

/// Down for hours, as far as a test can wait; the hours are in the tests of the scheduler.
async fn outage(source_is_down: bool) {
    let (source, target) = (Scripted::start(), Scripted::start());
    image("app").load(&source, "app", "v1");
    let rule =
        copying("app", &source, &target).replace("schedule = \"0 0 1 1 *\"", "every = \"1s\"");
    let home = Home::new().alerting().mirror("app", &source, &target).rule("app", &rule);
    let down = if source_is_down { &source } else { &target };
    down.on_any().fail(Fault::Cut);
    let daemon = home.serve().await;
    let alert = home.alerts().came(1).await;
    assert!(alert.contains("rule `app` fails"), "{alert}");
    let (mark, marked) = (down.mark(), tokio::time::Instant::now());
    // Asked by people, it fails again, and nobody is told again.
    assert_eq!(daemon.run("app").await["outcome"], "failed");
    tokio::time::sleep(Duration::from_secs(4)).await;
    // One run of five tries a request; without a pause there would be several.
    let asked = down.requests_since(mark).len();
    assert!(asked <= 10, "{asked} in {:?}", marked.elapsed());
    assert_eq!(home.alerts().kinds(), ["failure"]);
    daemon.unready_is(&["runs"]).await;

    down.clear_rules();
    assert_eq!(daemon.run("app").await["outcome"], "succeeded");
    assert!(home.alerts().came(2).await.contains("rule `app` works again"));
    assert_same(&source, &target, "app", "v1").await;
    // Each second again.
    let runs = [("rule", "app"), ("outcome", "succeeded")];
    eventually("more runs", LIMIT, || async {
        let metrics = daemon.metrics().await;
        (metrics.sum("tranship_rule_runs_total", &runs) >= 3.0).then_some(())
    })
    .await;
    assert_eq!(home.alerts().kinds(), ["failure", "recovery"]);
    daemon.unready_is(&[]).await;
}

#[tokio::test]
async fn a_source_that_is_down_is_not_hammered() {
    outage(true).await;
}

#[tokio::test]
async fn a_target_that_is_down_is_not_hammered() {
    outage(false).await;
}

/// A registry that takes a request and says nothing more: everybody who looks sees it, and what is
/// settled is counted meanwhile, once.
#[tokio::test]
async fn a_run_that_never_ends_is_noticed() {
    let (source, target) = (Scripted::start(), LayoutRegistry::start().await);
    let (good, stuck) = (image("good"), image("stuck"));
    good.load(&source, "app", "v1");
    stuck.load(&source, "app", "v2");
    source.on("GET", Kind::Blob).containing(&stuck.blobs[1].digest).fail(Fault::Hang);
    let home = Home::new()
        .alerting()
        .daemon("stall_after = \"2s\"")
        .mirror("app", &source, &target)
        .registry(&source, "idle_timeout = \"1h\"");
    let daemon = home.serve().await;
    let alert = home.alerts().came(1).await;
    assert!(alert.contains("rule `app` is stuck at") && alert.contains("app:v2"), "{alert}");
    daemon.logged("nothing moves in this run").await;
    let running = daemon.get("/api/v1/running").await;
    assert!(running[0]["stalled_seconds"].as_f64().unwrap() >= 2.0, "{running:#}");
    let metrics = daemon.metrics().await;
    let still = metrics.sum("tranship_transfers_longest_stall_seconds", &[]);
    assert!((2.0..30.0).contains(&still), "{still}");
    let sent = good.blob_bytes() as f64;
    // However often one looks.
    for _ in 0..3 {
        let metrics = daemon.metrics().await;
        let copied = [("rule", "app"), ("outcome", "copied")];
        assert_eq!(metrics.sum("tranship_rule_tags_total", &copied), 1.0);
        assert_eq!(metrics.sum("tranship_rule_sent_bytes_total", &[("rule", "app")]), sent);
    }
    assert_eq!(home.alerts().kinds(), ["failure"]);
    source.clear_rules();
    source.release();
    assert_eq!(daemon.ran("app").await["outcome"], "succeeded");
    let metrics = daemon.metrics().await;
    assert_eq!(metrics.sum("tranship_rule_tags_total", &[("rule", "app")]), 2.0);
    let all = sent + stuck.blob_bytes() as f64;
    assert!(metrics.sum("tranship_rule_sent_bytes_total", &[("rule", "app")]) <= all);
    assert_eq!(daemon.get("/api/v1/running").await.as_array().unwrap().len(), 0);
}
