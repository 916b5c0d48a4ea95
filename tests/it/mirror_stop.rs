//! SIGTERM and SIGINT in the middle of a sync: an honest report, and the next run completes it.

use std::time::Duration;

use serde_json::Value;

use crate::mirror_setup::{Mirror, Report};
use crate::support::process::Running;
use crate::support::{
    DockerRegistry, Family, Fault, Image, Kind, LayoutRegistry, Place, Scripted, assert_same,
    eventually,
};

/// Interrupts a sync when some images are there and one hangs; then lets the next one finish.
async fn interrupt(target: &impl Place, signal: &str) {
    let source = Scripted::start();
    let images: Vec<Image> = (0..6)
        .map(|at| Image::single(Family::Oci, &format!("app{at}"), &[3_000, 500_000]))
        .collect();
    for (at, image) in images.iter().enumerate() {
        image.load(&source, "app", &format!("v{at}"));
    }
    let hanging = &images[3].blobs[2].digest;
    source.on("GET", Kind::Blob).containing(hanging).fail(Fault::Hang);
    let mirror = Mirror::new().http(&source).http(target).rule(
        "r",
        &format!("source = \"{}/app\"\ntarget = \"{}/app\"", source.host(), target.host()),
    );
    mirror.configure();
    let mut command = mirror.tranship.command();
    let running = Running::new(command.args(["sync", "--output", "json"]));
    eventually("all images but one", Duration::from_secs(30), || async {
        (target.endpoint().tags("app").await.len() == 5).then_some(())
    })
    .await;
    let finished = running.signal(signal).await;
    let code = if signal == "-INT" { 130 } else { 143 };
    assert_eq!(finished.code, Some(code), "{finished:?}");
    assert!(finished.stderr.contains("stopping"), "{finished:?}");
    let report = Report::of(&finished);
    assert_eq!(report.0["rules"][0]["interrupted"], true, "{:#}", report.0);
    assert_eq!(report.0["success"], false);
    // The last answers may not have come before the signal did.
    let counts = report.counts();
    assert!(counts.copied <= 5 && counts.failed == 0, "{:#}", report.0);
    assert_eq!(target.endpoint().tags("app").await, ["v0", "v1", "v2", "v4", "v5"]);

    source.clear_rules();
    let mark = source.mark();
    mirror.sync().await.assert_copied(1, 5);
    // What the first run brought is not read again.
    let read = source.requests_since(mark);
    assert!(read.count("GET", Kind::Blob) <= 3, "{read}");
    for at in 0..6 {
        assert_same(&source, target, "app", &format!("v{at}")).await;
    }
}

#[tokio::test]
async fn sigterm_with_a_docker_registry() {
    interrupt(&DockerRegistry::start().await, "-TERM").await;
}

#[tokio::test]
async fn sigint_with_layouts() {
    interrupt(&LayoutRegistry::start().await, "-INT").await;
}

#[tokio::test]
async fn the_text_of_an_interrupted_run_says_so() {
    let (source, target) = (Scripted::start(), LayoutRegistry::start().await);
    Image::single(Family::Oci, "app", &[3_000]).load(&source, "app", "v1");
    source.on("GET", Kind::Blob).fail(Fault::Hang);
    let mirror = Mirror::new().http(&source).http(&target).rule(
        "r",
        &format!("source = \"{}/app\"\ntarget = \"{}/app\"", source.host(), target.host()),
    );
    mirror.configure();
    let running = mirror.tranship.start(["sync"]);
    eventually("a blob on its way", Duration::from_secs(20), || async {
        (source.traffic().count("GET", Kind::Blob) > 0).then_some(())
    })
    .await;
    let finished = running.terminate().await;
    assert_eq!(finished.code, Some(143), "{finished:?}");
    assert!(finished.stdout.ends_with("; interrupted\n"), "{finished:?}");
    let words = "interrupted: 0 B sent; complete images and blobs stay at the target, and the next run resumes large blobs in the middle\n";
    assert!(finished.stderr.ends_with(words), "{finished:?}");
    assert!(target.endpoint().tags("app").await.is_empty());
}

/// The bytes that uploads which have not ended hold in a registry's storage.
fn bytes_of_uploads(target: &DockerRegistry) -> u64 {
    let uploads = target.storage().join("docker/registry/v2/repositories/app/_uploads");
    let Ok(uploads) = std::fs::read_dir(uploads) else { return 0 };
    let data = uploads.flatten().map(|upload| upload.path().join("data"));
    data.filter_map(|data| std::fs::metadata(data).ok()).map(|data| data.len()).sum()
}

/// distribution 2.8 forgets an upload whose request broke off: a sync that is told to stop ends the
/// request, so that the next one resumes in the middle of the blob, over and over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_blob_is_resumed_at_a_docker_registry_after_each_signal() {
    const BLOB: u64 = 96 << 20;
    const STEP: u64 = 20 << 20;
    let (source, target) = (Scripted::start(), DockerRegistry::new().tls().run().await);
    let image = Image::single(Family::Oci, "app", &[BLOB as usize]);
    image.load(&source, "app", "v1");
    let drip = Fault::Drip { bytes: 1 << 20, every: Duration::from_millis(20) };
    source.on("GET", Kind::Blob).containing(&image.blobs[1].digest).fail(drip);
    let trust = format!("ca_file = \"{}\"", target.ca_file().display());
    let mirror = Mirror::new().http(&source).registry(&target, &trust).rule(
        "r",
        &format!("source = \"{}/app\"\ntarget = \"{}/app\"", source.host(), target.host()),
    );
    mirror.configure();
    let mut sent = 0;
    for (interruption, signal) in (1..).zip(["-INT", "-TERM", "-INT"]) {
        let running = mirror.tranship.start(["sync", "--output", "json"]);
        eventually("a part of the blob at the target", Duration::from_secs(60), || async {
            (bytes_of_uploads(&target) > STEP * interruption).then_some(())
        })
        .await;
        let finished = running.signal(signal).await;
        assert_ne!(finished.code, Some(0), "{finished:?}");
        assert!(target.endpoint().tags("app").await.is_empty());
        let report: Value = serde_json::from_str(&finished.stdout).unwrap();
        sent += report["rules"][0]["bytes"].as_u64().unwrap();
        assert!(sent > STEP * interruption, "{report:#}");
    }
    // What was sent before is not counted again, neither for the image nor for the rule.
    let report = mirror.report(&[], 0).await;
    let last = report.rules().next().unwrap()["bytes"].as_u64().unwrap();
    assert_eq!(report.images().next().unwrap()["bytes"], last, "{:#}", report.0);
    assert!(last <= BLOB - 3 * STEP + (8 << 20), "{:#}", report.0);
    assert!((BLOB..BLOB + (32 << 20)).contains(&(sent + last)), "{sent} and {last}");
    let traffic = source.traffic();
    let digest = &image.blobs[1].digest;
    let reads = traffic.of("GET", Kind::Blob).filter(|seen| seen.path.ends_with(digest));
    let begins: Vec<u64> = reads
        .map(|seen| {
            seen.header("range").map_or(0, |range| {
                range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap()
            })
        })
        .collect();
    assert_eq!(begins.len(), 4, "{begins:?}");
    for (at, begin) in (0..).zip(&begins) {
        assert!(*begin >= (STEP * at).saturating_sub(8 << 20), "{begins:?}");
    }
    assert_same(&source, &target, "app", "v1").await;
}
