//! The daemon's end, wished for and sudden, in every phase of its life; and the start after it.

use std::time::Duration;

use crate::daemon_setup::{Home, LIMIT};
use crate::support::{
    DockerRegistry, Family, Fault, Image, Kind, LayoutRegistry, Place, Scripted, assert_same,
    eventually,
};

/// An end at which nothing is waited for.
const AT_ONCE: Duration = Duration::from_secs(5);
/// The usual grace, and a little.
const GRACE: Duration = Duration::from_secs(25);

fn image() -> Image {
    Image::single(Family::Oci, "app", &[3_000, 300_000])
}

/// About two seconds for the large layer.
fn slowly() -> Fault {
    Fault::Drip { bytes: 15_000, every: Duration::from_millis(100) }
}

async fn asked(registry: &Scripted, method: &str, kind: Kind) {
    eventually("a request", LIMIT, || async {
        (registry.traffic().count(method, kind) > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sigterm_and_sigint_when_idle() {
    let (source, target) = (Scripted::start(), Scripted::start());
    image().load(&source, "app", "v1");
    let home = Home::new().mirror("app", &source, &target);
    for signal in ["TERM", "INT"] {
        let daemon = home.serve().await;
        assert_eq!(daemon.ran("app").await["outcome"], "succeeded");
        daemon.signal(signal);
        let (code, took) = daemon.into_process().ended().await;
        assert!(code == Some(0) && took < AT_ONCE, "{code:?} {took:?}");
    }
    assert_same(&source, &target, "app", "v1").await;
}

/// Nothing that could come to an end is under way: it ends at once, and the next start does it.
#[tokio::test]
async fn sigterm_during_listing() {
    let (source, target) = (Scripted::start(), Scripted::start());
    image().load(&source, "app", "v1");
    source.on("GET", Kind::Tags).once().fail(Fault::Hang);
    let home = Home::new().mirror("app", &source, &target);
    let daemon = home.serve().await;
    asked(&source, "GET", Kind::Tags).await;
    daemon.into_process().terminate(AT_ONCE).await;
    assert!(target.traffic().writes() == 0);

    let daemon = home.serve().await;
    let run = daemon.ran("app").await;
    assert_eq!((&run["outcome"], &run["cause"]), (&"succeeded".into(), &"missed".into()));
    assert_same(&source, &target, "app", "v1").await;
    let runs = daemon.get("/api/v1/runs").await;
    let outcomes: Vec<_> = runs.as_array().unwrap().iter().map(|run| &run["outcome"]).collect();
    assert_eq!(outcomes, ["succeeded", "interrupted"]);
}

/// An image under way comes to its end; those behind it are left to the next start.
async fn drains(source: &Scripted, target: &impl Place, phase: impl AsyncFnOnce(), end: &str) {
    let home = Home::new().registry(source, "parallel = 1").mirror("app", source, target);
    let daemon = home.serve().await;
    phase().await;
    let process = daemon.into_process();
    process.signal("TERM");
    // Whoever sends this now finds nothing to load anew, and disturbs nothing.
    process.logged("stopping: images and deletions under way").await;
    process.signal("HUP");
    let (code, took) = process.ended().await;
    assert!(code == Some(0) && took < GRACE, "{end}: {code:?} {took:?}");
    assert_same(source, target, "app", "v1").await;

    source.clear_rules();
    let daemon = home.serve().await;
    assert_eq!(daemon.ran("app").await["outcome"], "succeeded");
    assert_same(source, target, "app", "v1").await;
}

#[tokio::test]
async fn sigterm_during_a_blob() {
    let source = Scripted::start();
    image().load(&source, "app", "v1");
    source.on("GET", Kind::Blob).fail(slowly());
    let target = DockerRegistry::start().await;
    drains(&source, &target, async || asked(&source, "GET", Kind::Blob).await, "blob").await;
}

#[tokio::test]
async fn sigterm_during_a_manifest() {
    let (source, target) = (Scripted::start(), Scripted::start());
    image().load(&source, "app", "v1");
    target.on("PUT", Kind::Manifest).fail(Fault::Delay(Duration::from_secs(2)));
    let phase = async || asked(&target, "PUT", Kind::Manifest).await;
    drains(&source, &target, phase, "manifest").await;
    target.assert_tags_complete();
}

/// What does not come to its end within the grace is cut off. The next start goes on in mid-blob.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grace_is_kept_and_what_was_sent_is_not_sent_again() {
    const SIZE: usize = 80 << 20;
    let (source, target) = (Scripted::start(), LayoutRegistry::start().await);
    let big = Image::single(Family::Oci, "big", &[SIZE]);
    big.load(&source, "app", "v1");
    let drip = Fault::Drip { bytes: 1 << 20, every: Duration::from_millis(30) };
    source.on("GET", Kind::Blob).containing(&big.blobs[1].digest).fail(drip);
    let received = || {
        target.look(|seen| {
            let uploads = seen.iter().filter(|seen| seen.path.contains("/blobs/uploads/"));
            uploads.map(|seen| seen.body_length).sum::<u64>()
        })
    };
    let home = Home::new().daemon("grace = \"100ms\"").mirror("app", &source, &target);
    let daemon = home.serve().await;
    eventually("half of the blob", LIMIT, || async {
        (received() > SIZE as u64 / 2).then_some(())
    })
    .await;
    daemon.into_process().terminate(AT_ONCE).await;
    assert!(target.endpoint().tags("app").await.is_empty());
    source.clear_rules();
    let daemon = home.serve().await;
    assert!(daemon.log().contains("are interrupted; the next start resumes them"));
    let run = daemon.ran("app").await;
    assert_eq!((&run["outcome"], &run["cause"]), (&"succeeded".into(), &"missed".into()));
    let served = target.endpoint().manifest("app", "v1").await.unwrap();
    assert_eq!(served.bytes, big.bytes);
    let received = received();
    assert!(received < SIZE as u64 + (20 << 20), "{received}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (source, target) = (Scripted::start(), Scripted::start());
    image().load(&source, "app", "v1");
    source.on("GET", Kind::Blob).fail(Fault::Hang);
    let home = Home::new().mirror("app", &source, &target);
    let daemon = home.serve().await;
    asked(&source, "GET", Kind::Blob).await;
    let process = daemon.into_process();
    process.signal("TERM");
    process.logged("stopping: images and deletions under way").await;
    process.signal("TERM");
    let (code, took) = process.ended().await;
    assert!(code == Some(143) && took < AT_ONCE, "{code:?} {took:?}");
    source.clear_rules();
    let daemon = home.serve().await;
    assert_eq!(daemon.ran("app").await["outcome"], "succeeded");
    assert_same(&source, &target, "app", "v1").await;
}

#[tokio::test]
async fn kill_in_mid_run_is_made_good_by_the_next_start() {
    let (source, target) = (Scripted::start(), DockerRegistry::start().await);
    let images = [image(), Image::single(Family::Oci, "other", &[200_000])];
    images[0].load(&source, "app", "v1");
    images[1].load(&source, "app", "v2");
    source.on("GET", Kind::Blob).containing(&images[0].blobs[2].digest).fail(Fault::Hang);
    let home = Home::new().mirror("app", &source, &target);
    let daemon = home.serve().await;
    eventually("the other image", LIMIT, || async {
        (target.endpoint().tags("app").await == ["v2"]).then_some(())
    })
    .await;
    // As soon as something of the run is on the disk: what was not is as if it had not begun.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let process = daemon.into_process();
    process.signal("KILL");
    assert_eq!(process.ended().await.0, None);
    source.clear_rules();
    let mark = source.mark();
    let daemon = home.serve().await;
    let run = daemon.ran("app").await;
    assert_eq!((&run["outcome"], &run["cause"]), (&"succeeded".into(), &"missed".into()));
    assert_eq!(run["counts"]["copied"], 1);
    let read = source.requests_since(mark);
    assert!(read.count("GET", Kind::Blob) <= 3, "{read}");
    assert_same(&source, &target, "app", "v1").await;
    assert_same(&source, &target, "app", "v2").await;
    let runs = daemon.get("/api/v1/runs").await;
    let outcomes: Vec<_> = runs.as_array().unwrap().iter().map(|run| &run["outcome"]).collect();
    assert_eq!(outcomes, ["succeeded", "interrupted"]);
}

const ENDLESS: &str =
    "token = { command = [\"sh\", \"-c\", \"touch asked; exec sleep 120 2>/dev/null >&2\"] }";

async fn secret_is_asked_for(home: &Home) {
    let file = home.tranship.home().join("asked");
    eventually("the command", LIMIT, || async { file.exists().then_some(()) }).await;
}

#[tokio::test]
async fn signals_during_the_start() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let home = Home::new().daemon(ENDLESS).mirror("app", &source, &target);
    home.configure();
    let process = home.spawn(&mut home.command());
    secret_is_asked_for(&home).await;
    process.signal("HUP");
    process.terminate(AT_ONCE).await;
    assert_eq!(source.traffic().len(), 0);
}

#[tokio::test]
async fn sigterm_during_a_reload() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let mut home = Home::new().mirror("app", &source, &target);
    let daemon = home.serve().await;
    home.set_daemon(ENDLESS);
    home.configure();
    daemon.signal("HUP");
    secret_is_asked_for(&home).await;
    daemon.into_process().terminate(AT_ONCE).await;
}
