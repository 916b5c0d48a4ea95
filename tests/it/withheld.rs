//! What a cleanup rule deleted at a target: it is not copied there again, until the source moves
//! or the rule does not delete it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tranship::config::{self, CleanupRule};
use tranship::fair::Flow;
use tranship::oci::{Digest, Tag};
use tranship::state::{State, Withdrawn};
use tranship::stop::StopSignal;
use tranship::sync::{Counts, Keep, Mode, RuleReport, RunProgress, RunSpec, Scope};

use crate::mirror_setup::Mirror;
use crate::support::bench::{APP, IDLE, IMAGES, Runner, registry, rule};
use crate::support::{Family, Image, Kind, Place, Scripted, Tranship};

const TAGS: [&str; 5] = ["v1", "v2", "pr-1", "pr-2", "pr-3"];

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[3_000, 5_000])
}

/// A cleanup rule of the target; `more` are further lines of it.
fn cleanup(target: &impl Place, more: &str) -> String {
    format!(
        "[[cleanup]]\nname = \"pr\"\nrepositories = [\"{}/mirror/**\"]\n\
         delete = [{{ id = \"pr\", tags = [\"pr-*\"], older_than = \"7d\" }}]\n{more}\n",
        target.host()
    )
}

const APPLY: &str = "mode = \"apply\"";

fn parsed(text: &str) -> CleanupRule {
    let text = format!("[daemon]\nstate = \"/nowhere\"\n{text}");
    let config = config::parse(&text, "/nowhere/t.toml".as_ref(), &|_| None).unwrap();
    config.cleanup.into_iter().next().unwrap()
}

/// What the cleanup rule does with a tag: here that is simple, and known for sure.
async fn clean(state: &State, target: &Scripted, text: &str, tag: &str) {
    let digest = target.endpoint().digest("mirror/app", tag).await.unwrap();
    assert_eq!(target.endpoint().delete("mirror/app", &digest).await, 202);
    let digest: Digest = digest.parse().unwrap();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let withdrawn = Withdrawn { digest, policy: parsed(text).mark(), at };
    state.withdrawn.set(
        &format!("{}/mirror/app", target.host()),
        &tag.parse().unwrap(),
        &withdrawn,
    );
}

/// Two registries and one state, as one process after the other sees it.
struct Bench {
    source: Scripted,
    target: Scripted,
    runner: Runner,
    lines: &'static str,
}

impl Bench {
    async fn mirrored(lines: &'static str) -> Self {
        let (source, target) = (Scripted::start(), Scripted::start());
        for tag in TAGS {
            image(tag).load(&source, APP, tag);
        }
        let bench = Self { source, target, runner: Runner::new(), lines };
        assert_eq!(bench.run("").await.copied, TAGS.len());
        bench
    }

    fn text(&self, cleanup: &str) -> String {
        let host = self.source.host();
        let to = format!("{}/mirror/app", self.target.host());
        let registries = [registry(&self.source, IDLE, ""), registry(&self.target, IDLE, "")];
        registries.concat() + &rule("r", &format!("{host}/{APP}"), &to, self.lines) + cleanup
    }

    async fn run(&self, cleanup: &str) -> Counts {
        let report = self.runner.run(&self.text(cleanup)).await;
        assert_eq!(report.exit(), 0, "{report:#?}");
        report.rules[0].counts
    }

    /// A run that is about one tag.
    async fn event(&self, cleanup: &str, tag: &str) -> RuleReport {
        let (syncer, rules) = self.runner.syncer(&self.text(cleanup), IMAGES);
        let tags = BTreeSet::from([tag.parse::<Tag>().unwrap()]);
        let scope = &Scope::Some(BTreeMap::from([(APP.parse().unwrap(), Some(tags))]));
        let (rule, stop, progress) = (&rules[0], &StopSignal::default(), &RunProgress::default());
        let (mode, flow, keep, watch) = (Mode::Apply, Flow::new(1), Keep::All, &|_: &_| {});
        let remover = None;
        let recheck = false;
        let spec =
            RunSpec { rule, mode, scope, recheck, stop, flow, progress, keep, watch, remover };
        let report = syncer.run_rule(spec).await;
        assert!(report.is_success(), "{report:#?}");
        let now = progress.snapshot();
        assert_eq!(now.considered, now.counts.settled());
        report
    }

    async fn clean(&self, cleanup: &str, tag: &str) {
        clean(&self.runner.state, &self.target, cleanup, tag).await;
    }

    fn known(&self, tag: &str) -> Option<Withdrawn> {
        let name = format!("{}/mirror/app", self.target.host());
        self.runner.state.withdrawn.get(&name, &tag.parse().unwrap())
    }
}

fn withheld(withheld: usize, unchanged: usize) -> Counts {
    Counts { withheld, unchanged, ..Counts::default() }
}

#[tokio::test]
async fn it_costs_a_look_at_the_source_until_that_moves() {
    let bench = Bench::mirrored("referrers = false").await;
    let cleanup = cleanup(&bench.target, APPLY);
    bench.clean(&cleanup, "pr-1").await;
    for _ in 0..2 {
        let (at_source, at_target) = (bench.source.mark(), bench.target.mark());
        assert_eq!(bench.run(&cleanup).await, withheld(1, 4));
        let asked = bench.source.requests_since(at_source);
        assert_eq!(asked.count("HEAD", Kind::Manifest), 5, "{asked}");
        assert_eq!(asked.count("GET", Kind::Tags), 1, "{asked}");
        assert_eq!(asked.len(), 6, "{asked}");
        let asked = bench.target.requests_since(at_target);
        assert_eq!((asked.count("GET", Kind::Tags), asked.len()), (1, 1), "{asked}");
    }
    image("another").load(&bench.source, APP, "pr-1");
    assert_eq!(bench.run(&cleanup).await, Counts { copied: 1, unchanged: 4, ..withheld(0, 0) });
    assert_eq!(bench.known("pr-1"), None);
    let there = bench.target.endpoint().digest("mirror/app", "pr-1").await;
    assert_eq!(there, Some(image("another").digest));
}

#[tokio::test]
async fn it_comes_back_when_no_rule_would_delete_it() {
    let bench = Bench::mirrored("referrers = false").await;
    let before = cleanup(&bench.target, APPLY);
    for after in
        [String::new(), before.replace("7d", "30d"), before.replace("mirror/**", "other/**")]
    {
        bench.clean(&before, "pr-1").await;
        let copied = Counts { copied: 1, unchanged: 4, ..Counts::default() };
        assert_eq!(bench.run(&after).await, copied, "{after}");
        assert_eq!(bench.known("pr-1"), None);
    }
    // Another name, other limits or another mode are no other policy: what a person deleted by a
    // rule that only plans by itself stays away, too.
    bench.clean(&before, "pr-1").await;
    let renamed =
        before.replace("name = \"pr\"", "name = \"x\"\nmax_delete = { count = 1, percent = 100 }");
    assert_eq!(bench.run(&renamed).await, withheld(1, 4));
    let only_plans = before.replace(APPLY, "mode = \"plan\"");
    assert_eq!(bench.run(&only_plans).await, withheld(1, 4));
}

#[tokio::test]
async fn an_event_does_not_bring_it_back() {
    let bench = Bench::mirrored("referrers = false").await;
    let cleanup = cleanup(&bench.target, APPLY);
    bench.clean(&cleanup, "pr-1").await;
    let at_target = bench.target.mark();
    assert_eq!(bench.event(&cleanup, "pr-1").await.counts, withheld(1, 0));
    let asked = bench.target.requests_since(at_target);
    assert_eq!(asked.writes(), 0, "{asked}");
    image("another").load(&bench.source, APP, "pr-1");
    assert_eq!(bench.event(&cleanup, "pr-1").await.counts.copied, 1);
    assert_eq!(bench.known("pr-1"), None);
}

/// Nothing is asked about immutable tags once they are there; this one is not.
#[tokio::test]
async fn immutable_tags_are_withheld_and_come_back_too() {
    let bench = Bench::mirrored("referrers = false\nimmutable = [\"*\"]").await;
    let before = cleanup(&bench.target, APPLY);
    bench.clean(&before, "pr-1").await;
    assert_eq!(bench.run(&before).await, withheld(1, 4));
    assert_eq!(bench.run("").await.copied, 1);
    let at_source = bench.source.mark();
    assert_eq!(bench.run(&before).await, withheld(0, 5));
    assert_eq!(bench.source.requests_since(at_source).len(), 1, "only the list");
}

/// Who pushes it to the target by hand wants it there.
#[tokio::test]
async fn what_somebody_puts_again_is_forgotten() {
    let bench = Bench::mirrored("referrers = false").await;
    let cleanup = cleanup(&bench.target, APPLY);
    bench.clean(&cleanup, "pr-1").await;
    image("pr-1").load(&bench.target, "mirror/app", "pr-1");
    assert_eq!(bench.run(&cleanup).await, withheld(0, 5));
    assert_eq!(bench.known("pr-1"), None);
}

#[tokio::test]
async fn an_index_that_was_rewritten_is_known_by_what_was_put() {
    let lines = "referrers = false\nplatforms = [\"linux/amd64\"]";
    let (source, target) = (Scripted::start(), Scripted::start());
    let index = |name| Image::platforms(Family::Oci, name, &["amd64", "arm64"]);
    index("one").load(&source, APP, "pr-1");
    let bench = Bench { source, target, runner: Runner::new(), lines };
    let cleanup = cleanup(&bench.target, APPLY);
    assert_eq!(bench.run(&cleanup).await.copied, 1);
    bench.clean(&cleanup, "pr-1").await;
    assert_ne!(bench.known("pr-1").unwrap().digest.to_string(), index("one").digest);
    assert_eq!(bench.run(&cleanup).await, withheld(1, 0));
    index("two").load(&bench.source, APP, "pr-1");
    assert_eq!(bench.run(&cleanup).await.copied, 1);
}

/// What people see: the run says so, the dry run too, and nothing is missing.
#[tokio::test]
async fn commands_say_so_and_miss_nothing() {
    let (source, target) = (Scripted::start(), Scripted::start());
    for tag in TAGS {
        image(tag).load(&source, APP, tag);
    }
    let cleanup = cleanup(&target, APPLY);
    let lines =
        format!("source = \"{}/{APP}\"\ntarget = \"{}/mirror/app\"", source.host(), target.host());
    let mirror =
        Mirror::new().http(&source).http(&target).rule("r", &format!("{lines}\n{cleanup}"));
    mirror.sync().await.assert_copied(5, 0);
    let state = State::open(&mirror.state()).unwrap();
    clean(&state, &target, &cleanup, "pr-2").await;
    drop(state);
    let mark = target.mark();
    for (arguments, listed) in [(&[][..], 0), (&["--dry-run"], 1)] {
        let report = mirror.report(arguments, 0).await;
        let counts = &report.rules().next().unwrap()["counts"];
        let expected = json!({
            "copied": 0, "unchanged": 4, "kept": 0, "withheld": 1, "failed": 0, "removed": 0,
        });
        assert_eq!(*counts, expected);
        assert_eq!(report.images().count(), listed);
        let text = mirror.run(arguments).await;
        assert!(text.stdout.contains(", 4 unchanged (vouched for"), "{text:?}");
        assert!(text.stdout.contains("), 1 withheld (cleaned up); "), "{text:?}");
    }
    for arguments in [&["verify"][..], &["verify", "--repair"]] {
        let text = mirror.tranship.succeed(arguments).await;
        assert!(text.stdout.contains("4 of 4 images equal, 1 withheld (cleaned up); "), "{text:?}");
    }
    assert_eq!(target.requests_since(mark).writes(), 0);

    // Whoever uses the state keeps nobody from verifying, but knows what was cleaned up.
    let held = State::open(&mirror.state()).unwrap();
    let verified = mirror.tranship.run(["verify", "--output", "json"]).await;
    let verified: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(verified["counts"]["different"], 1, "{verified:#}");
    assert!(verified["notes"][0].as_str().unwrap().contains("in use"), "{verified:#}");
    drop(held);

    // Another image that is missing is missing.
    image("moved").load(&source, APP, "pr-2");
    let verified = mirror.tranship.run(["verify", "--output", "json"]).await;
    assert_eq!(verified.code, Some(1), "{verified:?}");
    mirror.sync().await.assert_copied(1, 4);
}

/// A mirror of one repository with a cleanup rule that has these lines.
struct Cleaned {
    target: Scripted,
    tranship: Tranship,
    hosts: [String; 2],
    _source: Scripted,
}

impl Cleaned {
    fn start(lines: &str) -> Self {
        let (source, target) = (Scripted::start(), Scripted::start());
        for tag in ["1.0", "pr-1"] {
            Image::single(Family::Oci, tag, &[100]).load(&source, "acme/app", tag);
        }
        let hosts = [source.host().to_owned(), target.host().to_owned()];
        let cleaned = Self { target, tranship: Tranship::new(), hosts, _source: source };
        cleaned.write_rule(lines);
        cleaned
    }

    fn write_rule(&self, lines: &str) {
        let [from, to] = &self.hosts;
        self.tranship.write(
            "tranship.toml",
            format!(
                "[daemon]\nstate = \"state\"\n[registry.\"{from}\"]\ninsecure = \"http\"\n\
                 [registry.\"{to}\"]\ninsecure = \"http\"\n\
                 [[sync]]\nname = \"s\"\nsource = \"{from}/acme/app\"\ntarget = \"{to}/acme/app\"\n\
                 [[cleanup]]\nname = \"c\"\nrepositories = [\"{to}/acme/app\"]\ngrace = \"0s\"\n\
                 max_delete = {{ percent = 100 }}\n{lines}\n"
            ),
        );
    }

    async fn tags(&self) -> Vec<String> {
        self.target.endpoint().tags("acme/app").await
    }
}

/// Somebody has applied a rule by hand that the daemon only plans: `verify` misses nothing.
#[tokio::test]
async fn verify_misses_nothing_that_a_rule_in_plan_mode_deleted() {
    let mirror = Cleaned::start("delete = [{ id = \"pr\", tags = [\"pr-*\"] }]");
    mirror.tranship.succeed(["sync"]).await;
    mirror.tranship.succeed(["cleanup", "--apply"]).await;
    assert_eq!(mirror.tags().await, ["1.0"]);
    mirror.tranship.succeed(["verify"]).await;
}

#[tokio::test]
async fn a_changed_rule_withholds_what_it_would_delete_again() {
    let mirror = Cleaned::start("delete = [{ id = \"pr\", tags = [\"pr-*\"] }]");
    mirror.tranship.succeed(["sync"]).await;
    mirror.tranship.succeed(["cleanup", "--apply"]).await;
    for still_deletes in [
        "delete = [{ id = \"branches\", tags = [\"pr-*\", \"test-*\"] }]",
        "keep = [{ id = \"releases\", semver = \"*\" }]\n\
         delete = [{ id = \"pr\", tags = [\"pr-*\"] }, { id = \"rc\", tags = [\"*-rc*\"] }]",
    ] {
        mirror.write_rule(still_deletes);
        mirror.tranship.succeed(["sync"]).await;
        assert_eq!(mirror.tags().await, ["1.0"], "{still_deletes}");
    }
    mirror.write_rule("delete = [{ id = \"pr\", tags = [\"pr-*\"], older_than = \"1h\" }]");
    mirror.tranship.succeed(["sync"]).await;
    assert_eq!(mirror.tags().await, ["1.0", "pr-1"]);
}
