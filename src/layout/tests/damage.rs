//! Files that do not have the content that their name says: a copy of the folder that broke off, a
//! full disk, a hand.

use std::fs;

use serde_json::json;

use super::{begin, body, image, layout, manifest, push, put, tag, with_image};
use crate::layout::{Layouts, files};
use crate::oci::{Digest, media_type};
use crate::repository::{Cause, Placement, Reference, Repository, UploadStart};

const CONTENT: &[u8] = b"the content of a layer";

/// What can become of a blob's file.
const DAMAGES: [&[u8]; 3] = [b"", b"the content", b"THE CONTENT OF A LAYER"];

#[tokio::test]
async fn a_damaged_blob_is_asked_for_again() {
    for damage in DAMAGES {
        let (_root, layout) = layout().await;
        let digest = Digest::of(CONTENT);
        let path = files::blob(layout.folder(), &digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, damage).unwrap();
        let session = begin(&layout, &digest).await;
        // Now it is known, and no reader gets it.
        assert_eq!(layout.blob_size(&digest).await.unwrap(), None, "{damage:?}");
        assert!(layout.blob(&digest, 0).await.is_err());
        layout.finish_upload(&session, &digest, body(CONTENT)).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
        assert_eq!(layout.blob_size(&digest).await.unwrap(), Some(CONTENT.len() as u64));
        let found = layout.start_upload(&digest, None).await.unwrap();
        assert!(matches!(found, UploadStart::Present));
    }
}

#[tokio::test]
async fn an_empty_blob_that_should_be_empty_is_there() {
    let (_root, layout) = layout().await;
    let digest = push(&layout, b"").await;
    assert_eq!(layout.blob_size(&digest).await.unwrap(), Some(0));
}

/// A whole file that somebody else wrote is found, whatever its age.
#[tokio::test]
async fn a_whole_blob_is_not_sent_again() {
    let (_root, layout) = layout().await;
    let digest = Digest::of(CONTENT);
    let path = files::blob(layout.folder(), &digest);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, CONTENT).unwrap();
    super::set_modified(&layout, &digest, std::time::SystemTime::UNIX_EPOCH);
    for _ in 0..2 {
        let found = layout.start_upload(&digest, None).await.unwrap();
        assert!(matches!(found, UploadStart::Present));
    }
}

/// An image is not listed over a blob of another size, nor is one that is listed complete.
#[tokio::test]
async fn the_size_of_every_blob_is_checked() {
    for damage in [&DAMAGES[..2], &[b"longer than it should be ever"]].concat() {
        let (_root, layout, one) = with_image("a config", "t").await;
        assert!(layout.is_complete(&one.digest).await.unwrap());
        let blob = &one.blobs()[0].digest;
        fs::write(files::blob(layout.folder(), blob), damage).unwrap();
        assert!(!layout.is_complete(&one.digest).await.unwrap(), "{damage:?}");
        let refused = layout.put_manifest(&Placement::Tag(tag("u")), &one).await.unwrap_err();
        assert!(matches!(refused.cause(), Cause::MissingPart(part) if part == blob), "{refused}");
        assert_eq!(push(&layout, b"a config").await, *blob);
        put(&layout, "u", &one).await;
        assert!(layout.is_complete(&one.digest).await.unwrap());
    }
}

#[tokio::test]
async fn an_index_is_as_complete_as_its_children() {
    let (_root, layout, child) = with_image("child", "t").await;
    let index = crate::oci::Manifest::index_of(&[child.descriptor()]).unwrap();
    put(&layout, "index", &index).await;
    assert!(layout.is_complete(&index.digest).await.unwrap());
    fs::write(files::blob(layout.folder(), &child.blobs()[0].digest), "").unwrap();
    assert!(!layout.is_complete(&index.digest).await.unwrap());
    push(&layout, b"child").await;
    assert!(layout.is_complete(&index.digest).await.unwrap());
    fs::write(files::blob(layout.folder(), &child.digest), "cut").unwrap();
    assert!(!layout.is_complete(&index.digest).await.unwrap());
    fs::remove_file(files::blob(layout.folder(), &index.digest)).unwrap();
    assert!(!layout.is_complete(&index.digest).await.unwrap());
}

/// The size in a descriptor may be wrong where the digest is right.
#[tokio::test]
async fn a_descriptor_with_a_wrong_size_is_no_damage() {
    let (_root, layout) = layout().await;
    let config = push(&layout, b"{}").await;
    let image = manifest(&json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "layers": [],
        "config": { "mediaType": "application/x", "digest": config, "size": 7 },
    }));
    put(&layout, "t", &image).await;
    assert!(layout.is_complete(&image.digest).await.unwrap());
}

#[tokio::test]
async fn a_damaged_blob_is_not_mounted_and_one_in_the_way_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let layouts = Layouts::open(root.path()).await.unwrap();
    let get = async |name: &str| layouts.get_or_create(&name.parse().unwrap()).await.unwrap();
    let (from, to) = (get("from").await, get("to").await);
    let digest = push(&from, CONTENT).await;
    let path = files::blob(to.folder(), &digest);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "damaged").unwrap();
    let mount = async || to.start_upload(&digest, Some("from")).await.unwrap();
    assert!(matches!(mount().await, UploadStart::Present));
    assert_eq!(fs::read(&path).unwrap(), CONTENT);
    assert!(matches!(mount().await, UploadStart::Present));
    assert_eq!(fs::read_dir(files::uploads(to.folder())).unwrap().count(), 0);
    fs::remove_file(&path).unwrap();
    fs::write(files::blob(from.folder(), &digest), "damaged").unwrap();
    assert!(matches!(mount().await, UploadStart::Session(_)));
    assert!(!path.exists());
}

/// What a handle has found is not read again by the next one.
#[tokio::test]
async fn a_damaged_manifest_is_not_found_once_it_is_known() {
    let (_root, layout) = layout().await;
    let one = image(&layout, "one", None).await;
    put(&layout, "t", &one).await;
    fs::write(files::blob(layout.folder(), &one.digest), "").unwrap();
    assert_eq!(layout.resolve(&Reference::Tag(tag("t"))).await.unwrap(), None);
}
