//! What a layout tells of its manifests to those who decide about all of them.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{image, layout, put, with_image};
use crate::oci::Digest;
use crate::repository::{Placement, Repository};

#[tokio::test]
async fn manifests_without_a_tag_are_listed() {
    let (_root, layout, one) = with_image("one", "a").await;
    put(&layout, "b", &one).await;
    let other = image(&layout, "other", None).await;
    layout.put_manifest(&Placement::Digest, &other).await.unwrap();
    assert_eq!(layout.untagged().await.unwrap(), [other.digest]);
    let mut tags: Vec<_> = layout.tags().await.unwrap().unwrap();
    tags.sort_unstable();
    assert_eq!(tags, ["a", "b"].map(super::tag));
}

#[tokio::test]
async fn an_entry_that_is_not_understood_is_an_error() {
    let (_root, layout) = layout().await;
    let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
    let named = |digest: &Digest, name: serde_json::Value| json!({ "digest": digest, "annotations": { "org.opencontainers.image.ref.name": name } });
    let cases = [
        (json!(null), "it has no digest"),
        (json!({ "digest": 7 }), "it has no digest"),
        (json!({ "digest": "blake3:00" }), "`blake3` is not supported"),
        (json!({ "digest": "sha256:00" }), "is not a digest"),
        (json!({ "digest": one, "mediaType": 1 }), "its `mediaType` is not a string"),
        (named(&one, json!(1)), "ref.name` is not a string"),
        (named(&one, json!("localhost:5000/app")), "`localhost:5000/app` has no tag"),
        (named(&one, json!("v1")), ""),
        (named(&one, json!("docker.io/library/app:v1")), ""),
        (named(&other, json!("docker.io/library/app:v1")), "the tag `v1` names two manifests"),
        (json!({ "digest": other }), ""),
    ];
    let understood: Vec<&Value> =
        cases.iter().filter(|(_, why)| why.is_empty()).map(|(entry, _)| entry).collect();
    let listed = async |more: &[&Value]| {
        let entries = [&understood[..], more].concat();
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        fs::write(layout.folder().join("index.json"), index.to_string()).unwrap();
        layout.untagged().await
    };
    assert_eq!(listed(&[]).await.unwrap(), std::slice::from_ref(&other));
    for (entry, expected) in cases.iter().filter(|(_, why)| !why.is_empty()) {
        let error = listed(&[entry]).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{entry}: {error}");
    }
}

#[tokio::test]
async fn a_manifest_has_the_time_of_its_file() {
    let (_root, layout) = layout().await;
    let one = image(&layout, "one", None).await;
    assert_eq!(layout.pushed_at(&one.digest).await.unwrap(), None);
    put(&layout, "t", &one).await;
    let written = layout.pushed_at(&one.digest).await.unwrap().unwrap();
    let age = Timestamp::now().duration_since(written);
    assert!(age.unsigned_abs() < Duration::from_secs(60), "{age}");
}
