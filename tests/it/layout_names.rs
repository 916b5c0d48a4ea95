//! Layouts and archives with several images of one tag, as podman, containerd and docker write them:
//! none is chosen silently, and each can be named.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Family, Image, Place, Scripted, Tranship};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A layout of these images, each with its annotations.
fn write_layout(folder: &Path, images: &[(&Image, Value)]) {
    std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let put = |digest: &str, bytes: &[u8]| {
        std::fs::write(folder.join("blobs").join(digest.replace(':', "/")), bytes).unwrap();
    };
    let mut entries = Vec::new();
    for (image, annotations) in images {
        put(&image.digest, &image.bytes);
        image.blobs.iter().for_each(|blob| put(&blob.digest, &blob.bytes));
        let mut entry = image.descriptor();
        entry["annotations"] = annotations.clone();
        entries.push(entry);
    }
    let index = json!({ "schemaVersion": 2, "manifests": entries });
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
}

fn pack(folder: &Path, file: &Path) {
    let mut archive = tar::Builder::new(std::fs::File::create(file).unwrap());
    archive.append_dir_all(".", folder).unwrap();
    archive.finish().unwrap();
}

fn named(name: &str) -> Value {
    json!({ REF_NAME: name })
}

fn of_containerd(repository: &str, tag: &str) -> Value {
    json!({ REF_NAME: tag, "io.containerd.image.name": format!("{repository}:{tag}") })
}

#[tokio::test]
async fn images_of_one_tag_are_named_in_full() {
    let [a, b, c] = ["a", "b", "c"].map(|name| Image::single(Family::Oci, name, &[500]));
    let (alpine, busy) = ("docker.io/library/alpine", "localhost:5000/busy/box");
    let registry = Scripted::start();
    let tranship = Tranship::new();
    let podman = [format!("{alpine}:latest"), format!("{busy}:latest")].map(|name| named(&name));
    let containerd = [of_containerd(alpine, "latest"), of_containerd(busy, "latest")];
    for [first, second] in [podman, containerd] {
        let folder = tranship.home().join("images");
        let _ = std::fs::remove_dir_all(&folder);
        write_layout(&folder, &[(&a, first), (&b, second), (&c, named("other"))]);
        pack(&folder, &tranship.home().join("images.tar"));
        for place in ["oci:images", "oci-archive:images.tar"] {
            let names = [format!("{place}:{alpine}:latest"), format!("{place}:{busy}:latest")];
            let ambiguous =
                format!("several images are named so: use one of {}, {}", names[0], names[1]);
            for (source, more) in
                [(format!("{place}:latest"), None), (place.to_owned(), Some("--all-tags"))]
            {
                let target = format!("{}/none", registry.host());
                let arguments = ["copy", "--insecure", "http", &source, &target];
                let told = tranship.run(arguments.into_iter().chain(more)).await;
                assert_eq!(told.code, Some(1), "{told:?}");
                assert!(told.stderr.contains(&ambiguous), "{told:?}");
                assert_eq!(registry.tag("none", "latest"), None);
            }
            // The others were copied.
            assert_eq!(registry.tag("none", "other").as_ref(), Some(&c.digest));
            let short = format!("{place}:alpine:latest");
            let by_digest = format!("{place}@{}", b.digest);
            for (source, image, tag) in [
                (&names[0], &a, "latest"),
                (&names[1], &b, "latest"),
                (&short, &a, "latest"),
                (&by_digest, &b, "two"),
            ] {
                let target = registry.reference("copied", "two");
                let target =
                    if tag == "two" { target } else { format!("{}/copied", registry.host()) };
                tranship.succeed(["copy", "--insecure", "http", source, &target]).await;
                assert_eq!(registry.tag("copied", tag).as_ref(), Some(&image.digest), "{source}");
            }
            let none = tranship.run(["inspect", &format!("{place}:quay.io/no/such:latest")]).await;
            assert_eq!(none.code, Some(1), "{none:?}");
            let words =
                format!("no image in it has this name; there are {alpine}:latest, {busy}:latest");
            assert!(none.stderr.contains(&words), "{none:?}");
        }
        let into =
            tranship.run(["copy", &names_in("images", alpine), &names_in("images", busy)]).await;
        assert_eq!(into.code, Some(1), "{into:?}");
        assert!(into.stderr.contains("an image is written by its tag alone"), "{into:?}");
    }
}

fn names_in(folder: &str, repository: &str) -> String {
    format!("oci:{folder}:{repository}:latest")
}

/// As some builders write them: each platform is an entry of its own, and nothing has a name.
#[tokio::test]
async fn images_without_names_are_named_by_digest() {
    let [amd, arm] =
        ["amd64", "arm64"].map(|it| Image::for_platform(Family::Oci, "flat", "linux", it, &[500]));
    let tranship = Tranship::new();
    write_layout(&tranship.home().join("flat"), &[(&amd, json!({})), (&arm, json!({}))]);
    pack(&tranship.home().join("flat"), &tranship.home().join("flat.tar"));
    for place in ["oci:flat", "oci-archive:flat.tar"] {
        let told = tranship.run(["inspect", place]).await;
        assert_eq!(told.code, Some(1), "{told:?}");
        for (image, platform) in [(&amd, "linux/amd64"), (&arm, "linux/arm64")] {
            let name = format!("{place}@{}", image.digest);
            assert!(told.stderr.contains(&name), "{told:?}");
            let shown = tranship.succeed(["inspect", &name]).await.stdout;
            assert!(shown.contains(&format!("platform:   {platform}\n")), "{shown}");
        }
    }
}
