//! Two rules that write the same tags of one target: only one of them may.

use crate::mirror_setup::{Counts, Mirror};
use crate::support::{DockerRegistry, Family, Image, LayoutRegistry, Place};

/// Two sources with different images under the same tags, and a target.
struct Stage {
    source: DockerRegistry,
    target: DockerRegistry,
}

impl Stage {
    async fn new() -> Self {
        let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
        for repository in ["one", "two"] {
            for tag in ["1.0", "1.1"] {
                let image = Image::single(Family::Oci, &format!("{repository}{tag}"), &[200]);
                image.push(&source, repository, tag).await;
            }
        }
        Self { source, target }
    }

    fn rule(&self, repository: &str, more: &str) -> String {
        let (source, target) = (self.source.host(), self.target.host());
        format!("source = \"{source}/{repository}\"\ntarget = \"{target}/app\"\n{more}")
    }

    fn mirror(&self) -> Mirror {
        let tags = "tags = { include = [\"1.*\"] }";
        Mirror::new()
            .http(&self.source)
            .http(&self.target)
            .rule("r1", &self.rule("one", tags))
            .rule("r2", &self.rule("two", tags))
    }

    /// The digests of both tags at the target are those of a source repository.
    async fn assert_has(&self, repository: &str) {
        for tag in ["1.0", "1.1"] {
            let found = self.target.endpoint().digest("app", tag).await;
            assert!(found.is_some());
            assert_eq!(found, self.source.endpoint().digest(repository, tag).await);
        }
    }
}

#[tokio::test]
async fn the_second_of_two_rules_that_write_one_tag_fails_and_changes_nothing() {
    let stage = Stage::new().await;
    let mirror = stage.mirror();
    assert_eq!(mirror.run(&["--rule", "r1"]).await.code, Some(0));
    for arguments in [&["--rule", "r2"][..], &["--rule", "r2", "--recheck"], &[]] {
        let before = stage.target.mark().await;
        let finished = mirror.run(arguments).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let (source, target) = (stage.source.host(), stage.target.host());
        for tag in ["1.0", "1.1"] {
            let message = format!(
                "FAILED {source}/two:{tag} -> {target}/app:{tag} (two rules write this tag)"
            );
            assert!(finished.stderr.contains(&message), "{message}\n{finished:?}");
            let message = format!("rule `r1` puts another image there, from {source}/one:{tag}");
            assert!(finished.stderr.contains(&message), "{message}\n{finished:?}");
        }
        assert!(finished.stderr.contains("the rules `r1` and `r2` need different targets"));
        assert_eq!(stage.target.requests_since(before).await.writes(), 0);
        stage.assert_has("one").await;
    }
    // The owner is not disturbed.
    assert_eq!(mirror.run(&["--rule", "r1"]).await.code, Some(0));
}

#[tokio::test]
async fn verify_does_not_repair_what_another_rule_writes() {
    let stage = Stage::new().await;
    let mirror = stage.mirror();
    mirror.run(&["--rule", "r1"]).await;
    let finished = mirror.tranship.run(["verify", "--repair"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("rule `r1` puts another image there"), "{finished:?}");
    stage.assert_has("one").await;
}

#[tokio::test]
async fn a_tag_passes_to_another_rule_when_its_own_does_not_write_it_any_more() {
    let stage = Stage::new().await;
    let mut mirror = stage.mirror();
    mirror.run(&["--rule", "r1"]).await;
    // The other rule writes elsewhere, or other tags, or from elsewhere.
    let all = "tags = { include = [\"*.*\"] }";
    let elsewhere = stage.rule("one", all).replace("/app\"", "/elsewhere\"");
    let cases = [elsewhere, stage.rule("one", "tags = { include = [\"2.*\"] }")];
    for lines in cases {
        mirror.set_rule("r1", &lines);
        let report = mirror.report(&["--rule", "r2"], 0).await;
        assert_eq!(report.counts(), Counts { copied: 2, ..Counts::default() });
        stage.assert_has("two").await;
        // And back: what the first rule remembers of its own copies is not taken for the truth.
        mirror.set_rule("r1", &stage.rule("one", all));
        mirror.set_rule("r2", &stage.rule("two", "tags = { include = [\"2.*\"] }"));
        let report = mirror.report(&["--rule", "r1"], 0).await;
        assert_eq!(report.counts(), Counts { copied: 2, ..Counts::default() });
        stage.assert_has("one").await;
        mirror.set_rule("r2", &stage.rule("two", all));
    }
}

#[tokio::test]
async fn what_a_rule_of_another_configuration_wrote_is_noted_once() {
    let stage = Stage::new().await;
    let first = stage.mirror();
    first.run(&["--rule", "r1"]).await;
    // The same state, but a file in which the rule has another name.
    let mut renamed = Mirror::new().http(&stage.source).http(&stage.target);
    renamed.set_rule("new", &stage.rule("one", ""));
    renamed.tranship = first.tranship;
    let report = renamed.sync().await;
    report.assert_copied(0, 2);
    let note = format!(
        "{}/app: 2 tags were put there by rule `r1`, which is not in this configuration; rule `new` \
         writes them from now on",
        stage.target.host()
    );
    assert_eq!(report.0["rules"][0]["notes"], serde_json::json!([note]));
    assert_eq!(renamed.sync().await.0["rules"][0]["notes"], serde_json::json!([]));
}

#[tokio::test]
async fn rules_that_write_the_same_image_share_its_tag() {
    let stage = Stage::new().await;
    let mut mirror = stage.mirror();
    mirror.set_rule("r2", &stage.rule("one", ""));
    mirror.sync().await.assert_copied(2, 2);
    mirror.sync().await.assert_copied(0, 4);
    // With another choice of platforms, they are different images.
    mirror.set_rule("r2", &stage.rule("one", "platforms = [\"linux/amd64\"]"));
    let finished = mirror.run(&["--rule", "r2"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("rule `r1` puts another image there"), "{finished:?}");
    stage.assert_has("one").await;
}

#[tokio::test]
async fn remove_extra_leaves_what_another_rule_has_put_there() {
    let stage = Stage::new().await;
    let target = LayoutRegistry::start().await;
    let rule = |repository: &str, more: &str| {
        let (source, target) = (stage.source.host(), target.host());
        format!("source = \"{source}/{repository}\"\ntarget = \"{target}/app\"\n{more}")
    };
    let mut mirror = Mirror::new().http(&stage.source).http(&target);
    let all = "tags = { include = [\"*.*\"] }";
    let extra = &format!("{all}\nremove_extra = true\nmax_delete = {{ count = 100 }}");
    mirror.set_rule("r1", &rule("one", extra));
    mirror.sync().await.assert_copied(2, 0);
    // Both tags pass to the other rule, and come back to the first by name only.
    mirror.set_rule("r1", &rule("one", "tags = { include = [\"2.*\"] }"));
    mirror.set_rule("r2", &rule("two", all));
    mirror.report(&["--rule", "r2"], 0).await.assert_copied(2, 0);
    Image::single(Family::Oci, "new", &[200]).push(&stage.source, "three", "3.0").await;
    mirror.set_rule("r1", &rule("three", extra));
    mirror.report(&["--rule", "r1"], 0).await.assert_copied(1, 0);
    for tag in ["1.0", "1.1"] {
        let there = target.endpoint().digest("app", tag).await;
        assert_eq!(there, stage.source.endpoint().digest("two", tag).await);
    }
}
