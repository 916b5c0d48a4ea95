//! `tranship delete`: never more than was meant.

use serde_json::{Value, json};

use crate::support::process::Finished;
use crate::support::{DockerRegistry, Family, Image, Kind, Place, Scripted, Tranship};

async fn delete(tranship: &Tranship, arguments: &[&str]) -> Finished {
    tranship.run(["delete", "--insecure", "http"].iter().chain(arguments)).await
}

/// A repository where one manifest has the tags `a`, `b` and `c`, and another `other`.
async fn fill(registry: &impl Place) -> Image {
    let image = Image::single(Family::Oci, "app", &[10]);
    for tag in ["a", "b", "c"] {
        image.push(registry, "app", tag).await;
    }
    Image::single(Family::Oci, "other", &[10]).push(registry, "app", "other").await;
    image
}

#[tokio::test]
async fn a_tag_goes_alone_where_the_registry_can_do_that() {
    let registry = Scripted::start();
    let image = fill(&registry).await;
    let tranship = Tranship::new();
    let app = |rest: &str| format!("{}/app{rest}", registry.host());
    let finished = delete(&tranship, &[&app(":b")]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stdout, format!("deleted {} ({})\n", app(":b"), image.digest));
    assert_eq!(registry.endpoint().tags("app").await, ["a", "c", "other"]);

    let missing = delete(&tranship, &[&app(":b")]).await;
    let words = format!(
        "error: failed to delete {}: the repository has no such tag\nhint: `tranship list-tags REPOSITORY` shows the tags that are there\n",
        app(":b")
    );
    assert_eq!((missing.code, missing.stderr), (Some(1), words));
}

/// distribution 2.8 deletes by digest only.
#[tokio::test]
async fn a_tag_with_siblings_is_refused_where_the_registry_deletes_by_digest_only() {
    let registry = DockerRegistry::start().await;
    let image = fill(&registry).await;
    let tranship = Tranship::new();
    let app = |rest: &str| format!("{}/app{rest}", registry.host());
    let all = ["a", "b", "c", "other"];
    let finished = delete(&tranship, &[&app(":b")]).await;
    let words = format!(
        "REFUSED {}: the registry deletes by digest only, and {} also has the tags a, c, which would go too; nothing was deleted\nhint: --with-siblings deletes the manifest with every tag it has\n",
        app(":b"),
        image.digest
    );
    assert_eq!((finished.code, finished.stderr), (Some(3), words));
    assert_eq!(registry.endpoint().tags("app").await, all);

    let finished = delete(&tranship, &[&app(":b"), "--output", "json"]).await;
    let shown: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((finished.code, &shown["action"]), (Some(3), &json!("refused")));

    let finished = delete(&tranship, &[&app(":b"), "--with-siblings", "--dry-run"]).await;
    let words =
        format!("would delete {} ({}), and with it the tags a, c\n", app(":b"), image.digest);
    assert_eq!((finished.code, finished.stdout), (Some(0), words));
    assert_eq!(registry.endpoint().tags("app").await, all);

    let finished = delete(&tranship, &[&app(":b"), "--with-siblings"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(registry.endpoint().tags("app").await, ["other"]);
}

#[tokio::test]
async fn a_digest_means_the_manifest_with_its_tags() {
    let registry = DockerRegistry::start().await;
    let image = fill(&registry).await;
    let tranship = Tranship::new();
    let by_digest = format!("{}/app@{}", registry.host(), image.digest);
    let finished = delete(&tranship, &[&by_digest, "--output", "json"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let shown: Value = serde_json::from_str(&finished.stdout).unwrap();
    let expected = json!({
        "repository": format!("{}/app", registry.host()), "digest": image.digest,
        "action": "deleted", "manifest": true, "siblings": ["a", "b", "c"],
    });
    assert_eq!(shown, expected);
    assert_eq!(registry.endpoint().tags("app").await, ["other"]);
}

#[tokio::test]
async fn a_tag_that_moved_is_left_alone() {
    let registry = Scripted::start();
    let image = fill(&registry).await;
    let tranship = Tranship::new();
    let moved = format!("{}/app:other@{}", registry.host(), image.digest);
    let finished = delete(&tranship, &[&moved]).await;
    assert_eq!(finished.code, Some(3), "{finished:?}");
    assert!(finished.stderr.contains(&format!("not at {}; nothing was", image.digest)));
    assert_eq!(registry.traffic().count("DELETE", Kind::Manifest), 0);
    let still = format!("{}/app:a@{}", registry.host(), image.digest);
    let dry = delete(&tranship, &[&still, "--dry-run"]).await;
    let words =
        format!("would delete {}/app:a ({}); the tags b, c stay\n", registry.host(), image.digest);
    assert_eq!((dry.code, dry.stdout), (Some(0), words));
    assert_eq!(delete(&tranship, &[&still]).await.code, Some(0));
    assert_eq!(registry.endpoint().tags("app").await, ["b", "c", "other"]);
}

#[tokio::test]
async fn a_registry_with_deletion_switched_off_says_so() {
    let registry = DockerRegistry::new().without_delete().run().await;
    let image = fill(&registry).await;
    let tranship = Tranship::new();
    let by_digest = format!("{}/app@{}", registry.host(), image.digest);
    let by_tag = registry.reference("app", "a");
    for (reference, hint) in [
        (&by_digest, "hint: the registry has this operation switched off\n"),
        (&by_tag, "hint: the registry has deletion switched off, or deletes by digest only: "),
    ] {
        let finished = delete(&tranship, &[reference]).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let words = format!(
            "error: failed to delete {reference}: the registry answered 405 Method Not Allowed: UNSUPPORTED"
        );
        assert!(finished.stderr.starts_with(&words), "{finished:?}");
        assert!(finished.stderr.contains(hint), "{finished:?}");
    }
    assert_eq!(registry.endpoint().tags("app").await, ["a", "b", "c", "other"]);
}

#[tokio::test]
async fn tags_of_layouts_are_deleted_and_archives_are_not_touched() {
    let registry = DockerRegistry::start().await;
    fill(&registry).await;
    let tranship = Tranship::new();
    let from = format!("{}/app", registry.host());
    tranship.succeed(["copy", "--insecure", "http", "--all-tags", &from, "oci:layout"]).await;
    tranship.succeed(["delete", "oci:layout:a"]).await;
    let left = tranship.succeed(["list-tags", "oci:layout"]).await.stdout;
    assert_eq!(left, "b\nc\nother\n");
    for (reference, words) in [
        ("oci-archive:x.tar:a", "nothing can be deleted from an archive"),
        ("oci:layout", "`oci:layout` names a whole repository"),
        (&*from, "names a whole repository: name a tag or a digest in it"),
    ] {
        let finished = delete(&tranship, &[reference]).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(words), "{finished:?}");
    }
}

/// distribution 2.8 cannot delete the tag alone, and nothing else needs its manifest.
#[tokio::test]
async fn a_tag_goes_with_its_manifest_where_it_is_the_only_one() {
    let registry = DockerRegistry::start().await;
    fill(&registry).await;
    let tranship = Tranship::new();
    let other = registry.reference("app", "other");
    let mark = registry.mark().await;
    let finished = delete(&tranship, &[&other]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    assert!(finished.stdout.starts_with(&format!("deleted {other} (sha256:")), "{finished:?}");
    let words = ") with its manifest, which had no other tag\n";
    assert!(finished.stdout.ends_with(words), "{finished:?}");
    assert_eq!(registry.endpoint().tags("app").await, ["a", "b", "c"]);
    // The tag, its deletion, the list, three tags, the list again, the tag again, the manifest.
    let sent = registry.requests_since(mark).await;
    let methods: Vec<_> = sent.iter().map(|request| request.method.as_str()).collect();
    let expected =
        ["GET", "HEAD", "DELETE", "GET", "HEAD", "HEAD", "HEAD", "GET", "HEAD", "DELETE"];
    assert_eq!(methods.iter().filter(|it| **it == "HEAD").count(), 5, "{sent:?}");
    assert!(sent.len() <= expected.len(), "{sent:?}");
}

/// A platform that has a tag of its own, and an index that lists it.
#[tokio::test]
async fn a_part_of_another_image_is_not_deleted_with_its_tag() {
    let registry = DockerRegistry::start().await;
    let index = Image::platforms(Family::Oci, "multi", &["amd64", "arm64"]);
    index.push(&registry, "app", "1.0").await;
    let part = index.children[0].clone();
    part.push(&registry, "app", "1.0-amd64").await;
    let tranship = Tranship::new();
    let tag = registry.reference("app", "1.0-amd64");
    let finished = delete(&tranship, &[&tag]).await;
    let words = format!(
        "REFUSED {tag}: the registry deletes by digest only, and {} is a part of the image `1.0`; nothing was deleted\n",
        part.digest
    );
    assert_eq!((finished.code, finished.stderr), (Some(3), words));
    assert_eq!(registry.endpoint().tags("app").await, ["1.0", "1.0-amd64"]);
    // The index itself has no other tag.
    let finished = delete(&tranship, &[&registry.reference("app", "1.0")]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(registry.endpoint().tags("app").await, ["1.0-amd64"]);
}
