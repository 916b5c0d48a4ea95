//! The commands that only look: inspect, list-tags, list-repos, manifest-digest.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::process::{Finished, Running};
use crate::support::{DockerRegistry, Family, Image, Kind, Place, Scripted, Tranship};

const HTTP: [&str; 2] = ["--insecure", "http"];

async fn run(tranship: &Tranship, arguments: &[&str]) -> Finished {
    tranship.run(arguments.iter().chain(&HTTP)).await
}

async fn text(tranship: &Tranship, arguments: &[&str]) -> String {
    let finished = run(tranship, arguments).await;
    assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
    finished.stdout
}

async fn document(tranship: &Tranship, arguments: &[&str]) -> Value {
    let text = text(tranship, &[arguments, &["--output", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn an_image_is_described() {
    let registry = DockerRegistry::start().await;
    let image = Image::single(Family::Oci, "app", &[3_000, 10]);
    image.push(&registry, "acme/app", "1.0").await;
    let tranship = Tranship::new();
    let name = registry.reference("acme/app", "1.0");
    assert_eq!(text(&tranship, &["inspect", "--raw", &name]).await.as_bytes(), image.bytes);
    let layer = |at: usize| {
        let blob = &image.blobs[at];
        json!({ "digest": blob.digest, "media_type": blob.media_type, "size": blob.bytes.len() })
    };
    let mut config = layer(0);
    config["platform"] = "linux/amd64".into();
    config["labels"] = json!({ "name": "app" });
    let expected = json!({
        "repository": format!("{}/acme/app", registry.host()), "tag": "1.0",
        "digest": image.digest, "media_type": image.media_type, "size": image.bytes.len(),
        "artifact_type": "application/vnd.oci.image.config.v1+json", "annotations": {},
        "config": config, "layers": [layer(1), layer(2)],
    });
    assert_eq!(document(&tranship, &["inspect", &name]).await, expected);
    let told = text(&tranship, &["inspect", &name]).await;
    for line in [
        format!("name:       {name}"),
        format!("digest:     {}", image.digest),
        "platform:   linux/amd64".to_owned(),
        "  name=app".to_owned(),
        format!("  {} 2.9 KiB", image.blobs[1].digest),
        "in all:     2.9 KiB".to_owned(),
    ] {
        assert!(told.lines().any(|told| told == line), "{line}\n{told}");
    }
}

#[tokio::test]
async fn an_index_is_described_with_what_refers_to_it() {
    let registry = DockerRegistry::start().await;
    let image = Image::with_attestations("app", &["amd64", "arm64"]).refer_twice("sbom").cosign();
    image.push(&registry, "app", "latest").await;
    let tranship = Tranship::new();
    let app = format!("{}/app", registry.host());
    let mark = registry.mark().await;
    let shown = document(&tranship, &["inspect", &app]).await;
    let asked = registry.requests_since(mark).await;
    assert_eq!(asked.count("GET", Kind::Manifest), 1, "{asked:?}");
    assert_eq!(shown["tag"], "latest");
    let platforms = shown["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 4);
    assert_eq!(platforms[0]["platform"], "linux/amd64");
    assert_eq!(platforms[0]["digest"], image.children[0].digest);
    assert!(platforms.iter().any(|child| child["attests"] == image.children[0].digest));
    assert_eq!(shown.get("referrers"), None);

    let shown = document(&tranship, &["inspect", "--referrers", &app]).await;
    let referrers = shown["referrers"].as_array().unwrap();
    assert_eq!(referrers.len(), 5, "{referrers:?}");
    let sbom = referrers.iter().find(|r| r["artifact_type"] == "application/spdx+json").unwrap();
    assert_eq!(sbom["subject"], image.digest);
    let of_sbom = referrers.iter().find(|r| r["subject"] == sbom["digest"]).unwrap();
    assert_eq!(of_sbom["artifact_type"], "application/vnd.example.signature");
    assert!(referrers.iter().any(|r| r["tag"] == image.derived_tag(".sig")));
    let told = text(&tranship, &["inspect", "--referrers", &app]).await;
    assert!(told.contains(&format!("{} linux/arm64", image.children[2].digest)), "{told}");
    assert!(told.contains(&format!("({})", image.derived_tag(".att"))), "{told}");
}

#[tokio::test]
async fn labels_do_not_command_the_terminal() {
    use crate::support::Blob;
    let registry = Scripted::start();
    let config = json!({
        "created": "2026-01-01T00:00:00Z", "os": "linux", "architecture": "arm", "variant": "v7",
        "config": { "Labels": { "evil": "\u{1b}[2J\nname: other" } },
    });
    let config = Blob::new("application/vnd.oci.image.config.v1+json", config.to_string());
    Image::of_blobs(Family::Oci, config, Vec::new()).load(&registry, "app", "1");
    let tranship = Tranship::new();
    let told = text(&tranship, &["inspect", &registry.reference("app", "1")]).await;
    assert!(told.contains("  evil=\u{fffd}[2J\u{fffd}name: other\n"), "{told:?}");
    assert!(told.contains("created:    2026-01-01T00:00:00Z\n"), "{told:?}");
    assert!(told.contains("platform:   linux/arm/v7\n"), "{told:?}");
}

#[tokio::test]
async fn tags_are_listed_without_those_that_follow_an_image() {
    let registry = DockerRegistry::start().await;
    Image::single(Family::Oci, "app", &[10]).cosign().push(&registry, "app", "b").await;
    Image::single(Family::Oci, "app", &[10]).push(&registry, "app", "a").await;
    let tranship = Tranship::new();
    let app = format!("{}/app", registry.host());
    assert_eq!(text(&tranship, &["list-tags", &app]).await, "a\nb\n");
    assert_eq!(text(&tranship, &["list-tags", "--all", &app]).await.lines().count(), 5);
    let shown = document(&tranship, &["list-tags", &app]).await;
    assert_eq!(shown, json!({ "repository": app, "tags": ["a", "b"], "hidden": 3 }));
    text(&tranship, &["copy", "--all-tags", &app, "oci:layout"]).await;
    assert_eq!(text(&tranship, &["list-tags", "oci:layout"]).await, "a\nb\n");
    let missing = run(&tranship, &["list-tags", &format!("{app}/none")]).await;
    let expected = format!(
        "error: failed to list tags of {app}/none: there is no such repository\nhint: check the name, and that these credentials may see the repository\n"
    );
    assert_eq!((missing.code, missing.stderr), (Some(1), expected));
    let image = run(&tranship, &["list-tags", &format!("{app}:a")]).await;
    assert_eq!(image.code, Some(2), "{image:?}");
}

#[tokio::test]
async fn repositories_are_listed_by_prefix_and_pattern() {
    let registry = DockerRegistry::start().await;
    for name in ["acme/web", "acme/web/base", "acme/db", "acmex/web", "solo"] {
        Image::single(Family::Oci, "app", &[10]).push(&registry, name, "1").await;
    }
    let tranship = Tranship::new();
    let host = registry.host();
    let cases: [(&str, &[&str]); 4] = [
        ("", &["acme/db", "acme/web", "acme/web/base", "acmex/web", "solo"]),
        ("/acme", &["acme/db", "acme/web", "acme/web/base"]),
        ("/*/web", &["acme/web", "acmex/web"]),
        ("/none", &[]),
    ];
    for (filter, expected) in cases {
        let shown = document(&tranship, &["list-repos", &format!("{host}{filter}")]).await;
        assert_eq!(shown, json!({ "registry": host, "repositories": expected }), "{filter}");
    }
    let told = text(&tranship, &["list-repos", &format!("{host}/solo")]).await;
    assert_eq!(told, format!("{host}/solo\n"));
}

#[tokio::test]
async fn digests_are_those_of_the_bytes() {
    let registry = DockerRegistry::start().await;
    let image = Image::single(Family::Oci, "app", &[10]);
    image.push(&registry, "app", "1").await;
    let tranship = Tranship::new();
    tranship.write("manifest.json", &image.bytes);
    let expected = format!("{}\n", image.digest);
    assert_eq!(text(&tranship, &["manifest-digest", "manifest.json"]).await, expected);
    let name = registry.reference("app", "1");
    let mark = registry.mark().await;
    assert_eq!(text(&tranship, &["manifest-digest", &name]).await, expected);
    let asked = registry.requests_since(mark).await;
    assert_eq!((asked.count("HEAD", Kind::Manifest), asked.count("GET", Kind::Manifest)), (1, 0));

    let mut command = tranship.command();
    command.args(["manifest-digest", "-", "--output", "json"]).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&image.bytes).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown, json!({ "manifest": "-", "digest": image.digest }));

    // A mistyped file name does not lead to a registry.
    let finished = Running::new(tranship.command().args(["manifest-digest", "./none.json"]));
    let finished = finished.finish().await;
    assert_eq!(finished.code, Some(2));
    assert_eq!(
        finished.stderr,
        "error: there is no file `./none.json`\nhint: a reference needs its host here, or docker:// in front\n"
    );
}
