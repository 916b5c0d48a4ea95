//! `[[sync]]` with layouts and archives as source and as target.

use std::path::Path;

use crate::layout_skopeo::{oci, skopeo};
use crate::mirror_setup::Mirror;
use crate::support::{DockerRegistry, Family, Image, Kind, Place, assert_same_at};

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[3_000])
}

/// A registry with two repositories of two and one tags.
async fn registry() -> DockerRegistry {
    let source = DockerRegistry::start().await;
    image("one").push(&source, "acme/app", "v1").await;
    image("two").push(&source, "acme/app", "v2").await;
    image("base").push(&source, "acme/team/base", "v1").await;
    source
}

async fn assert_in_layout(folder: &Path, tag: &str, name: &str) {
    let Some(raw) = skopeo(&["inspect", "--raw", &oci(folder, tag)]).await else { return };
    assert_eq!(raw, image(name).bytes, "{} {tag}", folder.display());
}

#[tokio::test]
async fn a_registry_goes_into_a_folder_of_layouts_and_from_there_into_a_registry() {
    let (source, target) = tokio::join!(registry(), DockerRegistry::start());
    let mut mirror = Mirror::new().http(&source).http(&target);
    // Relative paths begin at the folder of the configuration.
    mirror.set_rule(
        "down",
        &format!("source = \"{}/acme/**\"\ntarget = \"oci:mirror/{{tail}}\"", source.host()),
    );
    let folder = mirror.tranship.home().join("mirror");
    mirror.report(&["--dry-run"], 0).await;
    assert!(!folder.exists(), "a dry run makes nothing");
    mirror.sync().await.assert_copied(3, 0);
    assert_in_layout(&folder.join("app"), "v1", "one").await;
    assert_in_layout(&folder.join("app"), "v2", "two").await;
    assert_in_layout(&folder.join("team/base"), "v1", "base").await;
    // In step: no manifest and no blob is read again.
    let mark = source.mark().await;
    mirror.sync().await.assert_copied(0, 3);
    let traffic = source.requests_since(mark).await;
    assert_eq!(traffic.count("GET", Kind::Manifest), 0, "{traffic:?}");
    assert_eq!(traffic.count("GET", Kind::Blob), 0, "{traffic:?}");

    mirror.set_rule(
        "up",
        &format!("source = \"oci:mirror/**\"\ntarget = \"{}/copy/{{repository}}\"", target.host()),
    );
    let up = |report: crate::mirror_setup::Report| report.assert_copied(3, 0);
    up(mirror.report(&["--rule", "up"], 0).await);
    for (from, to, tag) in [
        ("acme/app", "copy/app", "v1"),
        ("acme/app", "copy/app", "v2"),
        ("acme/team/base", "copy/team/base", "v1"),
    ] {
        assert_same_at((&source, from, tag), (&target, to, tag)).await;
    }
    mirror.report(&["--rule", "up"], 0).await.assert_copied(0, 3);
}

/// Mirrors `acme/app` into the layout `mirror/app`.
fn into_layout(source: &impl Place) -> Mirror {
    let rule = format!("source = \"{}/acme/app\"\ntarget = \"oci:mirror/app\"", source.host());
    Mirror::new().http(source).rule("down", &rule)
}

/// Looking at a layout costs no request, so the state never hides that one is broken.
#[tokio::test]
async fn a_layout_that_was_deleted_comes_back_in_the_next_run() {
    let source = registry().await;
    let mirror = into_layout(&source);
    mirror.sync().await.assert_copied(2, 0);
    let folder = mirror.tranship.home().join("mirror/app");
    std::fs::remove_dir_all(&folder).unwrap();
    mirror.sync().await.assert_copied(2, 0);
    assert_in_layout(&folder, "v2", "two").await;
}

#[tokio::test]
async fn an_archive_keeps_what_it_has_and_is_a_source_too() {
    let (source, target) = tokio::join!(registry(), DockerRegistry::start());
    let mut mirror = Mirror::new().http(&source).http(&target);
    let rule = |tag: &str| {
        format!(
            "source = \"{}/acme/app\"\ntarget = \"oci-archive:app.tar\"\ntags = {{ include = [\"{tag}\"] }}",
            source.host()
        )
    };
    mirror.set_rule("pack", &rule("v1"));
    mirror.report(&["--dry-run"], 0).await;
    let file = mirror.tranship.home().join("app.tar");
    assert!(!file.exists(), "a dry run makes nothing");
    mirror.sync().await.assert_copied(1, 0);
    mirror.set_rule("pack", &rule("v2"));
    mirror.sync().await.assert_copied(1, 0);
    let before = std::fs::read(&file).unwrap();
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    mirror.sync().await.assert_copied(0, 1);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let now = std::fs::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(now, written, "an archive in step is not written again");

    mirror.set_rule(
        "unpack",
        &format!("source = \"oci-archive:app.tar\"\ntarget = \"{}/from/{{name}}\"", target.host()),
    );
    mirror.report(&["--rule", "unpack"], 0).await.assert_copied(2, 0);
    for tag in ["v1", "v2"] {
        assert_same_at((&source, "acme/app", tag), (&target, "from/app", tag)).await;
    }
}

#[tokio::test]
async fn what_is_gone_at_the_source_goes_from_an_archive() {
    let source = registry().await;
    let mirror = Mirror::new().http(&source).rule(
        "pack",
        &format!(
            "source = \"{}/acme/app\"\ntarget = \"oci-archive:app.tar\"\nremove_extra = true\nmax_delete = {{ percent = 100 }}",
            source.host()
        ),
    );
    mirror.sync().await.assert_copied(2, 0);
    let deleted = source.endpoint().delete("acme/app", &image("two").digest).await;
    assert_eq!(deleted, 202);
    mirror.sync().await.assert_copied(0, 1);
    let listed = mirror.tranship.run(["list-tags", "oci-archive:app.tar"]).await;
    assert_eq!(listed.stdout.trim(), "v1", "{listed:?}");
}

#[tokio::test]
async fn one_source_goes_into_a_registry_and_a_layout_and_is_read_once() {
    let (source, target) = tokio::join!(registry(), DockerRegistry::start());
    let mirror = Mirror::new().http(&source).http(&target).rule(
        "both",
        &format!(
            "source = \"{}/acme/app\"\ntarget = [\"{}/copy/app\", \"oci:mirror/app\"]",
            source.host(),
            target.host()
        ),
    );
    let mark = source.mark().await;
    mirror.sync().await.assert_copied(4, 0);
    let traffic = source.requests_since(mark).await;
    // Two images of a configuration and a layer each.
    assert_eq!(traffic.count("GET", Kind::Blob), 4, "{traffic:?}");
    assert_same_at((&source, "acme/app", "v2"), (&target, "copy/app", "v2")).await;
    assert_in_layout(&mirror.tranship.home().join("mirror/app"), "v2", "two").await;
}

#[tokio::test]
async fn a_layout_that_is_not_there_is_an_error_and_stops_no_other_rule() {
    let source = registry().await;
    let mirror = Mirror::new()
        .http(&source)
        .rule("absent", &format!("source = \"oci:absent\"\ntarget = \"{}/x/y\"", source.host()))
        .rule(
            "down",
            &format!("source = \"{}/acme/app\"\ntarget = \"oci:mirror/app\"", source.host()),
        );
    let report = mirror.fail().await;
    report.assert_copied(2, 0);
    assert!(report.words().contains("oci-layout"), "{}", report.words());
}

/// A copy of the folder that broke off, or a full disk: what is not complete is brought again, though
/// its tag is there and the state says that it was copied.
#[tokio::test]
async fn a_blob_that_was_cut_short_is_brought_again() {
    let source = registry().await;
    let mirror = into_layout(&source);
    mirror.sync().await.assert_copied(2, 0);
    let folder = mirror.tranship.home().join("mirror/app");
    for (at, blob) in image("two").all_blobs().into_iter().enumerate() {
        let file = folder.join("blobs/sha256").join(blob.digest.strip_prefix("sha256:").unwrap());
        let content = std::fs::read(&file).unwrap();
        std::fs::write(&file, &content[..content.len() * at / 2]).unwrap();
        mirror.sync().await.assert_copied(1, 1);
        assert_eq!(std::fs::read(&file).unwrap(), content);
        mirror.sync().await.assert_copied(0, 2);
    }
}
