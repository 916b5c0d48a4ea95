//! SIGTERM and SIGINT in the middle of a sync: an honest report, and the next run completes it.

use std::time::Duration;

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
    let sent = tokio::process::Command::new("kill")
        .args([signal, &running.pid().to_string()])
        .status()
        .await
        .unwrap();
    assert!(sent.success());
    let finished = running.finish().await;
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
