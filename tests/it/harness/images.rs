//! The images: all of them are taken by a real registry, and comparison sees every difference.

use crate::support::images::{Blob, schema1};
use crate::support::{DockerRegistry, Family, Image, Place, Scripted, assert_same};

fn all() -> Vec<(&'static str, Image)> {
    vec![
        ("single-oci", Image::single(Family::Oci, "a", &[10, 2_000])),
        ("single-docker", Image::single(Family::Docker, "b", &[10, 2_000])),
        ("list", Image::platforms(Family::Docker, "c", &["amd64", "arm64"])),
        ("buildkit", Image::with_attestations("d", &["amd64", "arm64"])),
        ("nested", Image::nested_index("e")),
        ("empty", Image::empty_index()),
        ("artifact", Image::artifact("f", "application/vnd.example.thing")),
        ("helm", Image::helm("g")),
        ("wasm", Image::wasm("h")),
        ("zstd", Image::zstd("i")),
        ("repeated", Image::repeated_layer("j")),
        ("foreign", Image::foreign_layer("k", "https://layers.example.com/k")),
        ("referred", Image::single(Family::Oci, "l", &[20]).refer("sbom", "application/spdx+json")),
        ("referred-twice", Image::single(Family::Oci, "m", &[20]).refer_twice("sbom")),
        ("cosign", Image::single(Family::Oci, "n", &[20]).cosign()),
    ]
}

#[tokio::test]
async fn every_image_can_be_pushed_and_compared() {
    let real = DockerRegistry::new().foreign_layers().run().await;
    let (scripted, loaded) = (Scripted::start(), Scripted::start());
    for (tag, image) in all() {
        image.push(&real, "odd", tag).await;
        image.push(&scripted, "odd", tag).await;
        image.load(&loaded, "odd", tag);
        let walked = assert_same(&real, &scripted, "odd", tag).await;
        assert_eq!(walked, assert_same(&scripted, &loaded, "odd", tag).await);
        assert_eq!(walked.blob_bytes, image.blob_bytes(), "{tag}");
        assert_eq!(real.endpoint().digest("odd", tag).await.unwrap(), image.digest);
    }
    scripted.assert_tags_complete();
    // Where there is no referrers API, the fallback tags are; where there is, they are not.
    let derived = |tags: Vec<String>| tags.iter().filter(|tag| tag.starts_with("sha256-")).count();
    assert_eq!(derived(real.endpoint().tags("odd").await), 3 + 3);
    assert_eq!(derived(scripted.endpoint().tags("odd").await), 3);
}

#[test]
fn images_are_the_same_every_time() {
    for ((tag, one), (_, other)) in all().into_iter().zip(all()) {
        assert_eq!(one, other, "{tag}");
    }
    assert_ne!(Blob::noise("x", "one", 100).bytes, Blob::noise("x", "other", 100).bytes);
    let digest = &Image::single(Family::Oci, "app", &[1_000]).digest;
    assert_eq!(digest, DIGEST, "another content than on the day this was written");
}

/// Of the image named "app" with one layer of 1,000 bytes.
const DIGEST: &str = "sha256:a6714561079187b18de4527741781a5832606e365b04f66f1e73bf40a9cd7696";

#[tokio::test]
#[should_panic(expected = "differ")]
async fn another_manifest_is_noticed() {
    let (one, other) = (Scripted::start(), Scripted::start());
    Image::single(Family::Oci, "a", &[10]).load(&one, "r", "v1");
    Image::single(Family::Oci, "b", &[10]).load(&other, "r", "v1");
    assert_same(&one, &other, "r", "v1").await;
}

#[tokio::test]
#[should_panic(expected = "has other bytes")]
async fn a_damaged_blob_is_noticed() {
    let (one, other) = (Scripted::start(), Scripted::start());
    let image = Image::single(Family::Oci, "a", &[10]);
    image.load(&one, "r", "v1");
    image.load(&other, "r", "v1");
    other.insert_blob("r", &image.blobs[1].digest, "damaged".into());
    assert_same(&one, &other, "r", "v1").await;
}

#[tokio::test]
#[should_panic(expected = "lacked blob")]
async fn a_tag_before_its_content_is_noticed() {
    let registry = Scripted::start();
    registry.quirks(|quirks| quirks.requires_parts = false);
    let image = Image::single(Family::Oci, "a", &[10]);
    registry.endpoint().put_manifest("r", "v1", &image.media_type, image.bytes.clone()).await;
    image.push(&registry, "r", "v1").await;
    registry.assert_tags_complete();
}

#[tokio::test]
async fn schema1_is_served_as_it_is() {
    let registry = Scripted::start();
    let (media_type, bytes) = schema1("old");
    registry.insert_manifest("r", Some("old"), media_type, bytes.clone());
    let served = registry.endpoint().manifest("r", "old").await.unwrap();
    assert_eq!((served.media_type.as_str(), served.bytes), (media_type, bytes));
}
