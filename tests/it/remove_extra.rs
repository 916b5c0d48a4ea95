//! Tags that are gone at the source go at the target, if a rule asks for that: only what the rule
//! put there, only within its limits, and never without a line in the audit.

use serde_json::Value;

use crate::mirror_setup::{Mirror, Report};
use crate::support::{DockerRegistry, Family, Fault, Image, Kind, Place, Scripted};

const LIMIT: &str = "max_delete = { count = 2, percent = 100 }";

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[300])
}

struct Pair {
    source: DockerRegistry,
    target: DockerRegistry,
    mirror: Mirror,
}

impl Pair {
    /// These tags are mirrored, each an image of its own; `more` are further lines of the rule.
    async fn mirrored(tags: &[&str], more: &str) -> Self {
        let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
        for tag in tags {
            image(tag).push(&source, "app", tag).await;
        }
        let rule = format!(
            "source = \"{}/app\"\ntarget = \"{}/mirror\"\nremove_extra = true\n{more}",
            source.host(),
            target.host()
        );
        let mirror = Mirror::new().http(&source).http(&target).rule("r", &rule);
        mirror.sync().await.assert_copied(tags.len() as u64, 0);
        Self { source, target, mirror }
    }

    /// What a registry without untagging can do: the image goes.
    async fn gone(&self, tag: &str) {
        let digest = self.source.endpoint().digest("app", tag).await.unwrap();
        assert_eq!(self.source.endpoint().delete("app", &digest).await, 202);
    }

    async fn tags(&self) -> Vec<String> {
        self.target.endpoint().tags("mirror").await
    }

    /// All lines of the audit, as text.
    fn audit(&self) -> String {
        let Ok(folder) = std::fs::read_dir(self.mirror.state().join("audit")) else {
            return String::new();
        };
        let files = folder.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        files.collect()
    }
}

/// Tag and outcome of each removal.
fn removed(report: &Report) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = report.rules().flat_map(|rule| rule["removed"].as_array().unwrap());
    let all = all.map(|one| (text(&one["target"]), text(&one["outcome"])));
    all.map(|(target, outcome)| (target.rsplit_once(':').unwrap().1.to_owned(), outcome)).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(tag, outcome)| ((*tag).to_owned(), (*outcome).to_owned())).collect()
}

#[tokio::test]
async fn what_is_gone_at_the_source_goes_at_the_target() {
    let pair = Pair::mirrored(&["v1", "v2", "v3"], LIMIT).await;
    image("theirs").push(&pair.target, "mirror", "theirs").await;
    pair.gone("v2").await;

    // The dry run says so, and deletes nothing.
    let mark = pair.target.mark().await;
    let report = pair.mirror.report(&["--dry-run"], 0).await;
    assert_eq!(removed(&report), pairs(&[("v2", "would_remove")]));
    let text = pair.mirror.run(&["--dry-run"]).await;
    assert!(text.stdout.contains(&format!("would remove {}/mirror:v2: ", pair.target.host())));
    assert!(text.stdout.contains(", 2 unchanged (vouched for"), "{text:?}");
    assert!(text.stdout.contains("), 1 to remove; "), "{text:?}");
    assert_eq!(pair.target.requests_since(mark).await.writes(), 0);
    assert_eq!(pair.audit(), "");

    let mark = pair.source.mark().await;
    let report = pair.mirror.sync().await;
    let asked = pair.source.requests_since(mark).await;
    assert_eq!(asked.count_status("HEAD", Kind::Manifest, 404), 1, "asked for it by name: {asked}");
    assert_eq!(removed(&report), pairs(&[("v2", "removed")]));
    assert_eq!(report.rules().next().unwrap()["counts"]["removed"], 1);
    assert!(report.words().contains("1 tag is not at the source"), "{}", report.words());
    assert!(report.words().contains("left alone: theirs"), "{}", report.words());
    assert_eq!(pair.tags().await, ["theirs", "v1", "v3"]);
    let audit = pair.audit();
    for words in ["\"intent\"", "\"outcome\":\"deleted\"", "\"remove_extra\"", "\"rule\":\"r\""] {
        assert!(audit.contains(words), "{words}: {audit}");
    }
    assert!(audit.contains(&image("v2").digest), "{audit}");

    // Nothing is left to be done, and that costs a list.
    let mark = pair.target.mark().await;
    assert_eq!(removed(&pair.mirror.sync().await), []);
    let asked = pair.target.requests_since(mark).await;
    assert_eq!((asked.count("GET", Kind::Tags), asked.len()), (1, 1), "{asked}");

    // Who brings it back at the source gets it back at the target.
    image("v2").push(&pair.source, "app", "v2").await;
    pair.mirror.sync().await.assert_copied(1, 2);
    assert_eq!(pair.tags().await, ["theirs", "v1", "v2", "v3"]);
}

#[tokio::test]
async fn beyond_the_limit_nothing_goes() {
    let pair = Pair::mirrored(&["v1", "v2", "v3", "v4"], LIMIT).await;
    for tag in ["v1", "v2", "v3"] {
        pair.gone(tag).await;
    }
    image("v5").push(&pair.source, "app", "v5").await;
    let mark = pair.target.mark().await;
    let report = pair.mirror.report(&[], 3).await;
    // What there is to copy is copied all the same.
    report.assert_copied(1, 1);
    assert_eq!(report.0["success"], false);
    assert_eq!(report.rules().next().unwrap()["limited"], 1);
    assert!(report.words().contains("`max_delete` allows 2"), "{}", report.words());
    assert_eq!(removed(&report), []);
    assert_eq!(pair.target.requests_since(mark).await.count("DELETE", Kind::Manifest), 0);
    assert_eq!(pair.tags().await, ["v1", "v2", "v3", "v4", "v5"]);
    pair.mirror.report(&["--dry-run"], 3).await;
    assert_eq!(pair.audit(), "");
}

#[tokio::test]
async fn tags_that_others_have_moved_stay() {
    let pair = Pair::mirrored(&["v1", "v2", "v3"], LIMIT).await;
    pair.gone("v2").await;
    image("theirs").push(&pair.target, "mirror", "v2").await;
    let report = pair.mirror.sync().await;
    assert_eq!(removed(&report), []);
    assert!(report.words().contains("left alone: v2"), "{}", report.words());
    assert_eq!(pair.tags().await, ["v1", "v2", "v3"]);
}

/// What the state does not know may be anybody's.
#[tokio::test]
async fn without_a_state_nothing_goes() {
    let pair = Pair::mirrored(&["v1", "v2", "v3"], LIMIT).await;
    pair.gone("v2").await;
    std::fs::remove_dir_all(pair.mirror.state()).unwrap();
    assert_eq!(removed(&pair.mirror.sync().await), []);
    assert_eq!(pair.tags().await, ["v1", "v2", "v3"]);
}

#[tokio::test]
async fn an_image_with_a_tag_that_stays_is_kept() {
    let pair = Pair::mirrored(&["v1", "v2"], LIMIT).await;
    let (shared, bytes) = (image("v2"), image("v2").bytes.clone());
    pair.target.endpoint().put_manifest("mirror", "keep", &shared.media_type, bytes).await;
    pair.gone("v2").await;
    let report = Report::of(&pair.mirror.run(&["--output", "json"]).await);
    // Whether a single tag can be taken away is up to the registry; what is said is so.
    let [(_, outcome)] = &removed(&report)[..] else { panic!("{:#}", report.0) };
    let tags = pair.tags().await;
    assert_eq!(outcome == "removed", !tags.contains(&"v2".to_owned()), "{:#}", report.0);
    assert!(tags.contains(&"keep".to_owned()));
    assert_eq!(pair.target.endpoint().digest("mirror", "keep").await, Some(shared.digest));
}

#[tokio::test]
async fn a_source_without_tags_empties_no_mirror() {
    let pair = Pair::mirrored(&["v1", "v2"], LIMIT).await;
    pair.gone("v1").await;
    pair.gone("v2").await;
    let mark = pair.target.mark().await;
    let finished = pair.mirror.run(&["--output", "json"]).await;
    let report = Report::of(&finished);
    assert_eq!(removed(&report), []);
    assert!(report.words().contains("has no tags"), "{}", report.words());
    assert_eq!(pair.target.requests_since(mark).await.writes(), 0);
    assert_eq!(pair.tags().await, ["v1", "v2"]);
}

/// Unknown never deletes: here a manifest that nobody can read may be part of anything.
#[tokio::test]
async fn a_target_that_cannot_be_read_loses_nothing() {
    let source = DockerRegistry::start().await;
    let target = Scripted::start();
    for tag in ["v1", "v2", "v3"] {
        image(tag).push(&source, "app", tag).await;
    }
    let rule = format!(
        "source = \"{}/app\"\ntarget = \"{}/mirror\"\nremove_extra = true\n{LIMIT}",
        source.host(),
        target.host()
    );
    let mirror = Mirror::new().http(&source).http(&target).rule("r", &rule);
    mirror.sync().await.assert_copied(3, 0);
    source.endpoint().delete("app", &image("v2").digest).await;
    let denied = Fault::status(403).error("DENIED", "not this one");
    target.on("GET", Kind::Manifest).containing(&image("v3").digest).fail(denied);
    let report = mirror.fail().await;
    assert!(report.words().contains("not this one"), "{}", report.words());
    assert_eq!(report.rules().next().unwrap()["limited"], 0);
    assert_eq!(target.traffic().count("DELETE", Kind::Manifest), 0);
}

/// They are still at the source: only newer ones came.
#[tokio::test]
async fn versions_that_are_not_the_latest_any_more_stay() {
    let pair =
        Pair::mirrored(&["v1.0", "v1.1"], &format!("{LIMIT}\ntags = {{ newest = 2 }}")).await;
    image("v1.2").push(&pair.source, "app", "v1.2").await;
    pair.mirror.sync().await.assert_copied(1, 1);
    assert_eq!(pair.tags().await, ["v1.0", "v1.1", "v1.2"]);
    pair.gone("v1.0").await;
    assert_eq!(removed(&pair.mirror.sync().await), pairs(&[("v1.0", "removed")]));
}

/// Signatures go with their image.
#[tokio::test]
async fn what_belongs_to_it_goes_along() {
    let pair = Pair::mirrored(&["v1"], "max_delete = { percent = 100 }").await;
    let signed = image("signed").cosign();
    signed.push(&pair.source, "app", "signed").await;
    pair.mirror.sync().await.assert_copied(1, 1);
    assert_eq!(pair.tags().await.len(), 2 + signed.attached.len());
    pair.gone("signed").await;
    let report = pair.mirror.sync().await;
    assert_eq!(removed(&report), pairs(&[("signed", "removed")]));
    assert_eq!(pair.tags().await, ["v1"]);
}
