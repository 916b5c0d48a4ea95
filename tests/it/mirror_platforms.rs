//! Rules that want some platforms only: smaller indexes, and indexes with children left out.

use serde_json::Value;

use crate::mirror_setup::{Counts, Mirror};
use crate::support::{DockerRegistry, Family, Image, Kind, LayoutRegistry, Place, assert_same};

fn rule(source: &impl Place, target: &impl Place, more: &str) -> String {
    format!("source = \"{}/app\"\ntarget = \"{}/app\"\n{more}", source.host(), target.host())
}

async fn children(place: &impl Place, tag: &str) -> Vec<String> {
    let served = place.endpoint().manifest("app", tag).await.unwrap();
    let index: Value = serde_json::from_slice(&served.bytes).unwrap();
    let list = index["manifests"].as_array().unwrap();
    list.iter().map(|child| child["digest"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn rewritten_indexes_are_deterministic_and_a_second_run_leaves_them() {
    let source = DockerRegistry::start().await;
    let (one, other) = tokio::join!(DockerRegistry::start(), LayoutRegistry::start());
    let image = Image::with_attestations("app", &["amd64", "arm64", "s390x"]);
    image.push(&source, "app", "v1").await;
    let single = Image::single(Family::Docker, "single", &[100]);
    single.push(&source, "app", "single").await;
    let wanted = "platforms = [\"linux/amd64\", \"linux/s390x\"]";
    let mut digests = Vec::new();
    for target in [&one as &dyn AnyPlace, &other] {
        let mirror = Mirror::new()
            .http(&source)
            .http(target.place())
            .rule("r", &rule(&source, target.place(), wanted));
        let report = mirror.sync().await;
        report.assert_copied(2, 0);
        let copied = report.image(":v1");
        assert_eq!(copied["source_digest"], image.digest);
        assert_ne!(copied["target_digest"], image.digest);
        let notes = copied["notes"].to_string();
        assert!(notes.contains("signatures of the whole index no longer match"), "{notes}");
        assert!(notes.contains(&image.digest), "{notes}");
        digests.push(target.place().digest("app", "v1").await.unwrap());
        assert_eq!(copied["target_digest"], digests[0].as_str());
        // amd64 and s390x, each with its attestation, whole.
        let kept: Vec<String> =
            [0, 1, 4, 5].iter().map(|at| image.children[*at].digest.clone()).collect();
        assert_eq!(children(target.place(), "v1").await, kept);
        for digest in kept {
            assert_same(&source, target.place(), "app", &digest).await;
        }
        let left = &image.children[2];
        assert_eq!(target.place().manifest("app", &left.digest).await, None);
        assert_eq!(target.place().blob("app", &left.blobs[1].digest).await, None);
        assert_same(&source, target.place(), "app", "single").await;
        mirror.sync().await.assert_copied(0, 2);
        // Also without any memory of the first run.
        std::fs::remove_dir_all(mirror.state()).unwrap();
        mirror.sync().await.assert_copied(0, 2);
    }
    assert_eq!(digests[0], digests[1]);
}

/// So that two kinds of targets can stand in one list.
trait AnyPlace {
    fn place(&self) -> &crate::support::Endpoint;
}

impl<P: Place> AnyPlace for P {
    fn place(&self) -> &crate::support::Endpoint {
        self.endpoint()
    }
}

#[tokio::test]
async fn a_moved_child_is_noticed_in_a_rewritten_index() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    Image::platforms(Family::Oci, "one", &["amd64", "arm64"]).push(&source, "app", "v1").await;
    let mirror = Mirror::new()
        .http(&source)
        .http(&target)
        .rule("r", &rule(&source, &target, "platforms = [\"linux/arm64\"]"));
    mirror.sync().await.assert_copied(1, 0);
    let moved = Image::platforms(Family::Oci, "two", &["amd64", "arm64"]);
    moved.push(&source, "app", "v1").await;
    mirror.sync().await.assert_copied(1, 0);
    assert_eq!(children(&target, "v1").await, [moved.children[1].digest.clone()]);
}

#[tokio::test]
async fn sparse_indexes_keep_their_digest_where_the_target_takes_them() {
    let source = DockerRegistry::start().await;
    let (target, strict) = tokio::join!(LayoutRegistry::start(), DockerRegistry::start());
    let image = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    image.push(&source, "app", "v1").await;
    let sparse = "platforms = [\"linux/amd64\"]\nindex = \"sparse\"";
    let mirror =
        Mirror::new().http(&source).http(&target).rule("r", &rule(&source, &target, sparse));
    let report = mirror.sync().await;
    report.assert_copied(1, 0);
    assert!(report.words().contains("sparse"), "{:#}", report.0);
    assert_eq!(target.endpoint().digest("app", "v1").await, Some(image.digest.clone()));
    assert_same(&source, &target, "app", &image.children[0].digest).await;
    assert_eq!(target.endpoint().manifest("app", &image.children[1].digest).await, None);
    mirror.sync().await.assert_copied(0, 1);

    // docker-registry wants all children: that is said, and nothing has a tag.
    let mirror =
        Mirror::new().http(&source).http(&strict).rule("r", &rule(&source, &strict, sparse));
    let report = mirror.fail().await;
    assert_eq!(report.counts(), Counts { failed: 1, ..Counts::default() });
    assert!(report.words().contains("MANIFEST_BLOB_UNKNOWN"), "{:#}", report.0);
    assert!(strict.endpoint().tags("app").await.is_empty());
}

#[tokio::test]
async fn an_index_without_any_wanted_platform_is_refused_by_name() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    Image::platforms(Family::Oci, "app", &["amd64", "arm64"]).push(&source, "app", "v1").await;
    let mark = source.mark().await;
    let mirror = Mirror::new()
        .http(&source)
        .http(&target)
        .rule("r", &rule(&source, &target, "platforms = [\"linux/riscv64\"]"));
    let report = mirror.fail().await;
    let words = report.words();
    assert!(words.contains("only linux/amd64, linux/arm64"), "{words}");
    assert_eq!(source.requests_since(mark).await.count("GET", Kind::Blob), 0);
    assert!(target.endpoint().tags("app").await.is_empty());
}

/// What was put under other options is ours, so another choice is no conflict; and what the
/// target has is not taken for what is wanted now, also where the digest is the same.
#[tokio::test]
async fn another_choice_of_platforms_is_carried_out_and_is_no_conflict() {
    let (source, target) = tokio::join!(LayoutRegistry::start(), LayoutRegistry::start());
    let image = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    image.push(&source, "app", "v1").await;
    let single = Image::single(Family::Oci, "single", &[100]);
    single.push(&source, "app", "single").await;
    let keep = "on_conflict = \"keep\"";
    let amd64 = format!("{keep}\nplatforms = [\"linux/amd64\"]");
    let all = rule(&source, &target, keep);
    let mut mirror = Mirror::new().http(&source).http(&target).rule("r", &all);
    mirror.sync().await.assert_copied(2, 0);

    mirror.set_rule("r", &rule(&source, &target, &amd64));
    mirror.sync().await.assert_copied(1, 1);
    assert_eq!(children(&target, "v1").await, [image.children[0].digest.clone()]);
    mirror.sync().await.assert_copied(0, 2);

    mirror.set_rule("r", &all);
    mirror.sync().await.assert_copied(1, 1);
    assert_eq!(target.endpoint().digest("app", "v1").await.unwrap(), image.digest);

    // A sparse index keeps its digest: only the children tell.
    let other = LayoutRegistry::start().await;
    let sparse = format!("{amd64}\nindex = \"sparse\"");
    let mut mirror =
        Mirror::new().http(&source).http(&other).rule("r", &rule(&source, &other, &sparse));
    mirror.sync().await.assert_copied(2, 0);
    let arm64 = &image.children[1].digest;
    assert_eq!(other.endpoint().manifest("app", arm64).await, None);
    mirror.set_rule("r", &rule(&source, &other, keep));
    mirror.sync().await.assert_copied(1, 1);
    assert_same(&source, &other, "app", "v1").await;
    mirror.sync().await.assert_copied(0, 2);
}
