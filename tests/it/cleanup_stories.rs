//! What went wrong elsewhere, as far as it is decided while deleting: the real command, and what it
//! sends. Planning alone is tested in src/cleanup/tests/stories.rs, by the same names.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::cleanup_apply::{PR, applied, home, image, outcomes, pull_all, write_rule};
use crate::cleanup_gathering::created;
use crate::support::traffic::Traffic;
use crate::support::{DockerRegistry, Family, Image, Kind, Place, Scripted, Tranship};

/// The part of a path behind `/manifests/`.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn is_trial(path: &str) -> bool {
    last(path).starts_with("tranship-trial-")
}

/// What was deleted by requests, in their order, but for that on which single tags were tried.
fn sent(traffic: &Traffic) -> Vec<String> {
    // The digest of what is tried on is asked for, or deleted, right after its second tag.
    let second = traffic.iter().position(|seen| {
        seen.method == "HEAD" && is_trial(&seen.path) && seen.path.ends_with("-b")
    });
    let tried = second.and_then(|at| traffic.iter().nth(at + 1)).map(|seen| last(&seen.path));
    let deletes = traffic.of("DELETE", Kind::Manifest).map(|seen| last(&seen.path));
    deletes.filter(|name| !is_trial(name) && Some(*name) != tried).map(str::to_owned).collect()
}

/// The same, sorted; nothing else was written.
fn deleted(traffic: &Traffic) -> Vec<String> {
    let deletes = traffic.count("DELETE", Kind::Manifest);
    let trials = traffic.of("PUT", Kind::Manifest).filter(|seen| is_trial(&seen.path)).count();
    assert_eq!(traffic.writes(), deletes + trials, "{traffic}");
    let mut all = sent(traffic);
    all.sort();
    all
}

fn sorted(all: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = all.iter().map(|one| (*one).to_owned()).collect();
    all.sort();
    all
}

async fn plan(tranship: &Tranship) -> Value {
    let printed = tranship.succeed(["cleanup", "--output", "json"]).await.stdout;
    let document: Value = serde_json::from_str(&printed).unwrap();
    document["rules"][0]["plans"][0].clone()
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => waiting.push(path),
                false => _ = all.insert(path.display().to_string(), std::fs::read(&path).unwrap()),
            }
        }
    }
    all
}

/// actions/delete-package-versions#162: releases were lost; their tags remained, the children were
/// gone. And distribution#3178: the garbage collection that followed took what had no tag.
#[tokio::test]
async fn stories_01_and_16_children_of_releases() {
    let mut registry = DockerRegistry::start().await;
    let release = Image::with_attestations("release", &["amd64", "arm64"]);
    let old = Image::with_attestations("old", &["amd64", "arm64"]);
    release.push(&registry, "acme/app", "1.0.0").await;
    old.push(&registry, "acme/app", "pr-1").await;
    let tranship = home(&registry, "acme/*", PR);
    let mark = registry.mark().await;
    applied(&tranship, 0).await;
    let expected: Vec<&str> = old.manifests().iter().map(|image| image.digest.as_str()).collect();
    assert_eq!(deleted(&registry.requests_since(mark).await), sorted(&expected));
    registry.collect_garbage().await;
    assert_eq!(registry.endpoint().tags("acme/app").await, ["1.0.0"]);
    pull_all(&registry, "acme/app", &["1.0.0"]).await;
    for manifest in release.manifests() {
        assert!(registry.blob_file(&manifest.digest).exists());
    }
}

/// snok/container-retention-policy#66: the dry run showed what the rules said before the tags to
/// skip were taken out. Here what is sent is what the plan said, step by step.
#[tokio::test]
async fn story_05_what_is_planned_is_what_is_sent() {
    let registry = Scripted::start();
    let index = Image::platforms(Family::Oci, "index", &["amd64", "arm64"]).refer("sbom", "x/sbom");
    index.load(&registry, "app", "pr-1");
    image("skipped").load(&registry, "app", "pr-2");
    image("skipped").load(&registry, "app", "1.0.0");
    image("other").load(&registry, "app", "pr-3");
    image("kept").load(&registry, "app", "main");
    let lines = PR.replace("keep = [", "keep = [{ id = \"main\", tags = [\"main\"] }, ");
    let tranship = home(&registry, "app", &lines.replace("[\"pr-*\"]", "[\"pr-*\", \"main\"]"));
    let planned = plan(&tranship).await;
    let name = |step: &Value| {
        let name = if step["action"] == "untag" { &step["tag"] } else { &step["digest"] };
        name.as_str().unwrap().to_owned()
    };
    let planned: Vec<String> = planned["steps"].as_array().unwrap().iter().map(name).collect();
    assert_eq!(planned.len(), 1 + 4 + 1, "{planned:?}");
    let mark = registry.mark();
    applied(&tranship, 0).await;
    let traffic = registry.requests_since(mark);
    assert_eq!(sent(&traffic), planned);
    assert_eq!(registry.tag("app", "main"), Some(image("kept").digest));
}

/// dataaxiom/ghcr-cleanup-action#91: a release candidate and a release shared children; a later run
/// had forgotten that, and deleted them.
#[tokio::test]
async fn story_06_a_later_run_knows_what_is_shared() {
    let registry = Scripted::start();
    let (shared, own) = (image("shared"), image("own"));
    let rc = Image::index(Family::Oci, vec![(shared.clone(), json!({})), (own.clone(), json!({}))]);
    let release = Image::index(Family::Oci, vec![(shared.clone(), json!({}))]);
    rc.load(&registry, "app", "pr-rc");
    release.load(&registry, "app", "1.0.0");
    let tranship = home(&registry, "app", PR);
    let mark = registry.mark();
    applied(&tranship, 0).await;
    let traffic = registry.requests_since(mark);
    assert_eq!(deleted(&traffic), sorted(&[&rc.digest, &own.digest]));
    // Also one that has never seen the repository.
    for tranship in [&tranship, &home(&registry, "app", PR)] {
        let mark = registry.mark();
        applied(tranship, 0).await;
        assert_eq!(registry.requests_since(mark).writes(), 0);
    }
    assert!(registry.endpoint().manifest("app", &shared.digest).await.is_some());
}

/// dataaxiom/ghcr-cleanup-action#104 and Azure/acr-cli#133: signatures of what lives were deleted,
/// such as those of the platforms of an index.
#[tokio::test]
async fn stories_07_and_10_what_refers_to_what_lives() {
    let registry = Scripted::start();
    let platform = image("platform").refer("bundle", "x/bundle").cosign();
    let index = Image::index(Family::Oci, vec![(platform.clone(), json!({}))]);
    index.load(&registry, "app", "1.0.0");
    // The signatures' own tags are there, and the platform's, which is to go.
    platform.load(&registry, "app", "pr-1");
    let before = registry.endpoint().tags("app").await;
    let lines = PR.replace("delete = [", "delete = [{ id = \"orphans\", orphans = true }, ");
    let tranship = home(&registry, "app", &lines);
    let mark = registry.mark();
    applied(&tranship, 0).await;
    assert_eq!(deleted(&registry.requests_since(mark)), ["pr-1"]);
    let after = registry.endpoint().tags("app").await;
    assert_eq!(after, before.into_iter().filter(|tag| tag != "pr-1").collect::<Vec<_>>());
    assert!(after.len() > 1, "{after:?}");
    for referrer in &platform.referrers {
        assert!(registry.endpoint().manifest("app", &referrer.digest).await.is_some());
    }
}

/// numberly/vault-db-injector#78: deleting `…-unsigned` removed `v3.2.2` and `latest`.
#[tokio::test]
async fn story_08_other_tags_of_the_digest_stay() {
    let tags = ["latest", "v3.2.2", "v3.2.2-unsigned"];
    let lines = "delete = [{ id = \"unsigned\", tags = [\"*-unsigned\"] }]\n\
                 max_delete = { percent = 100 }";
    let registry = Scripted::start();
    tags.iter().for_each(|tag| image("app").load(&registry, "app", tag));
    let tranship = home(&registry, "app", lines);
    applied(&tranship, 0).await;
    assert_eq!(deleted(&registry.traffic()), ["v3.2.2-unsigned"]);
    assert_eq!(registry.endpoint().tags("app").await, tags[..2]);

    // This one deletes by digest only: one question shows that, and all tags stay.
    let registry = DockerRegistry::start().await;
    for tag in tags {
        image("app").push(&registry, "acme/app", tag).await;
    }
    let tranship = home(&registry, "acme/*", lines);
    for requests in [1, 0] {
        let mark = registry.mark().await;
        applied(&tranship, 0).await;
        let traffic = registry.requests_since(mark).await;
        assert_eq!(deleted(&traffic), [""; 0], "{traffic}");
        assert_eq!(traffic.count("DELETE", Kind::Manifest), requests, "{traffic}");
        assert_eq!(registry.endpoint().tags("acme/app").await, tags);
    }
    pull_all(&registry, "acme/app", &tags).await;
}

/// goharbor/harbor#15332: a dry run deleted data.
#[tokio::test]
async fn story_11_a_dry_run_deletes_nothing() {
    let registry = DockerRegistry::start().await;
    image("gone").cosign().push(&registry, "acme/app", "pr-1").await;
    image("shared").push(&registry, "acme/app", "pr-2").await;
    image("shared").push(&registry, "acme/app", "1.0.0").await;
    let tranship = Tranship::new();
    // Everything that a rule can do is switched on in it.
    let quarantine = format!("{}/quarantine/{{repository}}", registry.host());
    let lines = format!(
        "mode = \"apply\"\nuntag = \"overwrite\"\nquarantine = {{ to = \"{quarantine}\" }}\n{PR}"
    );
    write_rule(&tranship, &registry, "acme/*", &lines);
    let before = files(&registry.storage());
    let mark = registry.mark().await;
    assert!(plan(&tranship).await["steps"].as_array().unwrap().len() >= 3);
    let reference = registry.reference("acme/app", "pr-1");
    for arguments in [
        &["cleanup"][..],
        &["cleanup", "--rule", "apps"],
        &["cleanup", "--explain", &reference],
        &["restore"],
    ] {
        tranship.succeed(arguments).await;
    }
    let traffic = registry.requests_since(mark).await;
    assert!(traffic.count("GET", Kind::Tags) >= 4, "{traffic}");
    assert_eq!(traffic.writes(), 0, "{traffic}");
    assert_eq!(files(&registry.storage()), before);
    // The rule is one that deletes.
    applied(&tranship, 0).await;
    assert_eq!(registry.endpoint().tags("acme/app").await, ["1.0.0"]);
}

/// goharbor/harbor#23570: clusters pull by digest, so all of a proxy cache was untagged, and was
/// silently emptied. A registry does not list such manifests, so that rule is refused there aloud;
/// of a layout, what is in use stays, and the limit stops the rest.
#[tokio::test]
async fn story_12_a_cache_without_tags() {
    let registry = Scripted::start();
    let images: Vec<Image> = (0..6).map(|n| image(&format!("cached {n}"))).collect();
    let tranship = Tranship::new();
    let folder = tranship.home().join("cache/app");
    for (at, image) in images.iter().enumerate() {
        image.load(&registry, "app", "tag");
        let target = format!("oci:{}:t{at}", folder.display());
        let source = registry.reference("app", "tag");
        tranship.succeed(["copy", "--insecure", "http", &source, &target]).await;
    }
    // As a cache that was filled by digest has them.
    let listed = std::fs::read_to_string(folder.join("index.json")).unwrap();
    let mut index: Value = serde_json::from_str(&listed).unwrap();
    for entry in index["manifests"].as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("annotations");
    }
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    let running = format!("cache.example/app@{}\n", images[3].digest);
    tranship.write("running.txt", running);
    let there = || -> Vec<bool> {
        let file = |image: &Image| folder.join("blobs").join(image.digest.replace(':', "/"));
        images.iter().map(|image| file(image).exists()).collect()
    };
    let rule = |limit: &str| {
        let rule = format!(
            "[daemon]\nstate = \"state\"\n[[cleanup]]\nname = \"apps\"\n\
             repositories = [\"oci:cache/**\"]\ngrace = \"0s\"\nin_use = [\"prod\"]\n\
             delete = [{{ id = \"loose\", untagged = true }}]\n{limit}\n\
             [in_use.prod]\nformat = \"list\"\nfile = \"running.txt\"\n"
        );
        tranship.write("tranship.toml", rule);
    };
    // The limit that holds where none is written.
    rule("");
    let report = applied(&tranship, 3).await;
    assert_eq!((&report["limited"], there()), (&json!(true), vec![true; 6]), "{report:#}");
    rule("max_delete = { percent = 100 }");
    let report = applied(&tranship, 0).await;
    assert_eq!(outcomes(&report).len(), 5, "{report:#}");
    assert_eq!(there(), [false, false, false, true, false, false]);

    let lines = "delete = [{ id = \"loose\", untagged = true }]\nmax_delete = { percent = 100 }";
    let report = applied(&home(&registry, "app", lines), 1).await;
    assert!(report["refused"][0].as_str().unwrap().contains("`loose`"), "{report:#}");
    assert_eq!(registry.traffic().writes(), 0);
}

/// gitlab-org/gitlab#325429: a policy wiped every image, twice.
#[tokio::test]
async fn story_14_nothing_wipes_a_repository() {
    let registry = Scripted::start();
    for tag in ["pr-1", "pr-2", "pr-3"] {
        image(tag).load(&registry, "app", tag);
    }
    // The limits that hold where none are written.
    let tranship = home(&registry, "app", &PR.replace("max_delete = { percent = 100 }", ""));
    for _ in 0..2 {
        let report = applied(&tranship, 3).await;
        assert_eq!(report["limited"], true, "{report:#}");
    }
    assert_eq!(registry.traffic().writes(), 0);
}

/// zot#1772, skopeo#1432: `skopeo delete` of one tag removed those beside it, because it deletes
/// the digest.
#[tokio::test]
async fn story_17_tags_beside_it_stay() {
    let registry = DockerRegistry::start().await;
    for (repository, tag) in
        [("acme/app", "1.0.0"), ("acme/app", "pr-1"), ("other/app", "1.0.0"), ("other/app", "pr-1")]
    {
        image("shared").push(&registry, repository, tag).await;
    }
    let tranship = home(&registry, "acme/*", PR);
    let mark = registry.mark().await;
    let report = applied(&tranship, 0).await;
    assert_eq!(outcomes(&report), [("pr-1".to_owned(), "refused".to_owned())], "{report:#}");
    // Neither the digest nor the tag was ever asked for: it was tried on a tag that nobody has.
    assert_eq!(deleted(&registry.requests_since(mark).await), [""; 0]);
    assert_eq!(registry.endpoint().tags("acme/app").await, ["1.0.0", "pr-1"]);
    // A registry that takes the manifest along is found out on something of no use.
    let scripted = Scripted::start();
    scripted.quirks(|quirks| quirks.untag_takes_manifest = true);
    for tag in ["1.0.0", "latest", "pr-1"] {
        image("shared").load(&scripted, "app", tag);
    }
    applied(&home(&scripted, "app", PR), 0).await;
    assert_eq!(deleted(&scripted.traffic()), [""; 0]);
    assert_eq!(scripted.endpoint().tags("app").await, ["1.0.0", "latest", "pr-1"]);
    scripted.assert_tags_complete();
}

/// zot#3804: the only tag was condemned although one was to be kept, as the dry run showed.
#[tokio::test]
async fn story_18_the_only_tag_is_the_newest() {
    let registry = DockerRegistry::start().await;
    // What is seen first in one second is of one age, so other clocks tell.
    let only = created("only", "2024-01-01T00:00:00Z");
    let newer = created("newer", "2024-02-01T00:00:00Z");
    only.push(&registry, "acme/app", "v1").await;
    for lines in [
        "keep = [{ id = \"one\", tags = [\"*\"], newest = 1 }]\n\
         delete = [{ id = \"all\", tags = [\"*\"] }]",
        "delete = [{ id = \"all\", tags = [\"*\"], beyond_newest = 1 }]",
    ] {
        let lines = format!("clock = [\"created\"]\nmax_delete = {{ percent = 100 }}\n{lines}");
        let tranship = home(&registry, "acme/*", &lines);
        let mark = registry.mark().await;
        let planned = plan(&tranship).await;
        assert_eq!((&planned["steps"], &planned["tags"]), (&json!([]), &json!(1)), "{planned:#}");
        let text = tranship.succeed(["cleanup"]).await.stdout;
        assert!(text.contains("0 of 1 tag"), "{text}");
        applied(&tranship, 0).await;
        assert_eq!(registry.requests_since(mark).await.writes(), 0);
        // With a newer one it goes.
        newer.push(&registry, "acme/app", "v2").await;
        applied(&tranship, 0).await;
        assert_eq!(registry.endpoint().tags("acme/app").await, ["v2"]);
        registry.endpoint().delete("acme/app", &newer.digest).await;
        only.push(&registry, "acme/app", "v1").await;
    }
}
