//! `tranship copy` between registries, layouts and archives, with skopeo as the witness.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::process::Running;
use crate::support::scripted::Fault;
use crate::support::witness::Skopeo;
use crate::support::{
    DockerRegistry, Family, Image, Kind, Place, Scripted, Tranship, assert_same, assert_same_at,
    eventually,
};

const HTTP: [&str; 2] = ["--insecure", "http"];

async fn copy(tranship: &Tranship, arguments: &[&str]) -> crate::support::process::Finished {
    tranship.run(["copy"].iter().chain(arguments).chain(&HTTP)).await
}

async fn copied(tranship: &Tranship, arguments: &[&str]) -> String {
    let finished = copy(tranship, arguments).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout
}

async fn report(tranship: &Tranship, arguments: &[&str]) -> Value {
    let finished = copy(tranship, &[arguments, &["--output", "json"]].concat()).await;
    serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"))
}

#[tokio::test]
async fn an_image_comes_with_platforms_and_referrers_and_is_not_copied_twice() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let image = Image::platforms(Family::Oci, "app", &["amd64", "arm64"])
        .refer("sbom", "application/spdx+json")
        .cosign();
    image.push(&source, "acme/app", "1.0").await;
    let tranship = Tranship::new();
    let from = format!("docker://{}", source.reference("acme/app", "1.0"));
    let to = format!("{}/mirror/app", target.host());
    let told = copied(&tranship, &[&from, &to]).await;
    assert!(told.starts_with("copied ") && told.contains(" (the target lacks it, "), "{told}");
    assert_same_at((&source, "acme/app", "1.0"), (&target, "mirror/app", "1.0")).await;
    for suffix in ["", ".sig", ".att", ".sbom"] {
        let tag = image.derived_tag(suffix);
        assert_same_at((&source, "acme/app", &tag), (&target, "mirror/app", &tag)).await;
    }
    let skopeo = Skopeo::new();
    let raw = skopeo.inspect_raw(&format!("docker://{to}:1.0")).await;
    assert_eq!(raw.as_bytes(), image.bytes);

    let mark = target.mark().await;
    let again = report(&tranship, &[&from, &to, "--no-referrers"]).await;
    assert_eq!(again["images"][0]["action"], "unchanged", "{again}");
    assert_eq!(again["counts"]["unchanged"], 1);
    assert_eq!(again["success"], true);
    let asked = target.requests_since(mark).await;
    assert_eq!(asked.count("HEAD", Kind::Manifest), 1, "{asked:?}");
    assert_eq!(asked.count("PUT", Kind::Manifest) + asked.count("POST", Kind::Upload), 0);
}

#[tokio::test]
async fn referrers_stay_behind_when_asked() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let image = Image::single(Family::Docker, "plain", &[500]).cosign();
    image.push(&source, "app", "1.0").await;
    let tranship = Tranship::new();
    let (from, to) = (source.reference("app", "1.0"), target.reference("app", "renamed"));
    copied(&tranship, &[&from, &to, "--no-referrers"]).await;
    assert_same_at((&source, "app", "1.0"), (&target, "app", "renamed")).await;
    assert_eq!(target.endpoint().tags("app").await, ["renamed"]);
}

/// Registry, layout, archive, and back to a registry: nothing changes on the way, and skopeo
/// reads each station.
#[tokio::test]
async fn images_survive_a_journey_by_disk() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    Image::platforms(Family::Oci, "app", &["amd64", "arm64"])
        .refer_twice("sbom")
        .push(&source, "app", "1.0")
        .await;
    let tranship = Tranship::new();
    copied(&tranship, &[&source.reference("app", "1.0"), "oci:layout"]).await;
    copied(&tranship, &["oci:layout", "oci-archive:app.tar"]).await;
    copied(&tranship, &["oci-archive:app.tar:1.0", &format!("{}/back", target.host())]).await;
    assert_same_at((&source, "app", "1.0"), (&target, "back", "1.0")).await;

    let (skopeo, home) = (Skopeo::new(), tranship.home().display());
    let witness = |tag: &str| format!("docker://{}", target.reference("witness", tag));
    skopeo.copy(&format!("oci:{home}/layout:1.0"), &witness("layout")).await;
    skopeo.copy(&format!("oci-archive:{home}/app.tar:1.0"), &witness("archive")).await;
    assert_same_at((&source, "app", "1.0"), (&target, "witness", "layout")).await;
    assert_same_at((&source, "app", "1.0"), (&target, "witness", "archive")).await;
}

#[tokio::test]
async fn what_skopeo_wrote_is_read() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    Image::single(Family::Oci, "app", &[3_000, 40]).push(&source, "app", "1.0").await;
    let (tranship, skopeo) = (Tranship::new(), Skopeo::new());
    let from = format!("docker://{}", source.reference("app", "1.0"));
    let home = tranship.home().display();
    skopeo.copy(&from, &format!("oci-archive:{home}/app.tar:fromarchive")).await;
    skopeo.copy(&from, &format!("oci:{home}/layout:fromlayout")).await;
    let to = format!("{}/app", target.host());
    copied(&tranship, &["oci-archive:app.tar", &to]).await;
    copied(&tranship, &["oci:layout", &to]).await;
    for tag in ["fromarchive", "fromlayout"] {
        let raw = skopeo.inspect_raw(&format!("docker://{to}:{tag}")).await;
        let read = skopeo.inspect_raw(&format!("oci:{home}/layout:fromlayout")).await;
        assert_eq!(raw, read, "{tag}");
        assert_same_at((&target, "app", tag), (&target, "app", "fromlayout")).await;
    }
}

#[tokio::test]
async fn all_tags_of_a_repository_go_to_registries_and_layouts_and_back() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let tags = ["1.0", "1.1", "2.0-rc1", "latest"];
    for tag in tags {
        Image::single(Family::Oci, tag, &[700]).cosign().push(&source, "acme/app", tag).await;
    }
    let tranship = Tranship::new();
    let from = format!("{}/acme/app", source.host());
    let done = report(&tranship, &["--all-tags", &from, "oci:all"]).await;
    assert_eq!((&done["success"], &done["counts"]["copied"]), (&true.into(), &4.into()), "{done}");
    let to = format!("{}/other/app", target.host());
    let told = copied(&tranship, &["--all-tags", "oci:all", &to]).await;
    assert!(told.lines().last().unwrap().starts_with("4 copied, 0 unchanged; "), "{told}");
    for tag in tags {
        assert_same_at((&source, "acme/app", tag), (&target, "other/app", tag)).await;
    }
    // With their signatures.
    let (there, here) =
        (source.endpoint().tags("acme/app").await, target.endpoint().tags("other/app").await);
    assert_eq!((there.len(), there), (16, here));
    let again = report(&tranship, &["--all-tags", &from, &to]).await;
    assert_eq!(again["counts"]["unchanged"], 4, "{again}");
}

#[tokio::test]
async fn one_bad_tag_does_not_stop_the_others() {
    let source = Scripted::start();
    for tag in ["a", "b", "c"] {
        Image::single(Family::Oci, tag, &[100]).load(&source, "app", tag);
    }
    source.on("GET", Kind::Manifest).containing("/manifests/b").fail(Fault::WrongBytes);
    let target = DockerRegistry::start().await;
    let tranship = Tranship::new();
    let from = format!("{}/app", source.host());
    let finished = copy(&tranship, &["--all-tags", &from, &format!("{}/app", target.host())]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("2 copied, 0 unchanged, 1 failed; "), "{finished:?}");
    assert!(finished.stderr.contains(&format!("FAILED {from}:b -> ")), "{finished:?}");
    assert_eq!(target.endpoint().tags("app").await, ["a", "c"]);
}

#[tokio::test]
async fn platforms_are_chosen_in_two_ways() {
    let source = DockerRegistry::start().await;
    let image = Image::platforms(Family::Oci, "app", &["amd64", "arm64", "s390x"]);
    image.push(&source, "app", "1.0").await;
    let tranship = Tranship::new();
    let from = source.reference("app", "1.0");
    let chosen = ["--platform", "linux/amd64", "--platform", "linux/arm64"];
    let told = copied(&tranship, &[&[&*from, "oci:small"], &chosen[..]].concat()).await;
    assert!(told.contains("note: "), "{told}");
    let sparse = [&[&*from, "oci:sparse", "--index", "sparse"], &chosen[..]].concat();
    copied(&tranship, &sparse).await;
    let read = async |layout: &str| {
        let raw = tranship.succeed(["inspect", "--raw", layout]).await.stdout;
        let blobs = tranship.home().join(layout.replace("oci:", "")).join("blobs/sha256");
        (raw, std::fs::read_dir(blobs).unwrap().count())
    };
    let (raw, blobs) = read("oci:small").await;
    let small: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(small["manifests"].as_array().unwrap().len(), 2);
    let (raw, sparse_blobs) = read("oci:sparse").await;
    assert_eq!(raw.as_bytes(), image.bytes);
    // An index, and two each of manifest, config and layer.
    assert_eq!((blobs, sparse_blobs), (7, 7));
}

/// What an earlier copy of the folder, a full disk or a hand left of a blob is not taken for it.
#[tokio::test]
async fn damaged_blobs_at_the_target_are_copied_again() {
    let source = DockerRegistry::start().await;
    let image = Image::single(Family::Oci, "app", &[4_000]);
    image.push(&source, "app", "1.0").await;
    let tranship = Tranship::new();
    let from = source.reference("app", "1.0");
    copied(&tranship, &[&from, "oci:layout"]).await;
    let folder = tranship.home().join("layout");
    let blob = image.all_blobs()[0].clone();
    let file = folder.join("blobs/sha256").join(blob.digest.strip_prefix("sha256:").unwrap());
    // In an image that is listed, a blob has its size.
    for length in [0, 7] {
        std::fs::write(&file, &blob.bytes[..length]).unwrap();
        let told = copied(&tranship, &[&from, "oci:layout"]).await;
        assert!(told.starts_with("copied "), "{told}");
        assert_eq!(std::fs::read(&file).unwrap(), blob.bytes);
    }
    // One that is found there has its content, too.
    std::fs::write(folder.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    std::fs::write(&file, vec![b'x'; blob.bytes.len()]).unwrap();
    copied(&tranship, &[&from, "oci:layout"]).await;
    assert_eq!(std::fs::read(&file).unwrap(), blob.bytes);
    let told = copied(&tranship, &[&from, "oci:layout"]).await;
    assert!(told.starts_with("unchanged "), "{told}");
}

/// Writes an archive into a pipe, as if its one blob had no end, until the reader is gone.
fn endless_archive(pipe: &Path) -> std::thread::JoinHandle<()> {
    let pipe = pipe.to_owned();
    std::thread::spawn(move || {
        let mut header = tar::Header::new_gnu();
        header.set_path(format!("blobs/sha256/{:064}", 0)).unwrap();
        header.set_size(4 << 30);
        header.set_cksum();
        let mut reader = std::fs::File::options().write(true).open(pipe).unwrap();
        let mut written = reader.write_all(header.as_bytes());
        while written.is_ok() {
            written = reader.write_all(&[7; 512]);
        }
    })
}

/// However an unpacking ends, its temporary folder does not stay: it goes at once, or when the next
/// process needs one.
#[tokio::test]
async fn what_was_unpacked_does_not_stay() {
    let tranship = Tranship::new();
    let (temporary, pipe) = (tranship.home().join("temporary"), tranship.home().join("app.tar"));
    std::fs::create_dir(&temporary).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let folders = || -> Vec<_> {
        std::fs::read_dir(&temporary).unwrap().map(|folder| folder.unwrap().path()).collect()
    };
    let begin = async || {
        let before = folders();
        let writer = endless_archive(&pipe);
        let mut command = tranship.command();
        command.args(["copy", "oci-archive:app.tar", "oci:layout"]).env("TMPDIR", &temporary);
        let process = Running::new(&mut command);
        let is_unpacking = || {
            let new = folders().into_iter().find(|folder| !before.contains(folder));
            new.filter(|folder| folder.join("blobs").exists())
        };
        eventually("a part of the blob", Duration::from_secs(30), || async { is_unpacking() })
            .await;
        (process, writer)
    };
    let (process, writer) = begin().await;
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(143), "{ended:?}");
    assert!(ended.stderr.contains("interrupted"), "{ended:?}");
    assert_eq!(folders().len(), 0, "after SIGTERM");
    writer.join().unwrap();

    let (process, writer) = begin().await;
    process.kill().await;
    writer.join().unwrap();
    let left = folders();
    assert_eq!(left.len(), 1, "a process that is killed removes nothing");
    let (process, writer) = begin().await;
    assert!(!left[0].exists(), "the next one removes it");
    process.terminate().await;
    writer.join().unwrap();
    assert_eq!(folders().len(), 0);
}

#[tokio::test]
async fn an_image_without_a_tag_stays_known_by_its_digest() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let image = Image::single(Family::Oci, "app", &[100]);
    image.push(&source, "app", "1.0").await;
    let tranship = Tranship::new();
    let from = format!("{}/app@{}", source.host(), image.digest);
    copied(&tranship, &[&from, "oci:layout"]).await;
    copied(&tranship, &["oci:layout", &format!("{}/app", target.host())]).await;
    assert_same_at((&source, "app", "1.0"), (&target, "app", &image.digest)).await;
    assert_eq!(target.endpoint().tags("app").await, [""; 0]);
    let tagged = format!("{}/app:1.0@{}", source.host(), image.digest);
    copied(&tranship, &[&tagged, &format!("{}/app", target.host())]).await;
    assert_same(&source, &target, "app", "1.0").await;
}

#[tokio::test]
async fn what_cannot_be_copied_is_told() {
    let registry = DockerRegistry::start().await;
    for tag in ["a", "b"] {
        Image::single(Family::Oci, tag, &[100]).push(&registry, "app", tag).await;
    }
    let tranship = Tranship::new();
    let host = registry.host();
    let (app, digest) = (format!("{host}/app"), format!("sha256:{}", "a".repeat(64)));
    copied(&tranship, &["--all-tags", &app, "oci:two"]).await;
    let at = |rest: &str| format!("{app}{rest}");
    let cases: [(&[&str], i32, String); 9] = [
        (
            &[&at(":none"), "oci:x"],
            1,
            format!("failed to read {app}:none: the repository has no such tag"),
        ),
        (&["oci:two", &at("")], 1, "it has several images: name one of its tags (a, b)".into()),
        (&["oci:none", "oci:y"], 1, "failed to open layout oci:none: ".into()),
        (&["oci-archive:none.tar", &at("")], 1, "failed to unpack oci-archive:none.tar: ".into()),
        (
            &["--all-tags", &format!("{host}/none"), "oci:x"],
            1,
            "there is no such repository".into(),
        ),
        (&["--all-tags", &at(":a"), "oci:x"], 2, "leave out the source's tag and digest".into()),
        (&["--all-tags", &at(""), "oci:x:a"], 2, "leave out the target's tag".into()),
        (&[&at(":a"), &at(&format!("@{digest}"))], 2, "the target cannot have a digest".into()),
        (&["dir:/tmp", "oci:x"], 2, "`dir:` is not supported".into()),
    ];
    for (arguments, code, words) in cases {
        let finished = copy(&tranship, arguments).await;
        assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:?}");
        assert!(finished.stderr.contains(&words), "{arguments:?}: {finished:?}");
    }
    // A mistyped source makes no folder for the target.
    assert!(!tranship.home().join("y").exists());
    let finished = tranship.run(["copy", &at(":a"), "oci:x"]).await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("or use --insecure http"), "{finished:?}");
    let named = format!("{host}=http");
    tranship.succeed(["copy", "--insecure", &named, &at(":a"), "oci:named"]).await;
    // A configuration that mentions the registry goes before the flag for all others.
    tranship.write("tranship.toml", format!("[registry.\"{host}\"]\n"));
    assert_eq!(copy(&tranship, &[&at(":a"), "oci:x"]).await.code, Some(1));
    tranship.write("tranship.toml", format!("[registry.\"{host}\"]\ninsecure = \"http\"\n"));
    tranship.succeed(["copy", &at(":a"), "oci:configured"]).await;
}

#[tokio::test]
async fn stopped_on_the_way_to_an_archive_it_leaves_nothing() {
    let source = Scripted::start();
    Image::single(Family::Oci, "app", &[5_000]).load(&source, "app", "1.0");
    let hung = source.on("GET", Kind::Blob).fail(Fault::Hang);
    let tranship = Tranship::new();
    let from = source.reference("app", "1.0");
    let running = tranship.start(["copy", &from, "oci-archive:app.tar", "--insecure", "http"]);
    eventually("a blob's turn", Duration::from_secs(20), || async {
        (hung.count() > 0).then_some(())
    })
    .await;
    let finished = running.terminate().await;
    assert_eq!(finished.code, Some(143), "{finished:?}");
    let words = "interrupted: 0 B sent; complete images and blobs stay at the target, and the same command sends only what is missing\n";
    assert!(finished.stderr.ends_with(words), "{finished:?}");
    assert_eq!(std::fs::read_dir(tranship.home()).unwrap().count(), 0);
}
