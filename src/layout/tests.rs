//! What holds for layouts beyond the contract of every repository.

mod damage;
mod dropped;
mod garbage;
mod links;
mod listed;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::lock::{Hold, hold};
use super::{Layout, files};
use crate::oci::{Descriptor, Digest, Manifest, Tag, derived, media_type};
use crate::repository::{
    BlobBody, BodyAborted, Cause, Placement, Reference, Repository, UploadSession, UploadStart,
};

async fn layout() -> (TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open_or_create(folder.path().join("app")).await.unwrap();
    (folder, layout)
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn body(content: &[u8]) -> BlobBody {
    let chunks = stream::iter([Ok(Bytes::copy_from_slice(content))]).boxed();
    BlobBody { length: content.len() as u64, chunks }
}

async fn begin(layout: &Layout, digest: &Digest) -> UploadSession {
    match layout.start_upload(digest, None).await.unwrap() {
        UploadStart::Session(session) => session,
        UploadStart::Present => panic!("{digest} is there already"),
    }
}

async fn push(layout: &Layout, content: &[u8]) -> Digest {
    let digest = Digest::of(content);
    if let UploadStart::Session(session) = layout.start_upload(&digest, None).await.unwrap() {
        layout.finish_upload(&session, &digest, body(content)).await.unwrap();
    }
    digest
}

fn manifest(json: &Value) -> Manifest {
    Manifest::parse(json.to_string().into(), None, None).unwrap()
}

/// An image whose only blob is its config, and which refers to another image if told so.
async fn image(layout: &Layout, content: &str, subject: Option<&Manifest>) -> Manifest {
    let config = push(layout, content.as_bytes()).await;
    let mut json = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "layers": [],
        "config": { "mediaType": "application/x", "digest": config, "size": content.len() },
    });
    if let Some(subject) = subject {
        json["subject"] = json!(subject.descriptor());
    }
    manifest(&json)
}

async fn put(layout: &Layout, name: &str, image: &Manifest) {
    layout.put_manifest(&Placement::Tag(tag(name)), image).await.unwrap();
}

/// A layout with one image of this content.
async fn with_image(content: &str, tag: &str) -> (TempDir, Layout, Manifest) {
    let (root, layout) = layout().await;
    let image = image(&layout, content, None).await;
    put(&layout, tag, &image).await;
    (root, layout, image)
}

fn listed(folder: &Path) -> Vec<Value> {
    let content = fs::read(folder.join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&content).unwrap();
    index["manifests"].as_array().unwrap().clone()
}

fn set_modified(layout: &Layout, blob: &Digest, time: SystemTime) {
    let file = fs::File::open(files::blob(layout.folder(), blob)).unwrap();
    file.set_modified(time).unwrap();
}

fn partial_files(layout: &Layout) -> usize {
    fs::read_dir(files::uploads(layout.folder())).unwrap().count()
}

/// Handles opened apart share nothing in memory, like processes: the file lock is between them.
#[tokio::test(flavor = "multi_thread")]
async fn writers_at_the_same_time_lose_no_entry() {
    let (_root, first) = layout().await;
    let image = image(&first, "{}", None).await;
    let mut writers = Vec::new();
    for handle in 0..3 {
        let layout = Layout::open(first.folder()).await.unwrap();
        for at in 0..25 {
            let (layout, image) = (layout.clone(), image.clone());
            writers.push(tokio::spawn(async move {
                put(&layout, &format!("t-{handle}-{at}"), &image).await;
            }));
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(first.tags().await.unwrap().unwrap().len(), 75);
    assert_eq!(listed(first.folder()).len(), 75);
    // One deletes what another wrote.
    assert!(first.delete(&Reference::Tag(tag("t-2-24"))).await.unwrap());
    assert_eq!(listed(first.folder()).len(), 74);
}

/// How often a file is open in this process.
fn times_open(file: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|entry| {
        let entry = entry.as_ref().unwrap();
        fs::read_link(entry.path()).is_ok_and(|path| path == file)
    })
    .count()
}

/// Another process holds the list's lock while the caller of an edit goes away.
#[tokio::test]
async fn an_edit_that_is_cancelled_while_it_waits_for_the_lock_does_not_happen() {
    let (_root, layout, _image) = with_image("{}", "t").await;
    let folder = layout.folder().to_owned();
    let held = hold(&folder, Hold::Index).unwrap();
    let delete = tokio::spawn({
        let layout = layout.clone();
        async move { layout.delete(&Reference::Tag(tag("t"))).await }
    });
    let start = Instant::now();
    while times_open(&folder.join(".tranship/lock")) < 2 {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not wait for the lock");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    delete.abort();
    assert!(delete.await.unwrap_err().is_cancelled());
    drop(held);
    // Comes after the edit, which has the turn.
    layout.0.listing.alone(|_| Ok(())).await.unwrap();
    assert_eq!(layout.tags().await.unwrap(), Some(vec![tag("t")]));
    assert!(layout.delete(&Reference::Tag(tag("t"))).await.unwrap());
}

#[tokio::test]
async fn entries_of_others_stay_byte_for_byte() {
    let (_root, layout) = layout().await;
    let foreign = r#"{"mediaType":"application/x-future",  "digest":"blake3:00","size":1.50}"#;
    let index = format!(r#"{{"schemaVersion":2,"x":[ 1 ],"manifests":[ {foreign} ]}}"#);
    fs::write(layout.folder().join("index.json"), index).unwrap();
    fs::write(layout.folder().join("manifest.json"), "[]").unwrap();
    let image = image(&layout, "{}", None).await;
    put(&layout, "t", &image).await;
    layout.delete(&Reference::Tag(tag("t"))).await.unwrap();
    let after = fs::read_to_string(layout.folder().join("index.json")).unwrap();
    assert!(after.contains(foreign) && after.contains("[ 1 ]"), "{after}");
    assert_eq!(listed(layout.folder()).len(), 1);
    assert_eq!(layout.referrers(&image.digest).await.unwrap(), Some(vec![]));
}

/// Same length, same modification time: `cp -p` of another list over this one.
#[cfg(unix)]
#[tokio::test]
async fn a_list_that_looks_the_same_is_read_again() {
    let (_root, layout, _image) = with_image("{}", "a").await;
    let path = layout.folder().join("index.json");
    let (before, text) = (fs::metadata(&path).unwrap(), fs::read_to_string(&path).unwrap());
    // Old enough for the list to be remembered.
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(layout.tags().await.unwrap(), Some(vec![tag("a")]));
    let other = text.replace(r#""a""#, r#""b""#);
    assert_ne!(other, text);
    fs::write(&path, other).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    assert_eq!(layout.tags().await.unwrap(), Some(vec![tag("b")]));
}

#[tokio::test]
async fn a_broken_upload_keeps_every_byte_for_the_next_process() {
    let (_root, layout) = layout().await;
    let content = vec![7; 700_000];
    let digest = Digest::of(&content);
    let session = begin(&layout, &digest).await;
    let sent = Bytes::copy_from_slice(&content[..654_321]);
    let chunks = stream::iter([Ok(sent), Err(BodyAborted)]).boxed();
    let broken = BlobBody { length: 700_000, chunks };
    assert!(layout.finish_upload(&session, &digest, broken).await.is_err());
    // Another handle knows nothing of the hash so far, as after a restart.
    let restarted = Layout::open(layout.folder()).await.unwrap();
    let session = restarted.upload_status(&session).await.unwrap().unwrap();
    assert_eq!(session.offset, 654_321);
    // Going on before the end of what arrived drops what is behind.
    let session = UploadSession { offset: 600_000, ..session };
    restarted.finish_upload(&session, &digest, body(&content[600_000..])).await.unwrap();
    assert_eq!(layout.blob_size(&digest).await.unwrap(), Some(700_000));
    assert_eq!(partial_files(&layout), 0);
    let beyond = UploadSession { offset: 1, ..begin(&layout, &Digest::of(b"x")).await };
    let error = layout.finish_upload(&beyond, &digest, body(b"x")).await.unwrap_err();
    assert!(error.to_string().contains("has 0 bytes, and cannot go on at 1"), "{error}");
}

#[tokio::test]
async fn content_with_another_digest_leaves_nothing() {
    let (_root, layout) = layout().await;
    let digest = Digest::of(b"announced");
    let session = begin(&layout, &digest).await;
    let error = layout.finish_upload(&session, &digest, body(b"other")).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Corrupt(_)), "{error}");
    assert_eq!(partial_files(&layout), 0);
    let session = begin(&layout, &digest).await;
    let long = BlobBody { length: 3, ..body(b"announced") };
    let error = layout.finish_upload(&session, &digest, long).await.unwrap_err();
    assert!(error.to_string().contains("longer than announced"), "{error}");
}

#[tokio::test]
async fn asking_for_an_upload_takes_it_over() {
    let (_root, layout) = layout().await;
    let digest = Digest::of(b"first second");
    let session = begin(&layout, &digest).await;
    // A sender that stalls after its first bytes.
    let chunks = stream::iter([Ok(Bytes::from_static(b"first "))]).chain(stream::pending()).boxed();
    let silent = tokio::spawn({
        let (layout, session, digest) = (layout.clone(), session.clone(), digest.clone());
        async move { layout.finish_upload(&session, &digest, BlobBody { length: 12, chunks }).await }
    });
    let session = loop {
        // Early questions find the upload before the sender has it.
        match layout.upload_status(&session).await.unwrap() {
            Some(session) if silent.is_finished() => break session,
            Some(_) => tokio::task::yield_now().await,
            None => panic!("the upload is gone"),
        }
    };
    let error = silent.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("took the upload over"), "{error}");
    let rest = &b"first second"[session.offset as usize..];
    layout.finish_upload(&session, &digest, body(rest)).await.unwrap();
    assert_eq!(layout.blob_size(&digest).await.unwrap(), Some(12));
}

#[tokio::test]
async fn abandoned_uploads_are_removed() {
    let (_root, layout) = layout().await;
    let session = begin(&layout, &Digest::of(b"old")).await;
    let old = layout.folder().join(&session.location);
    let file = fs::File::options().write(true).open(&old).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(8 * 24 * 3600)).unwrap();
    let restarted = Layout::open(layout.folder()).await.unwrap();
    begin(&restarted, &Digest::of(b"new")).await;
    assert_eq!(partial_files(&layout), 1);
    assert!(!old.exists());
}

#[tokio::test]
async fn locations_lead_nowhere_else() {
    let (root, layout) = layout().await;
    fs::write(root.path().join("secret"), "x").unwrap();
    for location in ["../secret", ".tranship/uploads/../../../secret", "/etc/passwd", ""] {
        let session = UploadSession { location: location.into(), offset: 0 };
        assert_eq!(layout.upload_status(&session).await.unwrap(), None, "{location}");
        layout.cancel_upload(&session).await;
    }
    assert!(root.path().join("secret").exists());
}

#[tokio::test]
async fn some_parts_may_be_missing() {
    let (_root, layout) = layout().await;
    let absent = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(b"absent"), 6);
    let sparse = Manifest::index_of(&[absent]).unwrap();
    put(&layout, "sparse", &sparse).await;
    let config = push(&layout, b"{}").await;
    let foreign = manifest(&json!({
        "schemaVersion": 2, "mediaType": media_type::DOCKER_MANIFEST,
        "config": { "mediaType": "application/x", "digest": config, "size": 2 },
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "digest": Digest::of(b"foreign"), "size": 7, "urls": ["https://example.com/x"],
        }],
    }));
    put(&layout, "foreign", &foreign).await;
    // An entry whose manifest is not there is not an image.
    fs::remove_file(files::blob(layout.folder(), &sparse.digest)).unwrap();
    let reference = Reference::Tag(tag("sparse"));
    assert_eq!(layout.resolve(&reference).await.unwrap(), None);
    assert_eq!(layout.manifest(&reference).await.unwrap(), None);
    assert!(layout.delete(&Reference::Digest(sparse.digest)).await.unwrap());
    assert_eq!(layout.tags().await.unwrap(), Some(vec![tag("foreign")]));
}

#[tokio::test]
async fn a_damaged_manifest_is_noticed_and_repaired() {
    let (_root, layout, image) = with_image("{}", "t").await;
    let path = files::blob(layout.folder(), &image.digest);
    let damaged = vec![b' '; image.raw.len()];
    fs::write(&path, damaged).unwrap();
    let reference = Reference::Tag(tag("t"));
    let error = layout.manifest(&reference).await.unwrap_err();
    assert!(error.to_string().contains("was requested"), "{error}");
    put(&layout, "t", &image).await;
    assert_eq!(layout.manifest(&reference).await.unwrap(), Some(image));
}

#[tokio::test]
async fn a_blob_is_not_found_as_a_manifest() {
    let (_root, layout) = layout().await;
    let config = push(&layout, b"{}").await;
    let reference = Reference::Digest(config.clone());
    assert_eq!(layout.resolve(&reference).await.unwrap(), None);
    assert!(!layout.delete(&reference).await.unwrap());
    assert_eq!(layout.blob_size(&config).await.unwrap(), Some(2));
}

#[tokio::test]
async fn referrers_outlive_their_tags() {
    let (_root, layout) = layout().await;
    let subject = image(&layout, "subject", None).await;
    let signature = image(&layout, "signature", Some(&subject)).await;
    put(&layout, "sig", &signature).await;
    put(&layout, "sig", &subject).await;
    let fresh = Layout::open(layout.folder()).await.unwrap();
    for layout in [layout, fresh] {
        let listed = layout.referrer_descriptors(&subject.digest).await.unwrap();
        assert_eq!(listed, [signature.referrer_descriptor()]);
    }
}

#[tokio::test]
async fn the_only_image_needs_no_tag() {
    let (_root, layout) = layout().await;
    let none = layout.default_image().await.unwrap_err().to_string();
    assert!(none.contains("it has no image"), "{none}");
    let one = image(&layout, "one", None).await;
    layout.put_manifest(&Placement::Digest, &one).await.unwrap();
    let by_digest = Reference::Digest(one.digest.clone());
    assert_eq!(layout.default_image().await.unwrap(), by_digest);
    // What refers to it does not count, nor does another name of its own.
    let referrer = image(&layout, "referrer", Some(&one)).await;
    layout.put_manifest(&Placement::Part, &referrer).await.unwrap();
    let signature = image(&layout, "signature", None).await;
    let derived = derived::cosign_tag(&one.digest, ".sig");
    layout.put_manifest(&Placement::Tag(derived), &signature).await.unwrap();
    assert_eq!(layout.default_image().await.unwrap(), by_digest);
    put(&layout, "name", &one).await;
    assert_eq!(layout.default_image().await.unwrap(), Reference::Tag(tag("name")));
    put(&layout, "again", &one).await;
    assert_eq!(layout.default_image().await.unwrap(), by_digest);
    let other = image(&layout, "other", None).await;
    put(&layout, "other", &other).await;
    let several = layout.default_image().await.unwrap_err().to_string();
    assert!(several.contains("it has several images: name one of its tags ("), "{several}");
}

#[tokio::test]
async fn a_part_keeps_the_media_type_that_only_its_header_has() {
    let (_root, layout) = layout().await;
    let raw = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
    let list = Manifest::parse(raw, Some(media_type::DOCKER_LIST), None).unwrap();
    layout.put_manifest(&Placement::Part, &list).await.unwrap();
    let back = layout.manifest(&Reference::Digest(list.digest.clone())).await.unwrap();
    assert_eq!(back, Some(list));
}

#[tokio::test]
async fn sha512_is_verified_too() {
    let (_root, layout) = layout().await;
    let zero: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    let digest = zero.same_of(b"content");
    let session = begin(&layout, &digest).await;
    layout.finish_upload(&session, &digest, body(b"content")).await.unwrap();
    assert_eq!(layout.blob_size(&digest).await.unwrap(), Some(7));
    let session = begin(&layout, &zero).await;
    assert!(layout.finish_upload(&session, &zero, body(b"content")).await.is_err());
}

#[tokio::test]
async fn a_folder_that_is_no_layout_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("oci-layout");
    let cases = BTreeMap::from([
        ("", "no `oci-layout` file"),
        (r#"{"imageLayoutVersion":"2.0.0"}"#, "a version other than 1"),
        ("{}", "is not valid"),
    ]);
    for (content, expected) in cases {
        if !content.is_empty() {
            fs::write(&marker, content).unwrap();
        }
        let error = Layout::open(folder.path()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{content}: {error}");
    }
    assert!(Layout::open(folder.path().join("absent")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_may_create_the_same_layout_at_once() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a/b");
    let layouts: Vec<_> = (0..8)
        .map(|at| {
            let folder = folder.clone();
            tokio::spawn(async move {
                let layout = Layout::open_or_create(folder).await.unwrap();
                let image = image(&layout, &format!("{at}"), None).await;
                put(&layout, &format!("t{at}"), &image).await;
            })
        })
        .collect();
    for layout in layouts {
        layout.await.unwrap();
    }
    assert_eq!(listed(&folder).len(), 8);
}
