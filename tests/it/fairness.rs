//! Runs side by side: what they share they share fairly, what they must not do at once they do
//! one after the other, and they can be watched and stopped from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tranship::config::SyncRule;
use tranship::fair::Flow;
use tranship::stop::StopSignal;
use tranship::sync::{Counts, Keep, Mode, RuleReport, RunProgress, RunSpec, Scope, Syncer};

use crate::support::bench::{IDLE, IMAGES, Runner, registry, rule};
use crate::support::{Family, Fault, Image, Kind, Place, Scripted, eventually};

const LONG: Duration = Duration::from_secs(30);

/// Begins a run of a rule, as the daemon does it.
pub fn begin(
    syncer: &Arc<Syncer>,
    rule: &SyncRule,
    scope: Scope,
    flow: u64,
    stop: &StopSignal,
) -> JoinHandle<RuleReport> {
    let (syncer, rule, stop) = (syncer.clone(), rule.clone(), stop.clone());
    tokio::spawn(async move {
        let spec = RunSpec {
            rule: &rule,
            mode: Mode::Apply,
            scope: &scope,
            recheck: false,
            stop: &stop,
            flow: Flow::new(flow),
            progress: &RunProgress::default(),
            keep: Keep::All,
            watch: &|_| {},
            remover: None,
        };
        syncer.run_rule(spec).await
    })
}

fn tag(repository: &str, tag: &str) -> Scope {
    let tags = BTreeSet::from([tag.parse().unwrap()]);
    Scope::Some(BTreeMap::from([(repository.parse().unwrap(), Some(tags))]))
}

async fn finished(run: JoinHandle<RuleReport>) -> RuleReport {
    tokio::time::timeout(LONG, run).await.expect("a run ends").unwrap()
}

/// Sixteen repositories with 2 000 tags are on their way through two connections when a rule for
/// three tags begins. Gives how many requests of the migration were made until that was done.
async fn let_go_first(flow: u64) -> usize {
    let (source, target) = (Scripted::start(), Scripted::start());
    for repository in 0..16 {
        for at in 0..125 {
            let image = Image::single(Family::Oci, &format!("{repository}/{at}"), &[200]);
            image.load(&source, &format!("huge/app{repository}"), &format!("v{at}"));
        }
    }
    for at in 0..3 {
        let image = Image::single(Family::Oci, &format!("small/{at}"), &[200]);
        image.load(&source, "small/app", &format!("v{at}"));
    }
    let both = |name: &str, repositories: &str| {
        let source = format!("{}/{repositories}", source.host());
        let target = format!("{}/{{repository}}", target.host());
        rule(name, &source, &target, "referrers = false")
    };
    let text = [
        registry(&source, IDLE, "parallel = 2"),
        registry(&target, IDLE, "parallel = 2"),
        both("huge", "huge/**"),
        both("small", "small/app"),
    ]
    .concat();
    let (syncer, rules) = Runner::new().syncer(&text, 8);
    let stop = StopSignal::default();
    let huge = begin(&syncer, &rules[0], Scope::All, 1, &stop);
    eventually("the migration is under way", LONG, || async {
        (target.traffic().count("PUT", Kind::Manifest) > 20).then_some(())
    })
    .await;
    let marks = (source.mark(), target.mark());
    let report = finished(begin(&syncer, &rules[1], Scope::All, flow, &stop)).await;
    assert_eq!(report.counts, Counts { copied: 3, ..Counts::default() }, "{report:#?}");
    let traffic = [source.requests_since(marks.0), target.requests_since(marks.1)];
    let others = traffic.iter().flat_map(|traffic| traffic.iter());
    let others = others.filter(|seen| seen.path.contains("/huge/")).count();
    stop.now.cancel();
    assert!(finished(huge).await.interrupted);
    others
}

#[tokio::test]
async fn a_migration_does_not_keep_a_small_rule_waiting() {
    let fair = let_go_first(2).await;
    assert!(fair < 250, "{fair} requests of the migration went first");
    // As one flow, each waits for all that came before: so it is the flows that help.
    let row = let_go_first(1).await;
    assert!(row > 4 * fair, "{fair} requests went first, and {row} without flows");
}

/// A source with three images, of which the blobs of one hang; mirrored by one rule.
struct Bench {
    source: Scripted,
    target: Scripted,
    images: Vec<Image>,
    syncer: Arc<Syncer>,
    rules: Vec<SyncRule>,
}

impl Bench {
    /// `images`: under way at once.
    fn new(images: usize) -> Self {
        let (source, target) = (Scripted::start(), Scripted::start());
        let text = [
            registry(&source, LONG, ""),
            registry(&target, LONG, ""),
            rule(
                "r",
                &format!("{}/app", source.host()),
                &format!("{}/app", target.host()),
                "referrers = false",
            ),
        ]
        .concat();
        let loaded = (0..3).map(|at| {
            let image = Image::single(Family::Oci, &format!("app{at}"), &[3_000]);
            image.load(&source, "app", &format!("v{at}"));
            image
        });
        let loaded = loaded.collect();
        let (syncer, rules) = Runner::new().syncer(&text, images);
        Self { source, target, images: loaded, syncer, rules }
    }

    fn begin(&self, scope: Scope, flow: u64, stop: &StopSignal) -> JoinHandle<RuleReport> {
        begin(&self.syncer, &self.rules[0], scope, flow, stop)
    }

    /// The layer of this image does not come until `go_on`.
    fn hold(&self, image: usize) {
        let layer = &self.images[image].blobs[1].digest;
        self.source.on("GET", Kind::Blob).containing(layer).fail(Fault::Hang);
    }

    async fn until_held(&self, image: usize) {
        let layer = &self.images[image].blobs[1].digest;
        eventually("a blob that hangs", LONG, || async {
            let traffic = self.source.traffic();
            traffic.of("GET", Kind::Blob).any(|seen| seen.path.contains(layer)).then_some(())
        })
        .await;
    }

    fn go_on(&self) {
        self.source.clear_rules();
        self.source.release();
    }
}

#[tokio::test]
async fn a_run_for_one_tag_does_not_wait_for_its_rules_full_pass() {
    let bench = Bench::new(IMAGES);
    bench.hold(0);
    let stop = StopSignal::default();
    let full = bench.begin(Scope::All, 1, &stop);
    bench.until_held(0).await;
    eventually("the rest of the full pass", LONG, || async {
        (bench.target.endpoint().tags("app").await.len() == 2).then_some(())
    })
    .await;
    let moved = Image::single(Family::Oci, "app1, moved", &[3_000]);
    moved.load(&bench.source, "app", "v1");
    let report = finished(bench.begin(tag("app", "v1"), 2, &stop)).await;
    assert_eq!(report.counts, Counts { copied: 1, ..Counts::default() }, "{report:#?}");
    assert_eq!(bench.target.endpoint().digest("app", "v1").await, Some(moved.digest));
    assert!(!full.is_finished());

    // But of the tag that the full pass is at work on, it leaves its hands until that is done.
    let same = bench.begin(tag("app", "v0"), 3, &stop);
    bench.go_on();
    assert_eq!(finished(same).await.counts, Counts { unchanged: 1, ..Counts::default() });
    assert_eq!(finished(full).await.counts, Counts { copied: 3, ..Counts::default() });
    let traffic = bench.target.traffic();
    let puts = traffic.of("PUT", Kind::Manifest).filter(|seen| seen.path.ends_with("/v0"));
    assert_eq!(puts.count(), 1, "{traffic}");
}

#[tokio::test]
async fn a_soft_stop_lets_transfers_end_and_begins_no_others() {
    let bench = Bench::new(1);
    for image in 0..3 {
        bench.hold(image);
    }
    let stop = StopSignal::default();
    let run = bench.begin(Scope::All, 1, &stop);
    eventually("a transfer", LONG, || async {
        (bench.syncer.carrier().transfers().len() == 1
            && bench.source.traffic().count("GET", Kind::Blob) >= 2)
            .then_some(())
    })
    .await;
    stop.soon.cancel();
    bench.go_on();
    let report = finished(run).await;
    assert!(report.interrupted, "{report:#?}");
    assert_eq!(report.counts, Counts { copied: 1, ..Counts::default() });
    assert_eq!(bench.target.endpoint().tags("app").await.len(), 1);
    bench.target.assert_tags_complete();

    // Asked to stop before it begins, a run asks nobody for anything.
    let mark = bench.source.mark();
    assert!(finished(bench.begin(Scope::All, 1, &stop)).await.interrupted);
    assert!(bench.source.requests_since(mark).is_empty());
    assert_eq!(finished(bench.begin(Scope::All, 1, &StopSignal::default())).await.counts.copied, 2);
}

/// A soft stop that comes when everything is under way leaves nothing out.
#[tokio::test]
async fn a_soft_stop_near_the_end_is_no_interruption() {
    let bench = Bench::new(IMAGES);
    bench.hold(0);
    let stop = StopSignal::default();
    let run = bench.begin(Scope::All, 1, &stop);
    bench.until_held(0).await;
    eventually("the others", LONG, || async {
        (bench.target.endpoint().tags("app").await.len() == 2).then_some(())
    })
    .await;
    stop.soon.cancel();
    bench.go_on();
    let report = finished(run).await;
    assert!(report.is_success(), "{report:#?}");
    assert_eq!(report.counts.copied, 3);
}

#[tokio::test]
async fn transfers_under_way_tell_how_far_they_are() {
    let bench = Bench::new(IMAGES);
    bench.hold(0);
    let image = &bench.images[0];
    // One of the two blobs is there already.
    let config = &image.blobs[0];
    bench.target.insert_blob("app", &config.digest, config.bytes.clone());
    let run = bench.begin(tag("app", "v0"), 7, &StopSignal::default());
    let status = eventually("one blob of two", LONG, || async {
        let mut transfers = bench.syncer.carrier().transfers();
        let status = transfers.pop()?;
        (status.bytes_done > 0 && transfers.is_empty()).then_some(status)
    })
    .await;
    assert_eq!(status.id.flow, Flow::new(7));
    assert_eq!(status.id.source, format!("{}/app@{}", bench.source.host(), image.digest));
    assert_eq!(status.id.targets, [bench.target.reference("app", "v0")]);
    assert_eq!(status.bytes_total, image.blob_bytes());
    assert_eq!((status.bytes_done, status.bytes_sent), (config.bytes.len() as u64, 0));
    assert!(status.last_progress >= status.started);
    bench.go_on();
    let report = finished(run).await;
    assert_eq!(report.bytes, image.blob_bytes() - config.bytes.len() as u64);
    assert!(bench.syncer.carrier().transfers().is_empty());
}
