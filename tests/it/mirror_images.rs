//! Every kind of image goes from registry to registry bit for bit, or is refused for a reason
//! that is told.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tranship::oci::media_type;

use crate::mirror_setup::{Counts, Mirror};
use crate::support::images::schema1;
use crate::support::witness::{OciClient, Skopeo};
use crate::support::{
    DockerRegistry, Family, Fault, Image, Kind, LayoutRegistry, Place, Scripted, Tranship,
    assert_same, assert_same_at,
};

const FOREIGN: &str = "http://vendor.example/layer";

fn corpus() -> Vec<(&'static str, Image)> {
    vec![
        ("oci", Image::single(Family::Oci, "oci", &[1_000, 70_000])),
        ("docker", Image::single(Family::Docker, "docker", &[1_000, 70_000])),
        ("no-layers", Image::single(Family::Oci, "no-layers", &[])),
        ("empty-layer", Image::single(Family::Oci, "empty-layer", &[0, 1])),
        ("oci-index", Image::platforms(Family::Oci, "oci-index", &["amd64", "arm64"])),
        ("docker-list", Image::platforms(Family::Docker, "docker-list", &["amd64", "s390x"])),
        ("buildkit", Image::with_attestations("buildkit", &["amd64", "arm64"])),
        ("nested", Image::nested_index("nested")),
        ("empty-index", Image::empty_index()),
        ("artifact", Image::artifact("artifact", "application/vnd.example.thing")),
        ("sbom", Image::artifact("sbom", "application/spdx+json")),
        ("helm", Image::helm("helm")),
        ("wasm", Image::wasm("wasm")),
        ("zstd", Image::zstd("zstd")),
        ("thrice", Image::repeated_layer("thrice")),
        ("foreign", Image::foreign_layer("foreign", FOREIGN)),
    ]
}

/// Copies the corpus; gives the mirror for a second look.
async fn copy_corpus(source: &impl Place, target: &impl Place) -> Mirror {
    let images = corpus();
    for (tag, image) in &images {
        image.push(source, "odd/images", tag).await;
    }
    let mirror = Mirror::new().http(source).http(target).rule(
        "odd",
        &format!(
            "source = \"{}/odd/images\"\ntarget = \"{}/odd/images\"",
            source.host(),
            target.host()
        ),
    );
    let report = mirror.sync().await;
    report.assert_copied(images.len() as u64, 0);
    for (tag, _) in &images {
        assert_same(source, target, "odd/images", tag).await;
    }
    let notes = report.image(":foreign")["notes"].to_string();
    assert!(notes.contains("1 non-distributable layer(s) left out"), "{notes}");
    assert!(notes.contains("foreign_layers = \\\"copy\\\""), "{notes}");
    mirror.sync().await.assert_copied(0, images.len() as u64);
    mirror
}

/// Mirrors a repository to one of the same name.
fn of_one_repository(source: &impl Place, target: &impl Place, name: &str) -> Mirror {
    let rule =
        format!("source = \"{}/{name}\"\ntarget = \"{}/{name}\"", source.host(), target.host());
    Mirror::new().http(source).http(target).rule("r", &rule)
}

fn with_foreign_layers() -> impl Future<Output = DockerRegistry> {
    DockerRegistry::new().foreign_layers().run()
}

#[tokio::test]
async fn odd_images_go_between_docker_registries() {
    let (source, target) = tokio::join!(with_foreign_layers(), with_foreign_layers());
    copy_corpus(&source, &target).await;
    let (skopeo, client) = (Skopeo::new(), OciClient::new(&target));
    let mut tags: Vec<String> = corpus().iter().map(|(tag, _)| (*tag).to_owned()).collect();
    tags.sort();
    let name = format!("docker://{}/odd/images", target.host());
    assert_eq!(skopeo.list_tags(&target, "odd/images").await, tags);
    for (tag, image) in corpus() {
        let (bytes, digest) = client.manifest("odd/images", tag).await;
        assert_eq!((&bytes[..], &digest), (&image.bytes[..], &image.digest), "{tag}");
    }
    for tag in ["oci", "nested", "helm"] {
        let raw = skopeo.inspect_raw(&format!("{name}:{tag}")).await;
        let (_, image) = corpus().into_iter().find(|(known, _)| *known == tag).unwrap();
        assert_eq!(raw.as_bytes(), &image.bytes[..]);
    }
}

#[tokio::test]
async fn odd_images_go_from_a_docker_registry_to_layouts() {
    let (source, target) = tokio::join!(with_foreign_layers(), LayoutRegistry::start());
    copy_corpus(&source, &target).await;
}

#[tokio::test]
async fn odd_images_go_from_layouts_to_a_docker_registry() {
    let (source, target) = tokio::join!(LayoutRegistry::start(), with_foreign_layers());
    copy_corpus(&source, &target).await;
}

#[tokio::test]
async fn a_layer_that_is_there_three_times_goes_over_the_wire_once() {
    let (source, target) = tokio::join!(LayoutRegistry::start(), LayoutRegistry::start());
    let image = Image::repeated_layer("thrice");
    image.push(&source, "app", "v1").await;
    let (at_source, at_target) = (source.mark(), target.mark());
    let mirror = Mirror::new().http(&source).http(&target).rule(
        "r",
        &format!("source = \"{}/app:v1\"\ntarget = \"{}/app\"", source.host(), target.host()),
    );
    mirror.sync().await.assert_copied(1, 0);
    assert_eq!(source.requests_since(at_source).count("GET", Kind::Blob), 2);
    let written = target.requests_since(at_target);
    assert_eq!(written.count_status("PUT", Kind::Upload, 201), 2, "{written}");
    assert_same(&source, &target, "app", "v1").await;
}

#[tokio::test]
async fn foreign_layers_are_left_out_or_brought_along() {
    let source = LayoutRegistry::start().await;
    let target = with_foreign_layers().await;
    let image = Image::foreign_layer("windows", FOREIGN);
    let foreign = "windows/foreign";
    let layer = crate::support::Blob::noise(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        foreign,
        600,
    );
    // Here the layer lies in the registry too, as after `docker push` with the flag for it.
    source.endpoint().put_blob("app", &layer.digest, layer.bytes.clone()).await;
    image.push(&source, "app", "v1").await;
    let rule = |more: &str| {
        format!("source = \"{}/app:v1\"\ntarget = \"{}/app\"\n{more}", source.host(), target.host())
    };
    let mut mirror = Mirror::new().http(&source).http(&target).rule("r", &rule(""));
    let report = mirror.sync().await;
    assert!(report.words().contains("non-distributable"), "{:#}", report.0);
    assert_eq!(target.endpoint().blob("app", &layer.digest).await, None);

    let other = with_foreign_layers().await;
    mirror = mirror.http(&other).rule("r", &rule("foreign_layers = \"copy\""));
    mirror.set_rule(
        "other",
        &format!(
            "source = \"{}/app:v1\"\ntarget = \"{}/app\"\nforeign_layers = \"copy\"",
            source.host(),
            other.host()
        ),
    );
    let report = mirror.sync().await;
    assert!(!report.words().contains("non-distributable"), "{:#}", report.0);
    assert_eq!(other.endpoint().blob("app", &layer.digest).await, Some(layer.bytes));
}

#[tokio::test]
async fn docker_schema_1_is_refused_with_advice_and_the_rest_is_copied() {
    let source = Scripted::start();
    let target = DockerRegistry::start().await;
    let (media_type, bytes) = schema1("app");
    source.insert_manifest("app", Some("old"), media_type, bytes);
    Image::single(Family::Oci, "new", &[500]).load(&source, "app", "new");
    let mirror = Mirror::new().http(&source).http(&target).rule(
        "r",
        &format!("source = \"{}/app\"\ntarget = \"{}/app\"", source.host(), target.host()),
    );
    let report = mirror.fail().await;
    assert_eq!(report.counts(), Counts { copied: 1, failed: 1, ..Counts::default() });
    let errors = report.image(":old")["errors"].to_string();
    assert!(errors.contains("Docker schema 1"), "{errors}");
    assert!(errors.contains("push the image again"), "{errors}");
    assert_eq!(target.endpoint().tags("app").await, ["new"]);
}

/// What programs write that do not follow the specification to the letter: its bytes are copied.
#[tokio::test]
async fn documents_that_are_a_little_off_are_copied_as_they_are() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let image = Image::single(Family::Oci, "app", &[300]);
    image.push(&source, "acme/app", "plain").await;
    let blob = &image.blobs[0];
    let artifact = format!(
        r#"{{"mediaType":"{0}","artifactType":"x/y","blobs":[{1}],"annotations":{{"a":null}}}}"#,
        media_type::ARTIFACT_MANIFEST,
        blob.descriptor()
    );
    let artifact =
        source.insert_manifest("acme/app", None, media_type::ARTIFACT_MANIFEST, artifact.into());
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{0}","annotations":{{"n":1}},"manifests":[
            {{"digest":"{1}","platform":{{"os":null,"architecture":null}}}},
            {{"mediaType":"{2}","digest":"{artifact}","size":7,"annotations":null}}]}}"#,
        media_type::OCI_INDEX,
        image.digest,
        media_type::ARTIFACT_MANIFEST,
    );
    let index = source.insert_manifest("acme/app", Some("v1"), media_type::OCI_INDEX, index.into());
    let mirror = of_one_repository(&source, &target, "acme/app");
    mirror.sync().await.assert_copied(2, 0);
    assert_eq!(target.tag("acme/app", "v1"), Some(index));
    assert_same(&source, &target, "acme/app", "v1").await;
}

/// The digest says what a blob is. What a descriptor says of its size may be wrong.
#[tokio::test]
async fn blobs_with_wrong_sizes_in_their_descriptors_are_copied() {
    let (source, target) = (Scripted::start(), DockerRegistry::start().await);
    let image = Image::single(Family::Oci, "app", &[3_000_000, 40_000, 7]);
    image.push(&source, "acme/app", "right").await;
    let mut manifest: Value = serde_json::from_slice(&image.bytes).unwrap();
    for (layer, size) in [(0, 10), (1, 90_000_000), (2, 0)] {
        manifest["layers"][layer]["size"] = size.into();
    }
    let manifest = serde_json::to_vec(&manifest).unwrap();
    source.insert_manifest("acme/app", Some("v1"), &image.media_type, manifest.into());
    let folder = tempfile::tempdir().unwrap();
    let layout = format!("oci:{}:v1", folder.path().join("layout").display());
    let tranship = Tranship::new();
    let goals = [target.reference("mirror/app", "v1"), layout];
    for goal in &goals {
        let from = source.reference("acme/app", "v1");
        let reach = ["--insecure", "http"];
        tranship.succeed(["copy", &from, goal].into_iter().chain(reach)).await;
        tranship.succeed(["verify", &from, goal].into_iter().chain(reach)).await;
        tranship.succeed(["verify", "--read", &from, goal].into_iter().chain(reach)).await;
    }
    // Each blob is read once, however often its bytes are asked about.
    let mark = target.mark().await;
    let (from, to) = (source.reference("acme/app", "v1"), target.reference("mirror/app", "v1"));
    tranship.succeed(["verify", "--read", &from, &to, "--insecure", "http"]).await;
    let traffic = target.requests_since(mark).await;
    assert_eq!(traffic.count("GET", Kind::Blob), image.blobs.len(), "{traffic}");
    // They are what they were, as the image with the right sizes shows.
    tranship
        .succeed([
            "copy",
            &source.reference("acme/app", "right"),
            &target.reference("mirror/app", "right"),
            "--insecure",
            "http",
        ])
        .await;
    assert_same_at((&source, "acme/app", "right"), (&target, "mirror/app", "right")).await;
    // A source that has lost bytes says the truth of what is left: that is not the blob.
    let lost = &image.blobs[1];
    source.insert_blob("acme/app", &lost.digest, lost.bytes.slice(..1_000));
    let empty = Scripted::start();
    let words = of_one_repository(&source, &empty, "acme/app").fail().await.words();
    assert!(words.contains("has 1000 bytes whose digest is"), "{words}");
    assert_eq!(empty.tag("acme/app", "v1"), None);
}

/// Some proxies compress what nobody asked them to.
#[tokio::test]
async fn answers_that_were_compressed_unasked_are_unpacked() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let image = Image::single(Family::Oci, "app", &[300]);
    image.push(&source, "acme/app", "v1").await;
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let packed = |bytes: &[u8]| {
        let answer = Fault::status(200).header("content-encoding", "gzip").body(gzip(bytes));
        answer.header("content-type", &image.media_type)
    };
    source.on("GET", Kind::Manifest).fail(packed(&image.bytes));
    source.on("GET", Kind::Tags).fail(packed(br#"{"tags":["v1"]}"#));
    let mirror = of_one_repository(&source, &target, "acme/app");
    mirror.sync().await.assert_copied(1, 0);
    assert_eq!(target.tag("acme/app", "v1"), Some(image.digest.clone()));
    // However much it unpacks to, no more of it is read than of others.
    source.clear_rules();
    source.on("GET", Kind::Manifest).fail(packed(&vec![b' '; 100 << 20]));
    let empty = Scripted::start();
    let words = of_one_repository(&source, &empty, "acme/app").fail().await.words();
    assert!(words.contains("larger than 4194304 bytes"), "{words}");
}

/// The registry only says that something went wrong.
#[tokio::test]
async fn the_refusal_of_foreign_layers_is_explained() {
    let (source, target) = tokio::join!(with_foreign_layers(), DockerRegistry::start());
    Image::foreign_layer("windows", FOREIGN).push(&source, "app", "v1").await;
    let mirror = of_one_repository(&source, &target, "app");
    let mark = target.mark().await;
    let words = mirror.fail().await.words();
    assert!(words.contains("foreign layers") && words.contains("urls.allow"), "{words}");
    // Once more after every blob was looked at again, because the answer names one.
    assert_eq!(target.requests_since(mark).await.count("PUT", Kind::Manifest), 2);
}

/// Policies about vulnerabilities, for example, forbid to pull what may be pushed.
#[tokio::test]
async fn what_may_not_be_read_at_the_target_can_be_put() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let image = Image::single(Family::Oci, "app", &[300]);
    image.push(&source, "app", "v1").await;
    Image::single(Family::Oci, "old", &[300]).push(&target, "app", "v1").await;
    let policy = Fault::status(412).error("PROJECTPOLICYVIOLATION", "current image is vulnerable");
    for method in ["HEAD", "GET"] {
        target.on(method, Kind::Manifest).containing("manifests/v1").fail(policy.clone());
    }
    let rule = |more: &str| {
        format!("source = \"{}/app\"\ntarget = \"{}/app\"\n{more}", source.host(), target.host())
    };
    let mirror = Mirror::new().http(&source).http(&target).rule("r", &rule("recheck = \"0s\""));
    mirror.sync().await.assert_copied(1, 0);
    assert_eq!(target.tag("app", "v1"), Some(image.digest.clone()));
    // The state vouches for it, since nothing else can.
    mirror.sync().await.assert_copied(0, 1);
    // Whose tag it is matters to this rule, and cannot be told.
    let mirror = mirror.rule("r", &rule("recheck = \"0s\"\non_conflict = \"fail\""));
    std::fs::remove_dir_all(mirror.state()).unwrap();
    let words = mirror.fail().await.words();
    assert!(words.contains("current image is vulnerable"), "{words}");
}
