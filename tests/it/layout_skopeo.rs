//! skopeo as the second opinion on what layouts, archives and the registry over them look like.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tranship::layout::Layout;
use tranship::layout::archive::Archive;
use tranship::oci::Manifest;
use tranship::repository::{Placement, Repository};

use crate::conformance::{by_tag, push_image, tag};
use crate::layout_server::Server;

/// Runs skopeo, and gives what it printed. `None`: it is not installed here.
pub async fn skopeo(arguments: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("skopeo");
    command.arg("--insecure-policy").args(arguments).kill_on_drop(true);
    let output = match tokio::time::timeout(Duration::from_secs(60), command.output()).await {
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: skopeo is not installed");
            return None;
        }
        output => output.expect("skopeo ends within a minute").expect("skopeo runs"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo {arguments:?}: {said}");
    Some(output.stdout)
}

async fn write(layout: &Layout) -> Manifest {
    let image = push_image(layout, "for skopeo").await;
    layout.put_manifest(&Placement::Tag(tag("1.0")), &image).await.unwrap();
    image
}

/// Whether the layout has the image with all its parts.
async fn assert_has(layout: &Layout, name: &str, image: &Manifest) {
    assert_eq!(layout.manifest(&by_tag(name)).await.unwrap().as_ref(), Some(image));
    for blob in image.blobs() {
        assert_eq!(layout.blob_size(&blob.digest).await.unwrap(), Some(blob.size));
    }
}

pub fn oci(folder: &Path, tag: &str) -> String {
    format!("oci:{}:{tag}", folder.display())
}

#[tokio::test]
async fn skopeo_reads_what_we_write_and_we_what_it_writes() {
    let root = tempfile::tempdir().unwrap();
    let (ours, theirs) = (root.path().join("ours"), root.path().join("theirs"));
    let image = write(&Layout::open_or_create(&ours).await.unwrap()).await;
    let Some(raw) = skopeo(&["inspect", "--raw", &oci(&ours, "1.0")]).await else { return };
    assert_eq!(raw, image.raw);
    skopeo(&["copy", "--preserve-digests", &oci(&ours, "1.0"), &oci(&theirs, "x")]).await;
    let layout = Layout::open(&theirs).await.unwrap();
    assert_has(&layout, "x", &image).await;
    // Both write to the same layout, one after the other.
    let added = push_image(&layout, "added").await;
    layout.put_manifest(&Placement::Tag(tag("added")), &added).await.unwrap();
    skopeo(&["copy", "--preserve-digests", &oci(&ours, "1.0"), &oci(&theirs, "y")]).await;
    for (name, image) in [("x", &image), ("added", &added), ("y", &image)] {
        assert_has(&layout, name, image).await;
    }
    assert_eq!(layout.tags().await.unwrap().unwrap().len(), 3);
}

#[tokio::test]
async fn skopeo_reads_our_archives_and_we_its() {
    let root = tempfile::tempdir().unwrap();
    let (ours, theirs) = (root.path().join("ours.tar"), root.path().join("theirs.tar"));
    let archive = Archive::begin(&ours).await.unwrap();
    let image = write(archive.layout()).await;
    archive.finish().await.unwrap();
    let ours = format!("oci-archive:{}:1.0", ours.display());
    let Some(raw) = skopeo(&["inspect", "--raw", &ours]).await else { return };
    assert_eq!(raw, image.raw);
    let target = format!("oci-archive:{}:2.0", theirs.display());
    skopeo(&["copy", "--preserve-digests", &ours, &target]).await;
    let archive = Archive::unpack(&theirs).await.unwrap();
    assert_has(archive.layout(), "2.0", &image).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_pushes_to_the_registry_and_pulls_from_it() {
    let root = tempfile::tempdir().unwrap();
    let (ours, back) = (root.path().join("ours"), root.path().join("back"));
    let image = write(&Layout::open_or_create(&ours).await.unwrap()).await;
    let server = Arc::new(Server::writable().await);
    let remote = format!("docker://{}/acme/app:1.0", server.address);
    let push = ["copy", "--preserve-digests", "--dest-tls-verify=false"];
    let Some(_) = skopeo(&[&push[..], &[&oci(&ours, "1.0"), &remote]].concat()).await else {
        return;
    };
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &remote]).await.unwrap();
    assert_eq!(raw, image.raw);
    let pull = ["copy", "--preserve-digests", "--src-tls-verify=false"];
    skopeo(&[&pull[..], &[&remote, &oci(&back, "1.0")]].concat()).await;
    assert_has(&Layout::open(&back).await.unwrap(), "1.0", &image).await;
    // Another repository of the same registry: skopeo mounts what the first has.
    let other = format!("docker://{}/acme/other:1.0", server.address);
    let copy = ["copy", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"];
    skopeo(&[&copy[..], &[&remote, &other]].concat()).await;
    skopeo(&["delete", "--tls-verify=false", &other]).await;
}
