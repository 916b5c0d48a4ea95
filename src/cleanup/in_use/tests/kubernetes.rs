//! What `kubectl get … -o json` prints, and what only looks like it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::noted;
use crate::cleanup::in_use::kubernetes;
use crate::config::in_use::ImagePath;

const KUBECTL: &str = include_str!("kubectl.json");

fn read_with(text: &[u8], paths: &[&str]) -> Result<Vec<String>, String> {
    let paths: Vec<ImagePath> = paths.iter().map(|path| path.parse().unwrap()).collect();
    noted(|sightings| kubernetes::read(text, &paths, sightings))
}

fn read(text: impl ToString) -> Result<Vec<String>, String> {
    read_with(text.to_string().as_bytes(), &[])
}

/// One of each kind, as a cluster has them.
#[test]
fn every_kind_is_read() {
    let hex = |letter: &str| format!("sha256:{}", letter.repeat(64));
    let pod = "Pod shop/web-7d9f8c6b5-x2k4q";
    let expected = [
        format!("docker.io/envoyproxy/envoy@{} < {pod}", hex("a")),
        format!("docker.io/envoyproxy/envoy:v1.30@{} < {pod}", hex("a")),
        format!("docker.io/library/busybox:1.36 < {pod}"),
        "docker.io/library/postgres:16 < ControllerRevision shop/db-6b8".to_owned(),
        "docker.io/library/postgres:17 < StatefulSet shop/db".to_owned(),
        "quay.io/prometheus/node-exporter:v1.8.0 < DaemonSet monitoring/node-exporter".to_owned(),
        "registry.example.com/shop/backup:2 < Job shop/backup-29012".to_owned(),
        "registry.example.com/shop/backup:3 < CronJob shop/backup".to_owned(),
        "registry.example.com/shop/canary:9 < Rollout shop/canary".to_owned(),
        "registry.example.com/shop/hello:1 < Service shop/hello".to_owned(),
        format!("registry.example.com/shop/migrate@{} < {pod}", hex("d")),
        format!("registry.example.com/shop/migrate:latest < {pod}"),
        format!("registry.example.com/shop/model:7 < {pod}"),
        "registry.example.com/shop/pending:1 < Pod shop/pending-1".to_owned(),
        "registry.example.com/shop/wait:1 < CronJob shop/backup".to_owned(),
        "registry.example.com/shop/web:1.4.1 < ReplicaSet shop/web-5c4d".to_owned(),
        format!("registry.example.com/shop/web:1.4.2 < Deployment shop/web, {pod}"),
        format!("registry.example.com/shop/web@{} < {pod}", hex("b")),
        format!("{} < {pod}", hex("c")),
        format!("{} < {pod}", hex("e")),
    ];
    let mut found = read(KUBECTL).unwrap();
    let mut expected = expected.to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

/// A list, its objects alone, and those one after another say the same.
#[test]
fn every_shape_of_the_output_is_read() {
    let list: Value = serde_json::from_str(KUBECTL).unwrap();
    let items = list["items"].as_array().unwrap();
    let one_by_one: String = items.iter().map(|item| format!("{item}\n")).collect();
    assert_eq!(read(&one_by_one).unwrap(), read(KUBECTL).unwrap());
    assert_eq!(read(format!("{list}{list}\n{}", items[0])).unwrap(), read(KUBECTL).unwrap());
    // As the API itself answers: the list says what its objects are.
    let mut pod = items[1].clone();
    pod.as_object_mut().unwrap().remove("kind");
    let text = r#"{"kind":"PodList","metadata":{"continue":""},"items":["#.to_owned()
        + &pod.to_string()
        + "]}";
    assert_eq!(read(text).unwrap(), ["registry.example.com/shop/pending:1 < Pod shop/pending-1"]);
    assert!(read(json!({ "kind": "List", "items": [], "metadata": {} })).unwrap().is_empty());
}

#[test]
fn paths_lead_to_further_images() {
    let found = read_with(
        KUBECTL.as_bytes(),
        &["$.spec.templates[*].container.image", "$.spec.templates[*].script.image", "$.spec.none"],
    )
    .unwrap();
    let more: Vec<_> = found.iter().filter(|line| line.contains("WorkflowTemplate")).collect();
    assert_eq!(
        more,
        [
            "docker.io/library/python:3.12 < WorkflowTemplate ci/build",
            "registry.example.com/ci/builder:4 < WorkflowTemplate ci/build"
        ]
    );
    let error = read_with(KUBECTL.as_bytes(), &["$.spec.templates"]).unwrap_err();
    assert!(
        error.starts_with("says that WorkflowTemplate ci/build runs `[{\"")
            && error.ends_with("which is no image: expected a text"),
        "{error}"
    );
}

/// What a runtime reports, beside a container that should run `r.io/app:1`.
#[test]
fn every_form_of_a_status_is_read() {
    let digest = "0123456789abcdef".repeat(4);
    let pod = |with_spec: bool, field: &str, text: &Value| {
        let spec = if with_spec { json!([{ "image": "r.io/app:1" }]) } else { json!([{}]) };
        json!({
            "kind": "Pod", "metadata": { "name": "a" }, "spec": { "containers": spec },
            "status": { "containerStatuses": [{ field: text }] },
        })
    };
    for (text, expected) in [
        (
            format!("docker-pullable://r.io/app@sha256:{digest}"),
            format!("r.io/app@sha256:{digest}"),
        ),
        (format!("docker://sha256:{digest}"), format!("sha256:{digest}")),
        (format!("nginx@sha256:{digest}"), format!("docker.io/library/nginx@sha256:{digest}")),
        (format!("sha256:{digest}"), format!("sha256:{digest}")),
        (digest.clone(), format!("sha256:{digest}")),
        ("r.io/other:2".to_owned(), "r.io/other:2".to_owned()),
    ] {
        for field in ["image", "imageID"] {
            let text = json!(text);
            let alone = read(pod(false, field, &text)).unwrap();
            assert_eq!(alone, [format!("{expected} < Pod a")], "{field}");
            assert_eq!(read(pod(true, field, &text)).unwrap().len(), 2, "{field}");
        }
    }
    for strange in [json!("sha256:0123"), json!("docker://"), json!("a b"), json!(7), json!({})] {
        let beside = read(pod(true, "imageID", &strange)).unwrap();
        assert_eq!(beside, ["r.io/app:1 < Pod a"], "{strange}");
        let alone = read(pod(false, "imageID", &strange)).unwrap_err();
        assert!(alone.contains("Pod a runs"), "{alone}");
    }
    for silent in [json!(""), json!(null)] {
        assert!(read(pod(false, "imageID", &silent)).unwrap().is_empty());
    }
}

#[test]
fn what_should_run_must_be_an_image() {
    let pod = |image: Value| {
        json!({
            "kind": "Pod", "metadata": { "name": "a", "namespace": "shop" },
            "spec": { "containers": [{ "image": "r.io/fine:1" }, { "image": image }] },
        })
    };
    for silent in [json!(""), json!(null)] {
        assert_eq!(read(pod(silent)).unwrap(), ["r.io/fine:1 < Pod shop/a"]);
    }
    for (image, expected) in [
        (
            json!("r.io/App:1"),
            "says that Pod shop/a runs `r.io/App:1`, which is no image: `App` is",
        ),
        (json!("{{image}}"), "runs `{{image}}`, which is no image"),
        (json!(" nginx"), "which is no image"),
        (json!("sha256:12"), "`sha256:12` is not a digest"),
        (json!({ "tag": "1" }), "runs `{\"tag\":\"1\"}`, which is no image: expected a text"),
        (json!(["nginx"]), "expected a text"),
    ] {
        let error = read(pod(image.clone())).unwrap_err();
        assert!(error.contains(expected), "{image}: {error}");
    }
}

#[test]
fn what_may_not_be_the_whole_truth_is_an_error() {
    for (text, expected) in [
        ("", "is empty"),
        (" \n", "is empty"),
        ("apiVersion: v1\nkind: List\n", "is not what `kubectl get … -o json` prints: expected"),
        ("NAME READY\nweb 1/1", "is not what `kubectl"),
        ("[]", "is not what `kubectl get … -o json` prints: invalid type: sequence"),
        ("\"x\"", "invalid type: string"),
        ("null", "invalid type: null"),
        ("{}", "holds something without `kind`"),
        (r#"{"kind":"List"}"#, "holds a List without `items`"),
        (r#"{"kind":"PodList","items":null}"#, "holds a PodList without `items`"),
        (r#"{"kind":"List","items":{}}"#, "is not what `kubectl"),
        (r#"{"kind":"List","items":[7]}"#, "holds something without `metadata`"),
        (r#"{"kind":"List","items":[{}]}"#, "holds something without `metadata`"),
        (r#"{"kind":"Pod","spec":{}}"#, "holds something without `metadata`"),
        (
            r#"{"kind":"Status","metadata":{},"status":"Failure"}"#,
            "holds a Status, which is no object",
        ),
        (r#"{"kind":"Table","metadata":{},"rows":[]}"#, "holds a Table"),
        (
            r#"{"kind":"PodList","metadata":{"continue":"eyJ2"},"items":[]}"#,
            "only the first part of a list",
        ),
        (r#"{"kind":"List","items":[]} x"#, "is not what `kubectl"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    // Deeper than anything real.
    let deep =
        format!(r#"{{"kind":"A","metadata":{{}},"a":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    assert!(read(deep).unwrap_err().contains("recursion limit"));
}

/// Wherever the output is cut, it is not taken for the whole.
#[test]
fn what_is_cut_short_is_an_error() {
    let list: Value = serde_json::from_str(KUBECTL).unwrap();
    let text = list.to_string();
    for cut in (1..text.len()).step_by(7).chain([text.len() - 1]) {
        let error = read_with(&text.as_bytes()[..cut], &[]).unwrap_err();
        assert!(error.starts_with("is cut short"), "{cut}: {error}");
    }
}

#[test]
fn of_many_places_the_first_are_kept() {
    let pod = |number: usize| {
        json!({
            "kind": "Pod", "metadata": { "name": format!("web-{number:03}") },
            "spec": { "containers": [{ "image": "r.io/app:1" }] },
        })
    };
    let forth: String = (0..100).map(|number| pod(number).to_string()).collect();
    let back: String = (0..100).rev().map(|number| pod(number).to_string()).collect();
    let found = read(&forth).unwrap();
    assert_eq!(found, read(&back).unwrap());
    assert!(found[0].starts_with("r.io/app:1 < Pod web-000, ") && found[0].ends_with("web-007"));
}

/// JSON with the keys that mean something.
fn value() -> impl Strategy<Value = Value> {
    let key = proptest::sample::select(vec![
        "kind",
        "items",
        "metadata",
        "name",
        "spec",
        "containers",
        "containerStatuses",
        "image",
        "imageID",
        "volumes",
        "reference",
        "continue",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!("")),
        Just(json!("List")),
        Just(json!("nginx")),
        ".{0,8}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4).prop_map(|map| {
                Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes: Vec<u8>, text: String, value in value()) {
        let _ = read_with(&bytes, &["$..image"]);
        let _ = read(text);
        let _ = read_with(value.to_string().as_bytes(), &["$..image"]);
    }

    /// Wherever in an object the containers are, their images are found.
    #[test]
    fn containers_are_found_anywhere(
        path in prop::collection::vec("[a-z]{1,6}", 0..6), lists in prop::collection::vec(any::<bool>(), 6),
    ) {
        let mut value = json!({ "initContainers": [{ "image": "r.io/app:1" }] });
        for (key, in_list) in path.iter().zip(lists) {
            value = if in_list { json!({ key.as_str(): [1, value] }) } else { json!({ key.as_str(): value }) };
        }
        let object = json!({ "kind": "Odd", "metadata": { "name": "x" }, "spec": value });
        prop_assert_eq!(read(object).unwrap(), ["r.io/app:1 < Odd x"]);
    }
}
