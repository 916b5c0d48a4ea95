//! What looking at a repository costs in requests: each manifest is read once, ever.

use serde_json::{Value, json};

use crate::cleanup_apply::{PR, applied, home, write_rule};
use crate::support::traffic::Traffic;
use crate::support::{Blob, Family, Image, Kind, Place, Scripted, Tranship};

/// An image whose configuration says when it was created.
pub fn created(name: &str, time: &str) -> Image {
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": time,
        "config": { "Labels": { "name": name } }, "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let config = Blob::new("application/vnd.oci.image.config.v1+json", config.to_string());
    Image::of_blobs(Family::Oci, config, Vec::new())
}

/// An index of two, a signed image and a release. How many tags and manifests these are.
fn fill(registry: &Scripted) -> (usize, usize) {
    let index = Image::platforms(Family::Oci, "index", &["amd64", "arm64"]);
    let signed = created("signed", "2024-01-01T00:00:00Z").cosign();
    index.load(registry, "app", "pr-1");
    index.load(registry, "app", "pr-2");
    signed.load(registry, "app", "pr-3");
    created("release", "2024-01-01T00:00:00Z").load(registry, "app", "1.0.0");
    (4 + signed.attached.len(), 5 + signed.attached.len())
}

/// What a run cost, as `counted` counts.
async fn cost(registry: &Scripted, tranship: &Tranship, arguments: &[&str]) -> [usize; 5] {
    let mark = registry.mark();
    tranship.succeed(["cleanup"].iter().chain(arguments)).await;
    counted(&registry.requests_since(mark))
}

/// Lists of tags, HEADs and GETs of manifests, blobs, and questions for referrers; besides, nothing
/// is asked.
fn counted(traffic: &Traffic) -> [usize; 5] {
    let counts = [
        traffic.count("GET", Kind::Tags),
        traffic.count("HEAD", Kind::Manifest),
        traffic.count("GET", Kind::Manifest),
        traffic.count("GET", Kind::Blob),
        traffic.count("GET", Kind::Referrers),
    ];
    assert_eq!(counts.iter().sum::<usize>() + traffic.writes(), traffic.len(), "{traffic}");
    counts
}

#[tokio::test]
async fn the_second_plan_costs_the_tag_list_and_a_head_for_each_tag() {
    let registry = Scripted::start();
    registry.quirks(|quirks| quirks.referrers_api = false);
    let (tags, manifests) = fill(&registry);
    let tranship = home(&registry, "app", PR);
    // One question shows that there is no such API.
    assert_eq!(cost(&registry, &tranship, &[]).await, [1, tags, manifests, 0, 1]);
    for _ in 0..2 {
        assert_eq!(cost(&registry, &tranship, &[]).await, [1, tags, 0, 0, 0]);
    }
    // Only what is new is read.
    created("new", "2024-01-01T00:00:00Z").load(&registry, "app", "2.0.0");
    assert_eq!(cost(&registry, &tranship, &[]).await, [1, tags + 1, 1, 0, 1]);
    assert_eq!(cost(&registry, &tranship, &[]).await, [1, tags + 1, 0, 0, 0]);
    assert_eq!(registry.traffic().writes(), 0);
}

/// What the API says is good enough for a plan for a day (unit tests have the clock for that), and
/// asked anew before anything is deleted.
#[tokio::test]
async fn referrers_are_asked_for_once_a_day_and_before_deletions() {
    let registry = Scripted::start();
    let (tags, manifests) = fill(&registry);
    let tranship = home(&registry, "app", &PR.replace("pr-*", "nothing-*"));
    assert_eq!(cost(&registry, &tranship, &[]).await, [1, tags, manifests, 0, manifests]);
    assert_eq!(cost(&registry, &tranship, &[]).await, [1, tags, 0, 0, 0]);
    for _ in 0..2 {
        assert_eq!(cost(&registry, &tranship, &["--apply"]).await, [1, tags, 0, 0, manifests]);
    }
    assert_eq!(cost(&registry, &tranship, &[]).await, [1, tags, 0, 0, 0]);

    // What was attached since the last plan is found before its subject goes, and goes with it.
    write_rule(&tranship, &registry, "app", PR);
    let index = Image::platforms(Family::Oci, "index", &["amd64", "arm64"]).refer("sbom", "x/sbom");
    index.load(&registry, "app", "pr-1");
    let report = applied(&tranship, 0).await;
    let text = report["steps"].to_string();
    assert!(text.contains(&index.referrers[0].digest), "{report:#}");
}

#[tokio::test]
async fn configurations_are_read_once() {
    let registry = Scripted::start();
    registry.quirks(|quirks| quirks.referrers_api = false);
    let children = ["2024-03-01T00:00:00Z", "2024-02-01T00:00:00Z"];
    let children = children.map(|time| (created(time, time), json!({})));
    let index = Image::index(Family::Oci, children.to_vec());
    index.load(&registry, "app", "pr-1");
    created("old", "1970-01-01T00:00:00Z").load(&registry, "app", "pr-2");
    // By another clock nobody needs them.
    let by_age = PR.replace("[\"pr-*\"]", "[\"pr-*\"], older_than = \"1d\"");
    let tranship = home(&registry, "app", &by_age);
    assert_eq!(cost(&registry, &tranship, &[]).await, [1, 2, 4, 0, 1]);
    write_rule(&tranship, &registry, "app", &format!("clock = [\"created\"]\n{by_age}"));
    // Of three images; an index has none.
    let first = cost(&registry, &tranship, &[]).await;
    assert_eq!(first[..4], [1, 2, 4, 3]);
    for _ in 0..2 {
        assert_eq!(cost(&registry, &tranship, &[]).await, [1, 2, 0, 0, 0]);
    }
    // The index is as new as its newest child; what is of 1970 stays.
    let printed = tranship.succeed(["cleanup", "--output", "json"]).await.stdout;
    let document: Value = serde_json::from_str(&printed).unwrap();
    let steps = document["rules"][0]["plans"][0]["steps"].as_array().unwrap();
    assert_eq!((steps.len(), &steps[0]["digest"]), (3, &json!(index.digest)), "{document:#}");
    let clock = json!({ "time": "2024-03-01T00:00:00Z", "source": "created" });
    assert_eq!(steps[0]["clock"], clock);
}

/// By the clock of its configuration, the image is as old after it was restored as when it was deleted.
#[tokio::test]
async fn a_restored_image_is_no_older_than_its_restoration() {
    let registry = Scripted::start();
    let old = created("old", "2024-01-01T00:00:00Z");
    old.load(&registry, "app", "pr-1");
    let rule = PR.replace("[\"pr-*\"]", "[\"pr-*\"], older_than = \"1d\"");
    let rule = format!("clock = [\"created\"]\nquarantine = {{ to = \"oci:quarantine\" }}\n{rule}");
    let tranship = home(&registry, "app", &rule);
    assert_eq!(applied(&tranship, 0).await["steps"][0]["outcome"], "deleted");
    let name = format!("{}/app:pr-1", registry.host());
    tranship.succeed(["restore", &name]).await;
    for _ in 0..2 {
        applied(&tranship, 0).await;
        assert_eq!(registry.endpoint().tags("app").await, ["pr-1"]);
    }
    let explained = tranship.succeed(["cleanup", "--explain", &name]).await.stdout;
    assert!(explained.contains("restored"), "{explained}");
}

#[tokio::test]
async fn thousands_of_tags_are_read_once_as_well() {
    let registry = Scripted::with_generated_tags("app", 3_000);
    registry.quirks(|quirks| {
        quirks.referrers_api = false;
        quirks.page_cap = Some(1_000);
    });
    let tranship = home(&registry, "app", PR);
    let [pages, heads, manifests, ..] = cost(&registry, &tranship, &[]).await;
    assert_eq!((heads, manifests), (3_000, 3_000));
    assert!((3..=4).contains(&pages), "{pages}");
    assert_eq!(cost(&registry, &tranship, &[]).await, [pages, 3_000, 0, 0, 0]);
}
