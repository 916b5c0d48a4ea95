//! `tranship inspect` in skopeo's way prints what skopeo prints.

use serde_json::{Value, json};

use crate::support::witness::Skopeo;
use crate::support::{Blob, DockerRegistry, Family, Image, Kind, Place, Scripted, Tranship};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An index of two images with all that a configuration may have.
fn image() -> Image {
    let child = |architecture: &str| {
        let config = json!({
            "created": "2022-08-09T17:19:53.47374331Z", "author": "a <a@b.c>",
            "architecture": architecture, "os": "linux", "docker_version": "20.10.12",
            "config": {
                "User": "u", "Env": ["PATH=/bin", "A=b & c"], "Cmd": ["sh", "-c"],
                "ExposedPorts": { "80/tcp": {} }, "WorkingDir": "/w",
                "Labels": { "x": "y", "org.example.name": "<app>" },
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", "0".repeat(64))] },
            "history": [{ "created": "2022-08-09T17:19:53Z", "created_by": "RUN", "empty_layer": true }],
            "container": "not a part of the specification",
        });
        let config = Blob::new(CONFIG, config.to_string());
        let layers =
            ["a", "b"].map(|name| Blob::noise(LAYER, &format!("{architecture}/{name}"), 50));
        Image::of_blobs(Family::Oci, config, layers.into())
    };
    let entry = |architecture: &str| {
        (
            child(architecture),
            json!({ "platform": { "os": "linux", "architecture": architecture } }),
        )
    };
    Image::index(Family::Oci, vec![entry("arm64"), entry("amd64")])
}

async fn registry() -> DockerRegistry {
    let registry = DockerRegistry::start().await;
    for tag in ["1", "2", "v3.1.0"] {
        image().push(&registry, "acme/app", tag).await;
    }
    registry
}

/// Both print the same for these arguments; `{}` is the image.
async fn assert_same(tranship: &Tranship, skopeo: &Skopeo, app: &str, arguments: &[&str]) {
    let all: Vec<&str> = arguments.iter().map(|it| if *it == "{}" { app } else { it }).collect();
    let ours = tranship.succeed(&all).await.stdout;
    let theirs = skopeo.output(&all).await;
    // Versions of skopeo after 1.9 have it, too.
    let without = |text: &str| match serde_json::from_str::<Value>(text) {
        Ok(mut document) if document.is_object() => {
            document.as_object_mut().unwrap().remove("LayersData");
            document.to_string()
        }
        _ => text.to_owned(),
    };
    assert_eq!(without(&ours), without(&theirs), "{arguments:?}");
    assert_eq!(ours.ends_with('\n'), theirs.ends_with('\n'), "{arguments:?}");
}

#[tokio::test]
async fn templates_print_what_skopeo_prints() {
    let registry = registry().await;
    let (tranship, skopeo) = (Tranship::new(), Skopeo::new());
    let app = format!("docker://{}", registry.reference("acme/app", "1"));
    for template in [
        "{{.Name}}",
        "{{.Digest}}",
        "{{ .Architecture }}/{{ .Os }}",
        "{{.Created}}",
        "{{.DockerVersion}}",
        "{{.Labels}}",
        "{{.Labels.x}}",
        "{{index .Labels \"org.example.name\"}}",
        "{{.Env}}",
        "{{.RepoTags}}",
        "{{.Layers}} {{len .Layers}}",
        "{{range .Layers}}{{.}}{{end}}",
        "{{range .Layers}}{{.}}\\n{{end}}",
        "{{range $i, $e := .Env}}{{$i}}={{$e}};{{end}}",
        "{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}",
        "{{if eq .Os \"linux\"}}L{{else}}X{{end}}",
        "{{println .Name}}",
        "{{printf \"%s-%v %q\" .Os .Digest .Architecture}}",
        "{{slice .Digest 0 15}}",
        "Name: {{.Name}} Digest: {{.Digest}}",
        "{{json .}}",
        "json",
    ] {
        let arguments = ["inspect", "--tls-verify=false", "--format", template, "{}"];
        assert_same(&tranship, &skopeo, &app, &arguments).await;
    }
    let other = ["inspect", "--tls-verify=false", "-n", "-f", "{{json .}}", "{}"];
    assert_same(&tranship, &skopeo, &app, &other).await;
    let of_arm = [
        "--override-arch",
        "arm64",
        "inspect",
        "--tls-verify=false",
        "-f",
        "{{.Architecture}} {{.Layers}}",
        "{}",
    ];
    assert_same(&tranship, &skopeo, &app, &of_arm).await;
}

#[tokio::test]
async fn configurations_and_bytes_are_what_skopeo_prints() {
    let registry = registry().await;
    let (tranship, skopeo) = (Tranship::new(), Skopeo::new());
    let app = format!("docker://{}", registry.reference("acme/app", "1"));
    for arguments in [
        &["inspect", "--tls-verify=false", "--config", "{}"][..],
        &["inspect", "--tls-verify=false", "{}", "--config"],
        &["inspect", "--config", "--raw", "--tls-verify=false", "{}"],
        &["inspect", "--raw", "--tls-verify=false", "{}"],
        &[
            "inspect",
            "--tls-verify=false",
            "--config",
            "--format",
            "{{.Architecture}} {{.Config.Env}} {{.RootFS.DiffIDs}}",
            "{}",
        ],
    ] {
        assert_same(&tranship, &skopeo, &app, arguments).await;
    }
    // tranship's own --config has a file behind it.
    let missing = tranship.run(["inspect", "--config", "none.toml", &app]).await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("none.toml"), "{missing:?}");
    let json = tranship.run(["inspect", "--output", "json", "--tls-verify=false", &app]).await;
    let document: Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(document["platforms"].is_array() && document.get("Name").is_none(), "{document}");
}

#[tokio::test]
async fn layouts_are_inspected_too() {
    let registry = registry().await;
    let (tranship, skopeo) = (Tranship::new(), Skopeo::new());
    let from = format!("docker://{}", registry.reference("acme/app", "1"));
    tranship.succeed(["copy", "--src-tls-verify=false", &from, "oci:layout:1"]).await;
    let layout = format!("oci:{}/layout:1", tranship.home().display());
    assert_same(&tranship, &skopeo, &layout, &["inspect", "--format", "{{json .}}", "{}"]).await;
}

#[tokio::test]
async fn tags_are_listed_once_and_only_if_they_are_printed() {
    let registry = Scripted::start();
    image().load(&registry, "acme/app", "1");
    let tranship = Tranship::new();
    let app = format!("docker://{}", registry.reference("acme/app", "1"));
    for (arguments, lists) in [
        (vec!["{{.Digest}}"], 0),
        (vec!["{{range .Layers}}{{.}}{{end}}"], 0),
        (vec!["{{.RepoTags}}"], 1),
        (vec!["{{json .}}"], 1),
        (vec!["{{json .}}", "--no-tags"], 0),
    ] {
        let mark = registry.mark();
        let line = ["inspect", "--insecure", "http", &app, "--format"];
        tranship.succeed(line.iter().chain(&arguments)).await;
        let asked = registry.requests_since(mark);
        assert_eq!(asked.count("GET", Kind::Tags), lists, "{arguments:?}: {asked:?}");
    }
    registry.on("GET", Kind::Tags).fail(crate::support::Fault::status(403));
    let line = ["inspect", "--insecure", "http", &app, "--format", "{{.RepoTags}}"];
    let told = tranship.succeed(line).await;
    assert_eq!(told.stdout, "[]\n");
    assert!(told.stderr.contains("RepoTags is empty"), "{told:?}");
}

#[tokio::test]
async fn what_a_template_cannot_have_is_named() {
    let registry = registry().await;
    let tranship = Tranship::new();
    let app = format!("docker://{}", registry.reference("acme/app", "1"));
    for (template, message) in [
        ("{{.Nope}}", "there is no `.Nope`, only .Name"),
        ("{{.Created.Format \"2006\"}}", "methods, such as"),
        ("{{nope .Name}}", "there is no function `nope`"),
        ("table {{.Name}}", "tables are not supported"),
    ] {
        let line = ["inspect", "--insecure", "http", &app, "--format", template];
        let told = tranship.run(line).await;
        assert_eq!(told.code, Some(2), "{told:?}");
        assert!(told.stderr.contains(message) && told.stderr.contains("--output json"), "{told:?}");
    }
    let line = ["inspect", "--insecure", "http", &app, "-f", "{{.Os}}", "--override-os", "windows"];
    let told = tranship.run(line).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains("it has no image for windows/"), "{told:?}");
}
