//! Layouts are cleaned up, too: manifests without a tag are listed, single tags go, and what no
//! image has any more leaves the disk.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::{Value, json};
use tranship::layout::Layout;
use tranship::repository::Repository;

use crate::cleanup_apply::{PR, applied, image, outcomes};
use crate::support::witness::Skopeo;
use crate::support::{Family, Image, Place, Scripted, Tranship};

/// Makes every image in a layout look so old. For the collection of garbage, the files are young.
fn age(folder: &Path, age: Duration) {
    for entry in std::fs::read_dir(folder.join("blobs/sha256")).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
}

/// Copies images from a scripted registry into a layout, as users do.
async fn fill(tranship: &Tranship, images: &[(&Image, &str)]) {
    let registry = Scripted::start();
    for (image, tag) in images {
        image.load(&registry, "app", tag);
        let source = registry.reference("app", tag);
        let target = format!("oci:{}:{tag}", tranship.home().join("images/app").display());
        tranship.succeed(["copy", "--insecure", "http", &source, &target]).await;
    }
}

fn write_rule(tranship: &Tranship, lines: &str) {
    let rule = format!(
        "[daemon]\nstate = \"state\"\n[[cleanup]]\nname = \"disk\"\n\
         repositories = [\"oci:images/**\"]\ngrace = \"0s\"\n{lines}\n"
    );
    tranship.write("tranship.toml", rule);
}

/// Collects garbage when what is there now is two hours old.
async fn collect_later(folder: &Path) {
    let layout = Layout::open(folder).await.unwrap();
    let later = Timestamp::now() + Duration::from_secs(2 * 3600);
    layout.collect_garbage(later, Duration::from_secs(3600), false).await.unwrap();
}

fn blob(folder: &Path, digest: &str) -> bool {
    folder.join("blobs").join(digest.replace(':', "/")).exists()
}

#[tokio::test]
async fn what_goes_leaves_the_disk_and_what_stays_is_whole() {
    let tranship = Tranship::new();
    let folder = tranship.home().join("images/app");
    let kept = Image::with_attestations("kept", &["amd64", "arm64"]);
    let gone = Image::platforms(Family::Oci, "gone", &["amd64", "arm64"]).refer("sbom", "x/sbom");
    let shared = image("shared");
    fill(
        &tranship,
        &[
            (&kept, "1.0.0"),
            (&gone, "pr-1"),
            (&shared, "2.0.0"),
            (&shared, "pr-2"),
            (&image("new"), "pr-3"),
        ],
    )
    .await;
    age(&folder, Duration::from_secs(90 * 86_400));
    // Written just now: too young for the rule.
    let young = folder.join("blobs").join(image("new").digest.replace(':', "/"));
    File::open(young).unwrap().set_modified(SystemTime::now()).unwrap();

    write_rule(&tranship, &PR.replace("[\"pr-*\"]", "[\"pr-*\"], older_than = \"7d\""));
    let report = applied(&tranship, 0).await;
    let mut found = outcomes(&report);
    found.retain(|(name, _)| name.starts_with("pr-"));
    found.sort();
    let expected = [("pr-1", "deleted"), ("pr-2", "deleted")];
    let expected = expected.map(|(name, outcome)| (name.to_owned(), outcome.to_owned()));
    assert_eq!(found, expected, "{report:#}");
    for manifest in gone.manifests() {
        assert!(!blob(&folder, &manifest.digest));
    }
    // The blobs were touched a moment ago, whatever their times say, and so they are still there.
    for blob_of in gone.manifests().iter().flat_map(|manifest| &manifest.blobs) {
        assert!(blob(&folder, &blob_of.digest), "{}", blob_of.digest);
    }
    collect_later(&folder).await;
    for blob_of in gone.all_blobs() {
        let elsewhere = [&kept, &shared]
            .iter()
            .any(|image| image.all_blobs().iter().any(|other| other.digest == blob_of.digest));
        assert_eq!(blob(&folder, &blob_of.digest), elsewhere, "{}", blob_of.digest);
    }
    for tag in ["1.0.0", "2.0.0", "pr-3"] {
        let source = format!("oci:{}:{tag}", folder.display());
        let target = format!("dir:{}", tranship.home().join(format!("out-{tag}")).display());
        Skopeo::new().copy(&source, &target).await;
    }
}

/// A layout lists what has no tag, so such rules work there.
#[tokio::test]
async fn manifests_without_a_tag_go_by_their_own_rule() {
    let tranship = Tranship::new();
    let folder = tranship.home().join("images/app");
    fill(&tranship, &[(&image("old"), "latest")]).await;
    // The tag moves on; the manifest that it left stays listed as the tools of others leave it.
    let listed = std::fs::read_to_string(folder.join("index.json")).unwrap();
    let mut index: Value = serde_json::from_str(&listed).unwrap();
    index["manifests"][0].as_object_mut().unwrap().remove("annotations");
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fill(&tranship, &[(&image("new"), "latest")]).await;
    age(&folder, Duration::from_secs(30 * 86_400));
    let lines = "delete = [{ id = \"untagged\", untagged = true, older_than = \"14d\" }]\n\
                 max_delete = { percent = 100 }";
    write_rule(&tranship, lines);
    let plan = tranship.succeed(["cleanup", "--output", "json"]).await.stdout;
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let plan = &plan["rules"][0]["plans"][0];
    assert_eq!(plan["steps"][0]["rule"], "untagged", "{plan:#}");
    assert_eq!(plan["steps"][0]["clock"]["source"], "pushed", "{plan:#}");
    assert!(blob(&folder, &image("old").digest), "a plan changes nothing");
    let report = applied(&tranship, 0).await;
    assert_eq!(report["steps"].as_array().unwrap().len(), 1, "{report:#}");
    assert!(!blob(&folder, &image("old").digest) && blob(&folder, &image("new").digest));
}

#[tokio::test]
async fn an_entry_that_is_not_understood_means_that_nothing_goes() {
    let tranship = Tranship::new();
    let folder = tranship.home().join("images/app");
    fill(&tranship, &[(&image("pr"), "pr-1"), (&image("kept"), "1.0.0")]).await;
    age(&folder, Duration::from_secs(30 * 86_400));
    let listed = std::fs::read_to_string(folder.join("index.json")).unwrap();
    let mut index: Value = serde_json::from_str(&listed).unwrap();
    let odd = json!({ "mediaType": "application/x-odd", "digest": "blake3:00", "size": 1 });
    index["manifests"].as_array_mut().unwrap().push(odd);
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    write_rule(&tranship, PR);
    let report = applied(&tranship, 1).await;
    assert!(report["refused"][0].as_str().unwrap().contains("blake3"), "{report:#}");
    assert!(blob(&folder, &image("pr").digest));
}

/// i12: what went from a layout comes back from the quarantine of that layout.
#[tokio::test]
async fn i12_what_went_from_a_layout_is_brought_back() {
    let tranship = Tranship::new();
    let folder = tranship.home().join("images/app");
    let gone = Image::with_attestations("gone", &["amd64"]).refer("sbom", "x/sbom");
    fill(&tranship, &[(&gone, "pr-1"), (&image("kept"), "1.0.0")]).await;
    age(&folder, Duration::from_secs(30 * 86_400));
    write_rule(&tranship, &format!("quarantine = {{ to = \"oci:quarantine\" }}\n{PR}"));
    applied(&tranship, 0).await;
    assert!(!blob(&folder, &gone.digest));
    let reference = format!("oci:{}:pr-1", folder.display());
    tranship.succeed(["restore", &reference]).await;
    let source = format!("oci:{}:pr-1", folder.display());
    let target = format!("dir:{}", tranship.home().join("out").display());
    Skopeo::new().copy(&source, &target).await;
    for manifest in gone.manifests().into_iter().chain(&gone.referrers) {
        assert!(blob(&folder, &manifest.digest), "{}", manifest.digest);
    }
}
