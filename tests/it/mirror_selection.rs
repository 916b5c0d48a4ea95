//! Which repositories and tags a rule takes, and where they end up.

use crate::mirror_setup::{Counts, Mirror};
use crate::support::{DockerRegistry, Family, Image, Kind, Place, assert_same, assert_same_at};

async fn two() -> (DockerRegistry, DockerRegistry) {
    tokio::join!(DockerRegistry::start(), DockerRegistry::start())
}

fn small(name: &str) -> Image {
    Image::single(Family::Oci, name, &[300])
}

#[tokio::test]
async fn one_repository_with_all_its_tags() {
    let (source, target) = two().await;
    for tag in ["v1", "v2", "latest"] {
        small(tag).push(&source, "acme/app", tag).await;
    }
    small("other").push(&source, "acme/other", "v1").await;
    let mirror = Mirror::new().http(&source).http(&target).rule(
        "one",
        &format!(
            "source = \"{}/acme/app\"\ntarget = \"{}/mirror/app\"",
            source.host(),
            target.host()
        ),
    );
    mirror.sync().await.assert_copied(3, 0);
    for tag in ["v1", "v2", "latest"] {
        assert_same_at((&source, "acme/app", tag), (&target, "mirror/app", tag)).await;
    }
    assert_eq!(target.endpoint().tags("mirror/app").await, ["latest", "v1", "v2"]);
    assert!(target.endpoint().tags("acme/other").await.is_empty());
}

#[tokio::test]
async fn patterns_are_expanded_by_the_catalog_and_templates_name_the_targets() {
    let (source, target) = two().await;
    for repository in ["acme/app", "acme/team/app", "acme/team/db", "other/app", "top"] {
        small(repository).push(&source, repository, "v1").await;
    }
    let host = source.host().replace(':', "-");
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            "**",
            "a/{repository}",
            &["a/acme/app", "a/acme/team/app", "a/acme/team/db", "a/other/app", "a/top"],
        ),
        ("acme/**", "b/{tail}", &["b/app", "b/team/app", "b/team/db"]),
        ("acme/**", "c/{repository|flatten}", &["c/acme-app", "c/acme-team-app", "c/acme-team-db"]),
        ("acme/*", "d/{name}", &["d/app"]),
        ("*/app", "e/{namespace}/{registry}", &["e/acme/HOST", "e/other/HOST"]),
        (
            "{acme,other}/{app,team/d?}",
            "f/{tail|flatten|lower}",
            &["f/acme-app", "f/acme-team-db", "f/other-app"],
        ),
    ];
    let mut mirror = Mirror::new().http(&source).http(&target);
    for (at, (pattern, path, _)) in cases.iter().enumerate() {
        let lines = format!(
            "source = \"{}/{pattern}\"\ntarget = \"{}/{path}\"\nreferrers = false",
            source.host(),
            target.host()
        );
        mirror.set_rule(&format!("r{at}"), &lines);
    }
    let report = mirror.sync().await;
    let mut expected = 0;
    for (pattern, path, targets) in cases {
        expected += targets.len() as u64;
        for name in targets {
            let name = name.replace("HOST", &host);
            let tags = target.endpoint().tags(&name).await;
            assert_eq!(tags, ["v1"], "{pattern} to {path}: {name}");
        }
    }
    report.assert_copied(expected, 0);
    // Nothing else came to be.
    assert_eq!(report.images().count() as u64, expected);
    assert_same_at((&source, "acme/team/db", "v1"), (&target, "c/acme-team-db", "v1")).await;
}

#[tokio::test]
async fn repositories_that_would_become_one_are_reported_and_the_rest_is_copied() {
    let (source, target) = two().await;
    for repository in ["a/b", "a-b", "c"] {
        small(repository).push(&source, repository, "v1").await;
    }
    let mirror = Mirror::new().http(&source).http(&target).rule(
        "flat",
        &format!(
            "source = \"{}/**\"\ntarget = \"{}/{{repository|flatten}}\"",
            source.host(),
            target.host()
        ),
    );
    let report = mirror.fail().await;
    report.assert_copied(1, 0);
    let words = report.words();
    for name in ["a/b", "a-b", &format!("{}/a-b", target.host())] {
        assert!(words.contains(name), "{words}");
    }
    assert_same(&source, &target, "c", "v1").await;
    assert!(target.endpoint().tags("a-b").await.is_empty());
}

#[tokio::test]
async fn tags_are_selected_by_name_glob_expression_version_and_number() {
    let (source, target) = two().await;
    let tags = [
        "latest",
        "main",
        "dev",
        "nightly",
        "v1.0.0",
        "v1.1.0",
        "v1.2.0-rc.1",
        "v1.2.0",
        "v1.10.0",
        "v2.0.0",
        "2024.01.05",
        "1.0-alpine",
        "sha-0abc",
        "build-7",
        "build-42",
    ];
    let image = small("tags");
    image.push(&source, "app", "latest").await;
    for tag in tags {
        let (endpoint, bytes) = (source.endpoint(), image.bytes.clone());
        endpoint.put_manifest("app", tag, &image.media_type, bytes).await;
    }
    let cases: [(&str, &[&str]); 9] = [
        ("include = [\"main\", \"dev\"]", &["dev", "main"]),
        ("include = [\"v1.?.0\"]", &["v1.0.0", "v1.1.0", "v1.2.0"]),
        ("include = ['/build-\\d\\d/']", &["build-42"]),
        ("include = [\"v*\"], semver = \">=1.1, <2\"", &["v1.1.0", "v1.10.0", "v1.2.0"]),
        ("semver = \"^1.1\", newest = 1", &["v1.10.0"]),
        ("include = [\"v*\"], newest = 2", &["v1.10.0", "v2.0.0"]),
        (
            "include = [\"latest\", \"v*\"], exclude = [\"v2*\", \"*-rc*\"], newest = 1",
            &["latest", "v1.10.0"],
        ),
        ("exclude = [\"v*\", \"*-*\", '/\\d.*/']", &["dev", "latest", "main", "nightly"]),
        ("include = [\"v*\"], semver = \">=1.2.0-rc.0, <1.3\"", &["v1.2.0", "v1.2.0-rc.1"]),
    ];
    let mut mirror = Mirror::new().http(&source).http(&target);
    for (at, (selection, _)) in cases.iter().enumerate() {
        let lines = format!(
            "source = \"{}/app\"\ntarget = \"{}/t{at}\"\ntags = {{ {selection} }}",
            source.host(),
            target.host()
        );
        mirror.set_rule(&format!("t{at}"), &lines);
    }
    mirror.sync().await;
    for (at, (selection, expected)) in cases.iter().enumerate() {
        assert_eq!(target.endpoint().tags(&format!("t{at}")).await, *expected, "{selection}");
    }
}

#[tokio::test]
async fn a_tag_that_is_named_and_missing_fails_and_the_others_are_copied() {
    let (source, target) = two().await;
    small("v1").push(&source, "app", "v1").await;
    let mirror = Mirror::new().http(&source).http(&target).rule(
        "named",
        &format!(
            "source = \"{}/app\"\ntarget = \"{}/app\"\ntags = {{ include = [\"v1\", \"gone\"] }}",
            source.host(),
            target.host()
        ),
    );
    let report = mirror.fail().await;
    assert_eq!(report.counts(), Counts { copied: 1, failed: 1, ..Counts::default() });
    assert_eq!(report.image(":gone")["action"], "failed");
    assert_same(&source, &target, "app", "v1").await;
}

#[tokio::test]
async fn several_targets_are_written_while_the_source_is_read_once() {
    let (source, one) = two().await;
    let (two, three) = two().await;
    let image = Image::platforms(Family::Docker, "app", &["amd64", "arm64"]);
    image.push(&source, "app", "v1").await;
    let before = source.mark().await;
    let mirror = Mirror::new().http(&source).http(&one).http(&two).http(&three).rule(
        "many",
        &format!(
            "source = \"{}/app:v1\"\ntarget = [\"{}/a\", \"{}/b\", \"{}/c\", \"{}/d\"]\nreferrers = false",
            source.host(),
            one.host(),
            two.host(),
            three.host(),
            three.host(),
        ),
    );
    mirror.sync().await.assert_copied(4, 0);
    let asked = source.requests_since(before).await;
    assert_eq!(asked.count("GET", Kind::Blob), image.all_blobs().len(), "{asked}");
    assert_eq!(asked.count("GET", Kind::Manifest), 3, "{asked}");
    assert_eq!(asked.count("HEAD", Kind::Manifest), 1, "{asked}");
    assert_eq!(asked.len(), image.all_blobs().len() + 4, "{asked}");
    for (target, repository) in [(&one, "a"), (&two, "b"), (&three, "c"), (&three, "d")] {
        assert_same_at((&source, "app", "v1"), (target, repository, "v1")).await;
    }
}

#[tokio::test]
async fn one_target_that_is_down_does_not_stop_the_other() {
    let (source, one) = two().await;
    let mut down = DockerRegistry::start().await;
    down.stop();
    small("v1").push(&source, "app", "v1").await;
    let settings = "insecure = \"http\"\nidle_timeout = \"1s\"";
    let mirror = Mirror::new().http(&source).http(&one).registry(&down, settings).rule(
        "both",
        &format!(
            "source = \"{}/app\"\ntarget = [\"{}/app\", \"{}/app\"]\ntags = {{ include = [\"v1\"] }}",
            source.host(),
            down.host(),
            one.host()
        ),
    );
    let report = mirror.fail().await;
    let expected = Counts { copied: 1, failed: 1, ..Counts::default() };
    assert_eq!(report.counts(), expected, "{:#}", report.0);
    assert!(report.image(&format!("{}/app:v1", down.host()))["errors"][0].is_object());
    assert_same(&source, &one, "app", "v1").await;
}

#[tokio::test]
async fn digests_pin_an_image_with_and_without_a_tag() {
    let (source, target) = two().await;
    let (old, new) = (small("old"), small("new"));
    old.push(&source, "app", "v1").await;
    new.push(&source, "app", "v1").await;
    let rule = |what: &str| {
        format!("source = \"{}/app{what}\"\ntarget = \"{}/app\"", source.host(), target.host())
    };
    let mut mirror = Mirror::new().http(&source).http(&target);
    mirror.set_rule("pinned", &rule(&format!("@{}", old.digest)));
    mirror.sync().await.assert_copied(1, 0);
    assert_same(&source, &target, "app", &old.digest).await;
    assert!(target.endpoint().tags("app").await.is_empty());
    mirror.sync().await.assert_copied(0, 1);

    mirror.set_rule("pinned", &rule(&format!(":v1@{}", old.digest)));
    mirror.sync().await.assert_copied(1, 0);
    assert_eq!(target.endpoint().digest("app", "v1").await, Some(old.digest));
    mirror.sync().await.assert_copied(0, 1);

    let missing = format!("sha256:{}", "0".repeat(64));
    mirror.set_rule("pinned", &rule(&format!("@{missing}")));
    let report = mirror.fail().await;
    assert!(report.words().contains("has no manifest with this digest"), "{:#}", report.0);
}

#[tokio::test]
async fn patterns_that_match_nothing_anywhere_are_noted() {
    let (source, target) = two().await;
    for (repository, tag) in [("acme/app", "v1"), ("acme/db", "r-2")] {
        small(repository).push(&source, repository, tag).await;
    }
    let rule = |include: &str| {
        format!(
            "source = \"{}/acme/*\"\ntarget = \"{}/{{repository}}\"\ntags = {{ include = [{include}] }}",
            source.host(),
            target.host()
        )
    };
    let mut mirror = Mirror::new().http(&source).http(&target);
    mirror.set_rule("r", &rule(r#""v*", "release-*", "/r-\\d/", "/x\\d/", "none""#));
    let report = mirror.sync().await;
    report.assert_copied(2, 0);
    let note = |pattern: &str| {
        format!("no tag at the source matches `{pattern}` of `include`: is it what was meant?")
    };
    let expected = serde_json::json!([note(r"/x\d/"), note("release-*")]);
    assert_eq!(report.0["rules"][0]["notes"], expected);
}

#[tokio::test]
async fn one_rule_copies_many_sources_each_with_its_own_tag_or_digest() {
    let (source, target) = two().await;
    let other = DockerRegistry::start().await;
    for tag in ["v1", "v2", "v3"] {
        small(tag).push(&source, "acme/app", tag).await;
        small(&format!("tool-{tag}")).push(&other, "tools/cli", tag).await;
    }
    let digest = &small("tool-v3").digest;
    let (from, also, to) = (source.host(), other.host(), target.host());
    let rule = format!(
        "source = [\"{from}/acme/app:v1\", \"{from}/acme/app:v2\", \"{also}/tools/cli:v1\", \
         \"{also}/tools/cli:pinned@{digest}\"]\ntarget = \"{to}/mirror/{{name}}\""
    );
    let mirror = Mirror::new().http(&source).http(&other).http(&target).rule("pins", &rule);
    mirror.sync().await.assert_copied(4, 0);
    assert_eq!(target.endpoint().tags("mirror/app").await, ["v1", "v2"]);
    assert_eq!(target.endpoint().tags("mirror/cli").await, ["pinned", "v1"]);
    assert_same_at((&other, "tools/cli", "v3"), (&target, "mirror/cli", "pinned")).await;
    mirror.sync().await.assert_copied(0, 4);

    // What has moved is copied, and verify compares all of them.
    small("new").push(&source, "acme/app", "v2").await;
    mirror.sync().await.assert_copied(1, 3);
    let verified = mirror.tranship.succeed(["verify", "--output", "json"]).await.stdout;
    let verified: serde_json::Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(verified["images"].as_array().unwrap().len(), 4, "{verified}");
}
