//! What runs somewhere is not deleted, and where that cannot be told, nothing is.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::cleanup_apply::{PR, applied, apply, home, image, outcomes};
use crate::support::{Kind, Place, Scripted, Tranship};

/// A registry with these tags, and a rule that asks the source `prod`.
fn world(tags: &[&str], source: &str) -> (Scripted, Tranship) {
    let registry = Scripted::start();
    for tag in tags {
        image(tag).load(&registry, "app", tag);
    }
    let lines = format!("in_use = [\"prod\"]\n{PR}\n[in_use.prod]\n{source}\n");
    let tranship = home(&registry, "app", &lines);
    (registry, tranship)
}

fn deployments(images: &[String]) -> String {
    let items: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(at, image)| {
            json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": { "namespace": "shop", "name": format!("web-{at}") },
                // Scaled to zero: what a rollback brings back.
                "spec": { "replicas": 0, "template": { "spec": { "containers": [{ "image": image }] } } },
            })
        })
        .collect();
    json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }).to_string()
}

fn deleted(report: &Value) -> Vec<String> {
    let mut names: Vec<String> = outcomes(report)
        .into_iter()
        .filter(|(_, outcome)| outcome == "deleted")
        .map(|(name, _)| name)
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_runs_by_tag_or_digest_or_through_a_mirror_stays() {
    let tags = ["pr-1", "pr-2", "pr-3", "pr-4", "1.0.0"];
    let (registry, tranship) = world(
        &tags,
        "format = \"kubernetes\"\nfile = \"pods.json\"\naliases = { \"mirror.local:5000/hub\" = \"REGISTRY\" }",
    );
    let config = std::fs::read_to_string(tranship.home().join("tranship.toml")).unwrap();
    tranship.write("tranship.toml", config.replace("REGISTRY", registry.host()));
    let images = [
        registry.reference("app", "pr-1"),
        format!("elsewhere.example/other@{}", image("pr-2").digest),
        "mirror.local:5000/hub/app:pr-3".to_owned(),
    ];
    tranship.write("pods.json", deployments(&images));
    let report = applied(&tranship, 0).await;
    assert_eq!(deleted(&report), ["pr-4"], "{report:#}");
    let reference = registry.reference("app", "pr-1");
    let text = tranship.succeed(["cleanup", "--explain", &reference]).await.stdout;
    assert!(text.contains("in use: prod: ReplicaSet shop/web-0"), "{text}");

    // What ran lately stays: somebody may roll back.
    tranship.write("pods.json", deployments(&images[1..]));
    let report = applied(&tranship, 0).await;
    assert_eq!(deleted(&report), [""; 0], "{report:#}");
}

#[tokio::test]
async fn a_source_that_fails_means_that_nothing_goes() {
    let (registry, tranship) =
        world(&["pr-1", "1.0.0"], "format = \"kubernetes\"\ncommand = [\"./kubectl\"]");
    let script = tranship.home().join("kubectl");
    let command = format!("command = [\"{}\"]", script.display());
    let config = std::fs::read_to_string(tranship.home().join("tranship.toml")).unwrap();
    tranship.write("tranship.toml", config.replace("command = [\"./kubectl\"]", &command));
    let write = |content: &str| {
        std::fs::write(&script, format!("#!/bin/sh\n{content}\n")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    for (content, words) in [
        ("echo 'no route to host' >&2; exit 1", "no route to host"),
        ("echo '{\"kind\": \"List\", \"items\": ['", "prod"),
        ("echo", "prod"),
    ] {
        write(content);
        let finished = apply(&tranship).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stdout.contains(words), "{finished:?}");
        assert_eq!(registry.traffic().count("DELETE", Kind::Manifest), 0);
    }
    // A list that is empty after having had entries is not believed.
    tranship.write("some.json", deployments(&[registry.reference("app", "pr-1")]));
    tranship.write("none.json", deployments(&[]));
    write(&format!("cat {}", tranship.home().join("some.json").display()));
    assert_eq!(deleted(&applied(&tranship, 0).await), [""; 0]);
    write(&format!("cat {}", tranship.home().join("none.json").display()));
    let finished = apply(&tranship).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("allow_empty"), "{finished:?}");
    assert_eq!(registry.traffic().count("DELETE", Kind::Manifest), 0);
}

/// A digest that runs and that no tag leads to any more is looked for: a child of it that has a
/// tag of its own loses the tag, and stays.
#[tokio::test]
async fn what_runs_without_a_tag_keeps_its_children() {
    let (registry, tranship) = world(&["1.0.0"], "format = \"list\"\nfile = \"running.txt\"");
    let child = image("child");
    child.load(&registry, "app", "pr-1");
    let index =
        crate::support::Image::index(crate::support::Family::Oci, vec![(child.clone(), json!({}))]);
    index.load(&registry, "app", "moved");
    image("other").load(&registry, "app", "moved");
    tranship.write("running.txt", format!("{}/app@{}\n", registry.host(), index.digest));
    let report = applied(&tranship, 0).await;
    let steps = report["steps"].as_array().unwrap();
    assert_eq!((steps.len(), &steps[0]["action"]), (1, &json!("untag")), "{report:#}");
    assert!(registry.endpoint().manifest("app", &child.digest).await.is_some());
}
