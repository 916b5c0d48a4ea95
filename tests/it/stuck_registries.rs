//! Registries that take nothing any more beside healthy ones: what waits for a stuck registry holds
//! nothing that others need.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tranship::http::RetryPolicy;
use tranship::stop::StopSignal;
use tranship::sync::{Mode, Scope};

use crate::daemon_beside::Beside;
use crate::daemon_setup::{Home, TOKEN};
use crate::fairness::begin;
use crate::support::bench::{IMAGES, Runner, policy, registry, rule};
use crate::support::daemon::Daemon;
use crate::support::process::Running;
use crate::support::{Family, Fault, Image, Kind, Place, Scripted, Tranship, eventually};

/// Longer than a healthy rule takes beside any number of stuck ones, and shorter than any of these
/// stuck registries takes to give up.
const SOON: Duration = Duration::from_secs(20);
/// Further lines of each rule.
const RULE: &str = "referrers = false\nschedule = \"0 3 * * *\"\nrun_at_start = true";
const LONG: Duration = Duration::from_secs(600);

/// How a target is stuck: it answers what is read, and takes nothing.
#[derive(Debug, Clone, Copy)]
enum Stuck {
    /// Every write is refused: come again in so many seconds.
    Paused(&'static str),
    /// No write is ever answered.
    Silent,
}

/// A source of images, a healthy target, and stuck ones: a rule for each.
struct Scene {
    source: Scripted,
    healthy: Scripted,
    stuck: Vec<Scripted>,
}

impl Scene {
    fn new(number: usize, how: Stuck) -> Self {
        let source = Scripted::start();
        for at in 0..50 {
            let image = Image::single(Family::Oci, &format!("many{at}"), &[2_000]);
            image.load(&source, "many", &format!("v{at}"));
        }
        for at in 0..5 {
            let image = Image::single(Family::Oci, &format!("few{at}"), &[2_000]);
            image.load(&source, "few", &format!("v{at}"));
        }
        let stuck = (0..number).map(|_| {
            let target = Scripted::start();
            for method in ["POST", "PUT", "PATCH"] {
                for kind in [Kind::Upload, Kind::Manifest] {
                    target.on(method, kind).fail(match how {
                        Stuck::Paused(after) => Fault::too_many_requests(Some(after)),
                        Stuck::Silent => Fault::Hang,
                    });
                }
            }
            target
        });
        Self { healthy: Scripted::start(), stuck: stuck.collect(), source }
    }

    /// The stuck rules come first.
    fn config(&self) -> String {
        let source = |repository| format!("{}/{repository}", self.source.host());
        let mut text = registry(&self.source, LONG, "") + &registry(&self.healthy, LONG, "");
        for (at, target) in self.stuck.iter().enumerate() {
            text += &registry(target, LONG, "");
            let target = format!("{}/many", target.host());
            text += &rule(&format!("stuck{at}"), &source("many"), &target, RULE);
        }
        let target = format!("{}/few", self.healthy.host());
        text + &rule("healthy", &source("few"), &target, RULE)
    }

    async fn until_all_arrived(&self) {
        eventually("the images of the healthy rule", SOON, || async {
            (self.healthy.endpoint().tags("few").await.len() == 5).then_some(())
        })
        .await;
        assert!(self.stuck.iter().all(|target| target.tag("many", "v0").is_none()));
    }

    async fn until_stuck(&self) {
        eventually("all stuck targets are written to", SOON, || async {
            let is_tried = |target: &Scripted| target.traffic().count("POST", Kind::Upload) > 0;
            self.stuck.iter().all(is_tried).then_some(())
        })
        .await;
    }
}

async fn in_sync(number: usize, how: Stuck) {
    let scene = Scene::new(number, how);
    let policy = RetryPolicy { patience: LONG, ..policy() };
    let (syncer, rules) = Runner { policy, ..Runner::new() }.syncer(&scene.config(), IMAGES);
    let rules: Vec<_> = rules.iter().collect();
    let stop = CancellationToken::new();
    let pass = syncer.run(&rules, Mode::Apply, &stop, &|_| {});
    tokio::select! {
        reports = pass => panic!("a stuck rule has ended: {reports:?}"),
        () = scene.until_all_arrived() => {}
    }
}

async fn in_serve(number: usize, how: Stuck) {
    let scene = Scene::new(number, how);
    let daemon = Daemon::start(&scene.config()).await;
    let runs = daemon.ended("healthy", "start", 1).await;
    assert_eq!(runs[0]["counts"]["copied"], 5, "{runs:?}");
    scene.until_all_arrived().await;
    scene.until_stuck().await;
}

#[tokio::test]
async fn in_sync_one_that_asks_for_a_pause_keeps_nobody_waiting() {
    in_sync(1, Stuck::Paused("200")).await;
}

#[tokio::test]
async fn in_sync_three_that_are_silent_keep_nobody_waiting() {
    in_sync(3, Stuck::Silent).await;
}

#[tokio::test]
async fn in_sync_forty_keep_nobody_waiting() {
    tokio::join!(in_sync(40, Stuck::Paused("200")), in_sync(40, Stuck::Silent));
}

#[tokio::test]
async fn in_serve_one_that_asks_for_a_pause_keeps_nobody_waiting() {
    in_serve(1, Stuck::Paused("200")).await;
}

#[tokio::test]
async fn in_serve_three_that_are_silent_keep_nobody_waiting() {
    in_serve(3, Stuck::Silent).await;
}

#[tokio::test]
async fn in_serve_forty_keep_nobody_waiting() {
    in_serve(40, Stuck::Paused("200")).await;
}

/// A rule with two targets, one of which stalls: the other gets everything without it, and what
/// stalled gets the same when it goes on.
async fn one_of_two_targets(how: Stuck) {
    let scene = Scene::new(1, how);
    let (stuck, healthy) = (&scene.stuck[0], &scene.healthy);
    let [source, target, other] =
        [&scene.source, stuck, healthy].map(|place| format!("{}/many", place.host()));
    let text = [&scene.source, stuck, healthy].map(|place| registry(place, LONG, "")).concat()
        + &format!(
            "[[sync]]\nname = \"r\"\nsource = \"{source}\"\ntarget = [\"{target}\", \"{other}\"]\n"
        );
    let policy = RetryPolicy { patience: LONG, ..policy() };
    let (syncer, rules) = Runner { policy, ..Runner::new() }.syncer(&text, IMAGES);
    let rules: Vec<_> = rules.iter().collect();
    let stop = CancellationToken::new();
    let pass = syncer.run(&rules, Mode::Apply, &stop, &|_| {});
    let recovers = async {
        eventually("all images at the healthy target", SOON, || async {
            (healthy.endpoint().tags("many").await.len() == 50).then_some(())
        })
        .await;
        assert!(stuck.tag("many", "v0").is_none());
        stuck.clear_rules();
        stuck.release();
    };
    let pass = tokio::time::timeout(4 * SOON, pass);
    let (reports, ()) = tokio::join!(pass, recovers);
    let reports = reports.expect("the pass ends when the stuck target goes on");
    assert_eq!(reports[0].counts.copied, 100, "{reports:#?}");
    assert!(reports[0].is_success());
    assert_eq!(stuck.endpoint().tags("many").await.len(), 50);
    stuck.assert_tags_complete();
    healthy.assert_tags_complete();
}

#[tokio::test]
async fn a_silent_target_does_not_hold_up_the_other_target_of_its_rule() {
    one_of_two_targets(Stuck::Silent).await;
}

#[tokio::test]
async fn a_paused_target_does_not_hold_up_the_other_target_of_its_rule() {
    one_of_two_targets(Stuck::Paused("12")).await;
}

/// All targets but one answer no question for a manifest. `verify` asks that one for its images, and
/// repairs them if told so, while the others are waited for.
async fn in_verify(number: usize, arguments: &[&str], method: &str) {
    let scene = Scene::new(number, Stuck::Silent);
    for target in &scene.stuck {
        target.on("GET", Kind::Manifest).fail(Fault::Hang);
    }
    let tranship = Tranship::new();
    tranship.write("tranship.toml", scene.config());
    let running = tranship.start(["verify"].iter().chain(arguments));
    eventually("the images of the healthy rule", SOON, || async {
        (scene.healthy.traffic().count(method, Kind::Manifest) == 5).then_some(())
    })
    .await;
    eventually("the stuck targets are asked", SOON, || async {
        let is_asked = |target: &Scripted| target.traffic().count("GET", Kind::Manifest) > 0;
        scene.stuck.iter().all(is_asked).then_some(())
    })
    .await;
    running.kill().await;
}

#[tokio::test]
async fn in_verify_silent_targets_keep_nobody_waiting() {
    in_verify(1, &[], "GET").await;
    in_verify(40, &[], "GET").await;
}

#[tokio::test]
async fn in_verify_silent_targets_keep_no_repair_waiting() {
    in_verify(20, &["--repair"], "PUT").await;
}

/// Sources that answer no listing keep no other rule waiting.
#[tokio::test]
async fn in_verify_a_silent_source_keeps_nobody_waiting() {
    let (scene, silent) = (Scene::new(0, Stuck::Silent), Scripted::start());
    silent.on("GET", Kind::Tags).fail(Fault::Hang);
    let source = format!("{}/app", silent.host());
    let target = format!("{}/app", scene.healthy.host());
    let text = registry(&silent, LONG, "") + &rule("silent", &source, &target, RULE);
    let tranship = Tranship::new();
    tranship.write("tranship.toml", text + &scene.config());
    let running = tranship.start(["verify"]);
    eventually("the images of the healthy rule", SOON, || async {
        (scene.healthy.traffic().count("GET", Kind::Manifest) == 5).then_some(())
    })
    .await;
    running.kill().await;
}

/// Cleanup rules, the stuck ones first: their registries answer no listing.
struct Cleanups {
    stuck: Vec<Scripted>,
    healthy: Scripted,
}

impl Cleanups {
    fn new(number: usize) -> Self {
        let stuck = (0..number).map(|_| {
            let registry = Scripted::start();
            registry.on("GET", Kind::Tags).fail(Fault::Hang);
            registry
        });
        let healthy = Scripted::start();
        for tag in ["pr-1", "v1"] {
            Image::single(Family::Oci, tag, &[1_000]).load(&healthy, "app", tag);
        }
        Self { stuck: stuck.collect(), healthy }
    }

    fn home(&self) -> Home {
        let rule = |registry: &Scripted| {
            format!(
                "grace = \"0s\"\nrepositories = [\"{}/app\"]\n\
                 delete = [{{ id = \"pr\", tags = [\"pr-*\"] }}]\n\
                 max_delete = {{ count = 9, percent = 100 }}",
                registry.host()
            )
        };
        let mut home = Home::new();
        for (at, registry) in self.stuck.iter().enumerate() {
            let idle = "idle_timeout = \"10m\"";
            home = home.registry(registry, idle).cleanup(&format!("stuck{at}"), &rule(registry));
        }
        home.registry(&self.healthy, "").cleanup("well", &rule(&self.healthy))
    }

    /// Waits for a request to the healthy registry, and for the stuck ones to be asked too.
    async fn until(&self, method: &str, kind: Kind) {
        eventually("the healthy rule", SOON, || async {
            (self.healthy.traffic().count(method, kind) > 0).then_some(())
        })
        .await;
        eventually("the stuck rules", SOON, || async {
            let is_asked = |registry: &Scripted| registry.traffic().count("GET", Kind::Tags) > 0;
            self.stuck.iter().all(is_asked).then_some(())
        })
        .await;
    }
}

fn start(home: &Home, arguments: &[&str]) -> Running {
    Running::new(home.tranship.command().args(arguments).env("TOKEN", TOKEN))
}

#[tokio::test]
async fn in_cleanup_silent_registries_keep_nobody_waiting() {
    for (arguments, method, kind) in [
        (["cleanup"].as_slice(), "GET", Kind::Tags),
        (&["cleanup", "--apply"], "DELETE", Kind::Manifest),
    ] {
        let cleanups = Cleanups::new(20);
        let home = cleanups.home();
        home.configure();
        let running = start(&home, arguments);
        cleanups.until(method, kind).await;
        running.kill().await;
    }
}

#[tokio::test]
async fn in_cleanup_beside_a_daemon_silent_registries_keep_nobody_waiting() {
    for (arguments, method, kind) in [
        (["cleanup"].as_slice(), "GET", Kind::Tags),
        (&["cleanup", "--apply"], "DELETE", Kind::Manifest),
    ] {
        let cleanups = Cleanups::new(8);
        let beside = Beside::start(cleanups.home()).await;
        let running = beside.start_command(arguments);
        cleanups.until(method, kind).await;
        running.kill().await;
    }
}

/// Two rules delete in one repository: the second plans when the first is done there.
#[tokio::test]
async fn cleanup_rules_of_one_repository_take_turns() {
    let registry = Scripted::start();
    for tag in ["a-1", "b-1", "v1"] {
        Image::single(Family::Oci, tag, &[1_000]).load(&registry, "app", tag);
    }
    let delete = registry.on("DELETE", Kind::Manifest).once().fail(Fault::Hang);
    let rule = |id: &str| {
        format!(
            "grace = \"0s\"\nrepositories = [\"{}/app\"]\n\
             delete = [{{ id = \"{id}\", tags = [\"{id}-*\"] }}]\n\
             max_delete = {{ count = 9, percent = 100 }}",
            registry.host()
        )
    };
    let home = Home::new()
        .registry(&registry, "idle_timeout = \"10m\"")
        .cleanup("first", &rule("a"))
        .cleanup("second", &rule("b"));
    home.configure();
    let running = start(&home, &["cleanup", "--apply"]);
    eventually("a deletion", SOON, || async { (delete.count() == 1).then_some(()) }).await;
    // Longer than the other rule would take.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let traffic = registry.traffic();
    assert_eq!(traffic.count("DELETE", Kind::Manifest), 1, "{traffic}");
    registry.release();
    let finished = running.finish().await;
    assert!(finished.stdout.find("first").unwrap() < finished.stdout.find("second").unwrap());
    assert_eq!(registry.tag("app", "a-1").or(registry.tag("app", "b-1")), None, "{finished:?}");
}

/// Two rules bring the same images to one target, one of them from a source that gives no blobs: it
/// has their turns, and the uploads that the target takes at once. The other one does not wait for it.
/// `asked`: so many of its blobs are asked for at once.
async fn one_of_two_sources(how: Fault, asked: usize) {
    let (stuck, source, target) = (Scripted::start(), Scripted::start(), Scripted::start());
    let images: Vec<Image> =
        (0..20).map(|at| Image::single(Family::Oci, &format!("{at}"), &[2_000])).collect();
    for (at, image) in images.iter().enumerate() {
        image.load(&stuck, "many", &format!("v{at}"));
        image.load(&source, "few", &format!("v{at}"));
        // Only layers are held back, so that all of them are under way.
        stuck.on("GET", Kind::Blob).containing(&image.blobs[1].digest).fail(how.clone());
    }
    let rule_of = |name: &str, from: &Scripted, repository: &str| {
        let [from, to] = [from, &target].map(|place| format!("{}/{repository}", place.host()));
        rule(name, &from, &to, "referrers = false")
    };
    let text = [&stuck, &source, &target].map(|place| registry(place, LONG, "")).concat()
        + &rule_of("stuck", &stuck, "many")
        + &rule_of("healthy", &source, "few");
    let policy = RetryPolicy { patience: LONG, ..policy() };
    let (syncer, rules) = Runner { policy, ..Runner::new() }.syncer(&text, IMAGES);
    let stop = StopSignal::default();
    let first = begin(&syncer, &rules[0], Scope::All, 1, &stop);
    eventually("layers of the stuck source are asked for", SOON, || async {
        let traffic = stuck.traffic();
        let is_asked = |image: &&Image| {
            let layer = &image.blobs[1].digest;
            traffic.of("GET", Kind::Blob).any(|seen| seen.path.contains(layer))
        };
        (images.iter().filter(is_asked).count() >= asked).then_some(())
    })
    .await;
    let second = begin(&syncer, &rules[1], Scope::All, 2, &stop);
    let report = tokio::time::timeout(SOON, second).await.expect("it waits for nobody").unwrap();
    assert_eq!((report.counts.copied, report.is_success()), (20, true), "{report:#?}");
    target.assert_tags_complete();
    stuck.clear_rules();
    stuck.release();
    let first = tokio::time::timeout(4 * SOON, first);
    let report = first.await.expect("it ends when its source goes on").unwrap();
    assert_eq!((report.counts.copied, report.is_success()), (20, true), "{report:#?}");
    target.assert_tags_complete();
    for (at, image) in images.iter().enumerate() {
        for repository in ["many", "few"] {
            assert_eq!(target.tag(repository, &format!("v{at}")).as_ref(), Some(&image.digest));
            let layer = &image.blobs[1];
            let copied = target.endpoint().blob(repository, &layer.digest).await;
            assert_eq!(copied.as_ref(), Some(&layer.bytes));
        }
    }
    assert_eq!(target.open_uploads(), 0);
}

#[tokio::test]
async fn a_silent_source_keeps_no_other_source_of_its_blobs_waiting() {
    one_of_two_sources(Fault::Hang, 8).await;
}

#[tokio::test]
async fn a_paused_source_keeps_no_other_source_of_its_blobs_waiting() {
    one_of_two_sources(Fault::too_many_requests(Some("25")), 1).await;
}
