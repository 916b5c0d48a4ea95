//! What a layout says of its entries to those who decide about all of them.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{image, layout, put, tag};
use crate::layout::Listed;
use crate::oci::{Digest, media_type};
use crate::repository::{Placement, Repository};

#[tokio::test]
async fn every_entry_is_told() {
    let (_root, layout) = layout().await;
    let one = image(&layout, "one", None).await;
    put(&layout, "a", &one).await;
    put(&layout, "b", &one).await;
    let other = image(&layout, "other", None).await;
    layout.put_manifest(&Placement::Digest, &other).await.unwrap();
    let media_type = Some(media_type::OCI_MANIFEST.to_owned());
    let expected = [(&one, Some("a")), (&one, Some("b")), (&other, None)].map(|(image, name)| {
        let (digest, tag) = (image.digest.clone(), name.map(tag));
        Listed::Manifest { digest, tag, media_type: media_type.clone() }
    });
    assert_eq!(layout.listed().await.unwrap(), expected);
}

#[tokio::test]
async fn what_is_not_understood_is_told_too() {
    let (_root, layout) = layout().await;
    let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
    let named = |digest: &Digest, name: serde_json::Value| json!({ "digest": digest, "annotations": { "org.opencontainers.image.ref.name": name } });
    let cases = [
        (json!(null), "it has no digest"),
        (json!({ "digest": 7 }), "it has no digest"),
        (json!({ "digest": "blake3:00" }), "`blake3` is not supported"),
        (json!({ "digest": "sha256:00" }), "is not a digest"),
        (json!({ "digest": one, "mediaType": 1 }), "its `mediaType` is no text"),
        (named(&one, json!(1)), "ref.name` is no text"),
        (named(&one, json!("localhost:5000/app")), "`localhost:5000/app` has no tag"),
        (named(&one, json!("v1")), ""),
        (named(&one, json!("docker.io/library/app:v1")), ""),
        (named(&other, json!("docker.io/library/app:v1")), "the tag `v1` names two manifests"),
        (json!({ "digest": other }), ""),
    ];
    let entries: Vec<_> = cases.iter().map(|(entry, _)| entry).collect();
    let index = json!({ "schemaVersion": 2, "manifests": entries });
    fs::write(layout.folder().join("index.json"), index.to_string()).unwrap();
    let listed = layout.listed().await.unwrap();
    assert_eq!(listed.len(), cases.len());
    for (listed, (entry, expected)) in listed.iter().zip(&cases) {
        match listed {
            Listed::NotUnderstood(why) => {
                assert!(!expected.is_empty() && why.contains(expected), "{entry}: {why}");
            }
            Listed::Manifest { .. } => assert_eq!(*expected, "", "{entry}"),
        }
    }
}

#[tokio::test]
async fn a_manifest_has_the_time_of_its_file() {
    let (_root, layout) = layout().await;
    let one = image(&layout, "one", None).await;
    assert_eq!(layout.written(&one.digest).await.unwrap(), None);
    put(&layout, "t", &one).await;
    let written = layout.written(&one.digest).await.unwrap().unwrap();
    let age = Timestamp::now().duration_since(written);
    assert!(age.unsigned_abs() < Duration::from_secs(60), "{age}");
}
