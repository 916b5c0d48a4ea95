//! Runs that are about some tags only: what they ask for, and what they leave alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tranship::config::SyncRule;
use tranship::fair::Flow;
use tranship::stop::StopSignal;
use tranship::sync::{
    Action, Counts, ImageReport, Keep, Mode, RuleReport, RunProgress, RunSpec, Scope, Snapshot,
    Syncer,
};

use crate::support::bench::{APP, IDLE, IMAGES, Runner, registry, rule};
use crate::support::scripted::Mark;
use crate::support::{Family, Image, Kind, Place, Scripted, Traffic, assert_same_at};

/// A pattern rule over `acme/app` (tags `v1`, `v2` and `dev`), mirrored once by one process.
struct Pair {
    source: Scripted,
    target: Scripted,
    syncer: Arc<Syncer>,
    rule: SyncRule,
}

impl Pair {
    async fn mirrored(lines: &str) -> Self {
        let pair = Self::new(lines);
        assert!(pair.run(&Scope::All).await.is_success());
        pair
    }

    /// Nothing is at the target yet.
    fn new(lines: &str) -> Self {
        let (source, target) = (Scripted::start(), Scripted::start());
        for tag in ["v1", "v2", "dev"] {
            image(tag).load(&source, APP, tag);
        }
        let text = [
            registry(&source, IDLE, ""),
            registry(&target, IDLE, ""),
            rule(
                "r",
                &format!("{}/acme/**", source.host()),
                &format!("{}/mirror/{{tail}}", target.host()),
                lines,
            ),
        ]
        .concat();
        let (syncer, mut rules) = Runner::new().syncer(&text, IMAGES);
        Self { source, target, syncer, rule: rules.remove(0) }
    }

    async fn run(&self, scope: &Scope) -> RuleReport {
        self.watched(scope, &RunProgress::default(), &|_| {}).await
    }

    async fn watched(
        &self,
        scope: &Scope,
        progress: &RunProgress,
        watch: &(dyn Fn(&ImageReport) + Sync),
    ) -> RuleReport {
        let (rule, stop) = (&self.rule, &StopSignal::default());
        let (mode, flow, keep) = (Mode::Apply, Flow::new(1), Keep::All);
        let remover = None;
        let recheck = false;
        let spec =
            RunSpec { rule, mode, scope, recheck, stop, flow, progress, keep, watch, remover };
        self.syncer.run_rule(spec).await
    }

    fn marks(&self) -> (Mark, Mark) {
        (self.source.mark(), self.target.mark())
    }

    fn since(&self, marks: (Mark, Mark)) -> (Traffic, Traffic) {
        (self.source.requests_since(marks.0), self.target.requests_since(marks.1))
    }
}

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[3_000, 5_000])
}

fn tags(tags: &[&str]) -> Scope {
    let tags: BTreeSet<_> = tags.iter().map(|tag| tag.parse().unwrap()).collect();
    Scope::Some(BTreeMap::from([(APP.parse().unwrap(), Some(tags))]))
}

#[tokio::test]
async fn a_tag_that_moved_costs_what_it_must_and_no_lists() {
    let pair = Pair::mirrored("referrers = false").await;
    image("v2, moved").load(&pair.source, APP, "v2");
    let marks = pair.marks();
    let report = pair.run(&tags(&["v2"])).await;
    assert!(report.is_success(), "{report:#?}");
    assert_eq!(report.counts, Counts { copied: 1, ..Counts::default() });
    let (source, target) = pair.since(marks);
    assert_eq!(source.count("HEAD", Kind::Manifest), 1, "{source}");
    assert_eq!(source.count("GET", Kind::Manifest), 1, "{source}");
    assert_eq!(source.count("GET", Kind::Blob), 3, "{source}");
    assert_eq!(source.len(), 5, "{source}");
    assert_eq!(target.count("POST", Kind::Upload), 3, "{target}");
    assert_eq!(target.count("PUT", Kind::Upload), 3, "{target}");
    assert_eq!(target.count("PUT", Kind::Manifest), 1, "{target}");
    // Whether this registry says by itself that it has a blob is not known yet.
    assert_eq!(target.count("HEAD", Kind::Blob), 3, "{target}");
    assert_eq!(target.len(), 10, "{target}");
    assert_same_at((&pair.source, APP, "v2"), (&pair.target, "mirror/app", "v2")).await;

    // The same event once more.
    let marks = pair.marks();
    let report = pair.run(&tags(&["v2"])).await;
    assert_eq!(report.counts, Counts { unchanged: 1, ..Counts::default() });
    let (source, target) = pair.since(marks);
    assert_eq!((source.len(), target.len()), (1, 0), "{source}{target}");
}

#[tokio::test]
async fn a_tag_that_nothing_is_known_of_costs_no_list_either() {
    let pair = Pair::new("referrers = false");
    let report = pair.run(&tags(&["v1"])).await;
    assert_eq!(report.counts, Counts { copied: 1, ..Counts::default() }, "{report:#?}");
    for side in [pair.source.traffic(), pair.target.traffic()] {
        assert_eq!(side.count("GET", Kind::Tags) + side.count("GET", Kind::Catalog), 0, "{side}");
    }
    assert_eq!(pair.target.endpoint().tags("mirror/app").await, ["v1"]);
}

#[tokio::test]
async fn referrers_cost_one_list_at_the_source() {
    let pair = Pair::mirrored("").await;
    image("v2, moved").cosign().load(&pair.source, APP, "v2");
    let marks = pair.marks();
    assert!(pair.run(&tags(&["v2"])).await.is_success());
    let (source, target) = pair.since(marks);
    assert_eq!(source.count("GET", Kind::Tags), 1, "{source}");
    assert_eq!(source.count("GET", Kind::Catalog), 0, "{source}");
    assert_eq!(target.count("GET", Kind::Tags), 0, "{target}");
    let there = pair.target.endpoint().tags("mirror/app").await;
    assert!(there.iter().any(|tag| tag.ends_with(".sig")), "{there:?}");
}

#[tokio::test]
async fn what_the_rule_does_not_select_is_left_alone() {
    let pair = Pair::new("referrers = false\ntags = { include = [\"v*\"] }");
    let report = pair.run(&tags(&["v1", "dev"])).await;
    assert_eq!(report.counts, Counts { copied: 1, ..Counts::default() }, "{report:#?}");
    assert_eq!(pair.target.endpoint().tags("mirror/app").await, ["v1"]);
    let other = BTreeMap::from([("elsewhere/app".parse().unwrap(), None)]);
    let marks = pair.marks();
    let report = pair.run(&Scope::Some(other)).await;
    assert!(report.is_success() && report.notes.is_empty(), "{report:#?}");
    let (source, target) = pair.since(marks);
    assert!(source.is_empty() && target.is_empty(), "{source}{target}");
}

/// Whether a tag is among the newest ones cannot be told without the others.
#[tokio::test]
async fn the_newest_ones_are_told_by_the_list() {
    let pair = Pair::new("referrers = false\ntags = { newest = 1 }");
    let report = pair.run(&tags(&["v1", "v2"])).await;
    assert_eq!(report.counts, Counts { copied: 1, ..Counts::default() }, "{report:#?}");
    assert_eq!(pair.source.traffic().count("GET", Kind::Tags), 1);
    assert_eq!(pair.target.endpoint().tags("mirror/app").await, ["v2"]);
}

#[tokio::test]
async fn a_tag_that_is_gone_again_is_no_failure() {
    let pair = Pair::mirrored("referrers = false").await;
    let (marks, progress) = (pair.marks(), RunProgress::default());
    let report = pair.watched(&tags(&["v9"]), &progress, &|_| {}).await;
    assert!(report.is_success(), "{report:#?}");
    assert_eq!(report.counts, Counts::default());
    assert_eq!(progress.snapshot(), Snapshot::default());
    let (source, target) = pair.since(marks);
    assert_eq!((source.len(), target.len()), (1, 0), "{source}{target}");
    assert_eq!(progress.pulse().beats(), 1, "an answer is a sign of life");
}

#[tokio::test]
async fn a_whole_repository_may_be_asked_for() {
    let pair = Pair::new("referrers = false");
    let progress = RunProgress::default();
    let seen = std::sync::Mutex::new(Vec::new());
    let watch = |image: &ImageReport| seen.lock().unwrap().push(image.action);
    let whole = Scope::Some(BTreeMap::from([(APP.parse().unwrap(), None)]));
    let report = pair.watched(&whole, &progress, &watch).await;
    assert_eq!(report.counts.copied, 3, "{report:#?}");
    assert_eq!(pair.source.traffic().count("GET", Kind::Catalog), 0);
    assert_eq!(*seen.lock().unwrap(), [Action::Copied; 3]);
    let now = progress.snapshot();
    assert_eq!((now.considered, now.counts, now.bytes), (3, report.counts, report.bytes));
}

/// Between the look and the put somebody else puts the tag at the target.
#[tokio::test]
async fn a_tag_that_somebody_puts_meanwhile_is_not_overwritten() {
    for (on_conflict, expected) in [
        ("keep", Counts { kept: 1, ..Counts::default() }),
        ("fail", Counts { failed: 1, ..Counts::default() }),
    ] {
        let pair = Pair::new(&format!("referrers = false\non_conflict = \"{on_conflict}\""));
        pair.source.on("GET", Kind::Blob).times(1).fail(crate::support::Fault::Hang);
        let (scope, strange) = (tags(&["v1"]), image("theirs"));
        let meanwhile = async {
            let hanging =
                || async { (pair.source.traffic().count("GET", Kind::Blob) > 0).then_some(()) };
            crate::support::eventually("a blob on its way", IDLE, hanging).await;
            strange.load(&pair.target, "mirror/app", "v1");
            pair.source.clear_rules();
            pair.source.release();
        };
        let (report, ()) = tokio::join!(pair.run(&scope), meanwhile);
        assert_eq!(report.counts, expected, "{report:#?}");
        let found = pair.target.endpoint().digest("mirror/app", "v1").await;
        assert_eq!(found.as_ref(), Some(&strange.digest));
    }
}
