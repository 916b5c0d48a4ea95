//! `tranship verify`: everything that can be missing or different at the target is found.

use std::path::PathBuf;

use serde_json::Value;

use crate::mirror_setup::Mirror;
use crate::support::process::Finished;
use crate::support::{DockerRegistry, Family, Image, LayoutRegistry, Place};

pub const SIGNATURE: &str = "application/vnd.example.signature";

/// A source, a target that was filled by a pass of the rules, and what was put there.
pub struct Pair {
    pub source: LayoutRegistry,
    pub target: LayoutRegistry,
    pub mirror: Mirror,
    /// `app:v1`: an index with a signature, cosign's tags, and another that shares its layers.
    pub signed: Image,
    /// `app:v2`
    pub single: Image,
}

impl Pair {
    /// `more`: further lines of the rule.
    pub async fn mirrored(more: &str) -> Self {
        let (source, target) = (LayoutRegistry::start().await, LayoutRegistry::start().await);
        let signed = Image::with_attestations("app", &["amd64", "arm64"])
            .refer("signature", SIGNATURE)
            .cosign();
        let single = Image::single(Family::Docker, "single", &[300, 5_000]);
        signed.push(&source, "app", "v1").await;
        single.push(&source, "app", "v2").await;
        let rule = format!(
            "source = \"{}/app\"\ntarget = \"{}/mirror/app\"\n{more}",
            source.host(),
            target.host()
        );
        let mirror = Mirror::new().http(&source).http(&target).rule("r", &rule);
        mirror.sync().await.assert_copied(2, 0);
        Self { source, target, mirror, signed, single }
    }

    /// The file that holds a blob of the target.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.target.folder().join("mirror/app/blobs/sha256").join(hex)
    }

    /// Damages a blob of the target without changing its size.
    pub fn flip(&self, digest: &str) {
        let file = self.blob_file(digest);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[0] ^= 1;
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, bytes).unwrap();
    }

    /// Runs `tranship verify` with these arguments, which must end with this code.
    pub async fn verify(&self, arguments: &[&str], code: i32) -> Verified {
        let all = [&["verify", "--output", "json"], arguments].concat();
        Verified::of(self.mirror.tranship.run(all).await, code)
    }
}

/// The document that `--output json` prints.
pub struct Verified(pub Value);

impl Verified {
    pub fn of(finished: Finished, code: i32) -> Self {
        assert_eq!(finished.code, Some(code), "{finished:?}");
        let document: Value = serde_json::from_str(&finished.stdout).unwrap();
        assert_eq!(document["success"], code == 0);
        Self(document)
    }

    pub fn image(&self, target: &str) -> &Value {
        let images = self.0["images"].as_array().unwrap();
        let found = images.iter().find(|image| image["target"].as_str().unwrap().ends_with(target));
        found.unwrap_or_else(|| panic!("no image {target}: {:#}", self.0))
    }

    /// Kinds and subjects of an image's problems.
    pub fn problems(&self, target: &str) -> Vec<(String, String)> {
        let problems = self.image(target)["problems"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        problems.iter().map(|problem| (text(&problem["kind"]), text(&problem["subject"]))).collect()
    }

    /// Panics unless the image has exactly this problem, with something whose name ends so.
    pub fn assert_problem(&self, target: &str, kind: &str, subject: &str) {
        let problems = self.problems(target);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].0, kind, "{problems:?}");
        assert!(problems[0].1.ends_with(subject), "{problems:?}");
        assert_eq!(self.image(target)["outcome"], "different");
    }
}

#[tokio::test]
async fn equal_sides_are_equal_and_nothing_is_written() {
    let pair = Pair::mirrored("").await;
    let (source_mark, target_mark) = (pair.source.mark(), pair.target.mark());
    let verified = pair.verify(&[], 0).await;
    let traffic = pair.target.requests_since(target_mark);
    assert_eq!(traffic.writes() + pair.source.requests_since(source_mark).writes(), 0);
    assert_eq!(traffic.count("GET", crate::support::Kind::Blob), 0);
    assert_eq!(verified.0["counts"]["equal"], 2);
    let image = verified.image("/mirror/app:v1");
    assert_eq!(image["source_digest"], pair.signed.digest.as_str());
    // The index, two platforms and their attestations; the signature; three of cosign's.
    assert_eq!((&image["manifests"], &image["referrers"]), (&9.into(), &4.into()));
    assert_eq!(verified.0["checked"]["manifests"], 10);
    let sizes = pair.signed.blob_bytes() + pair.single.blob_bytes();
    assert!(verified.0["checked"]["bytes"].as_u64().unwrap() > sizes);
    assert_eq!(verified.0["checked"]["bytes_read"], 0);
    // In words; with every blob read once, though images share some.
    let finished = pair.mirror.tranship.succeed(["verify", "--read"]).await;
    assert!(finished.stdout.starts_with("2 of 2 images equal; "), "{finished:?}");
    let read = pair.target.requests_since(target_mark);
    let mut blobs: Vec<&str> =
        read.of("GET", crate::support::Kind::Blob).map(|seen| seen.path.as_str()).collect();
    let all = blobs.len();
    blobs.sort_unstable();
    blobs.dedup();
    assert!(all > 0 && all == blobs.len(), "{read}");
}

#[tokio::test]
async fn a_missing_blob() {
    let pair = Pair::mirrored("").await;
    let blob = &pair.single.blobs[2];
    std::fs::remove_file(pair.blob_file(&blob.digest)).unwrap();
    let verified = pair.verify(&[], 1).await;
    verified.assert_problem("/mirror/app:v2", "blob_missing", &blob.digest);
    assert_eq!(verified.image(":v1")["outcome"], "equal");
    let finished = pair.mirror.tranship.run(["verify"]).await;
    assert!(finished.stdout.contains("DIFFERENT"), "{finished:?}");
    let next = "hint: the same command with --repair copies what is missing or different\n";
    assert!(finished.stderr.ends_with(next), "{finished:?}");
    assert!(finished.stdout.contains("the blob is missing (5000 bytes)"), "{finished:?}");
    assert!(finished.stdout.contains("1 of 2 images equal, 1 different"), "{finished:?}");
}

#[tokio::test]
async fn a_blob_that_a_registry_has_lost() {
    let (source, mut target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let image = Image::single(Family::Oci, "app", &[2_000]);
    image.push(&source, "app", "v1").await;
    image.push(&target, "app", "v1").await;
    let references = [source.reference("app", "v1"), target.reference("app", "v1")];
    let tranship = crate::support::Tranship::new();
    let arguments =
        ["verify", "--insecure", "http", "--output", "json", &references[0], &references[1]];
    Verified::of(tranship.run(arguments).await, 0);
    let lost = &image.blobs[1].digest;
    std::fs::remove_file(target.blob_file(lost)).unwrap();
    // It remembers what it has for as long as it runs.
    target.restart().await;
    Verified::of(tranship.run(arguments).await, 1).assert_problem("app:v1", "blob_missing", lost);
}

#[tokio::test]
async fn wrong_bytes_show_when_they_are_read() {
    let pair = Pair::mirrored("").await;
    let layer = &pair.single.blobs[1].digest;
    pair.flip(layer);
    pair.verify(&[], 0).await;
    let verified = pair.verify(&["--read"], 1).await;
    verified.assert_problem("/mirror/app:v2", "blob_bytes", layer);
    let hint = verified.image(":v2")["problems"][0]["hint"].as_str().unwrap();
    assert!(hint.contains("an upload does not replace it"), "{hint}");
    std::fs::write(pair.blob_file(layer), "short").unwrap();
    let verified = pair.verify(&[], 1).await;
    verified.assert_problem("/mirror/app:v2", "blob_size", layer);
}

#[tokio::test]
async fn a_missing_child_and_one_with_wrong_bytes() {
    let pair = Pair::mirrored("").await;
    let [child, other] = [&pair.signed.children[0].digest, &pair.signed.children[2].digest];
    std::fs::remove_file(pair.blob_file(child)).unwrap();
    pair.verify(&[], 1).await.assert_problem(":v1", "manifest_missing", child);
    pair.flip(other);
    let mut found = pair.verify(&[], 1).await.problems(":v1");
    found.sort();
    let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
    // The server finds out by itself, and does not serve such a manifest.
    assert!(matches!(kinds[..], ["manifest_differs" | "manifest_missing", ..]), "{found:?}");
    assert_eq!(kinds.len(), 2, "{found:?}");
}

#[tokio::test]
async fn a_missing_signature_and_a_missing_tag_of_cosign() {
    let pair = Pair::mirrored("").await;
    let endpoint = pair.target.endpoint();
    let signature = &pair.signed.referrers[0].digest;
    assert_eq!(endpoint.delete("mirror/app", signature).await, 202);
    pair.verify(&[], 1).await.assert_problem(":v1", "referrer_missing", signature);
    let (tag, other) = (pair.signed.derived_tag(".sig"), pair.signed.derived_tag(".att"));
    assert_eq!(endpoint.delete("mirror/app", &tag).await, 202);
    pair.single.push(&pair.target, "mirror/app", &other).await;
    let found = pair.verify(&[], 1).await.problems(":v1");
    let kinds = |wanted: &str| found.iter().filter(|(kind, _)| kind == wanted).count();
    assert_eq!((kinds("referrer_missing"), kinds("referrer_differs")), (2, 1), "{found:?}");
    // A rule that leaves them behind does not miss them.
    let mut pair = pair;
    let rule = format!(
        "source = \"{}/app\"\ntarget = \"{}/mirror/app\"\nreferrers = false",
        pair.source.host(),
        pair.target.host()
    );
    pair.mirror.set_rule("r", &rule);
    pair.mirror.configure();
    pair.verify(&[], 0).await;
}

#[tokio::test]
async fn a_moved_and_a_missing_tag() {
    let pair = Pair::mirrored("").await;
    let endpoint = pair.target.endpoint();
    pair.single.push(&pair.target, "mirror/app", "v1").await;
    assert_eq!(endpoint.delete("mirror/app", "v2").await, 202);
    let verified = pair.verify(&[], 1).await;
    verified.assert_problem(":v1", "image_differs", ":v1");
    let message = verified.image(":v1")["problems"][0]["message"].as_str().unwrap();
    assert!(message.contains(&pair.single.digest) && message.contains(&pair.signed.digest));
    verified.assert_problem(":v2", "image_missing", ":v2");
    assert_eq!(verified.0["counts"]["different"], 2);
}

#[tokio::test]
async fn platforms_that_a_rule_leaves_out_are_not_missed() {
    for index in ["rewrite", "sparse"] {
        let more = format!("platforms = [\"linux/amd64\"]\nindex = \"{index}\"");
        let pair = Pair::mirrored(&more).await;
        let verified = pair.verify(&["--read"], 0).await;
        let image = verified.image(":v1");
        let rewritten = image["expected_digest"] != image["source_digest"];
        assert_eq!(rewritten, index == "rewrite");
        // The index, the platform and its attestation, and what refers to the index.
        let child = &pair.signed.children[0];
        std::fs::remove_file(pair.blob_file(&child.blobs[1].digest)).unwrap();
        let verified = pair.verify(&[], 1).await;
        verified.assert_problem(":v1", "blob_missing", &child.blobs[1].digest);
    }
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_no_difference() {
    let mut pair = Pair::mirrored("").await;
    let rule = format!(
        "source = \"{}/app\"\ntarget = \"{}/mirror/app\"\ntags = {{ include = [\"v1\", \"gone\"] }}",
        pair.source.host(),
        pair.target.host()
    );
    pair.mirror.set_rule("r", &rule);
    pair.mirror.configure();
    let verified = pair.verify(&["--repair"], 1).await;
    assert_eq!(verified.0["counts"]["equal"], 1);
    assert_eq!(verified.image(":gone")["outcome"], "failed");
    assert_eq!(verified.problems(":gone")[0].0, "unreadable");
}
