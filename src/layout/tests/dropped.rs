//! Manifests that are deleted while somebody pushes an index over them.

use std::fs;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::{put, set_modified, tag, with_image};
use crate::layout::{Layout, files};
use crate::oci::Manifest;
use crate::repository::{ErrorKind, Placement, Reference, Repository};

fn index(child: &Manifest) -> Manifest {
    Manifest::index_of(&[child.descriptor()]).unwrap()
}

fn by_digest(manifest: &Manifest) -> Reference {
    Reference::Digest(manifest.digest.clone())
}

fn aside(layout: &Layout) -> usize {
    fs::read_dir(layout.folder().join(".tranship/dropped")).unwrap().count()
}

fn age(layout: &Layout, manifest: &Manifest) {
    set_modified(layout, &manifest.digest, SystemTime::now() - Duration::from_secs(86_400));
}

/// The child is seen, deleted, and then named by an index that comes without it.
#[tokio::test]
async fn an_index_brings_back_the_child_that_was_seen() {
    let (_root, layout, child) = with_image("child", "child").await;
    assert!(layout.resolve(&by_digest(&child)).await.unwrap().is_some());
    assert!(layout.delete(&by_digest(&child)).await.unwrap());
    // It is deleted: it is not found, and cannot be deleted twice.
    assert_eq!(layout.manifest(&by_digest(&child)).await.unwrap(), None);
    assert!(!layout.delete(&by_digest(&child)).await.unwrap());
    // Nested, and listed by another handle, as another process does.
    let inner = index(&child);
    let other = Layout::open(layout.folder()).await.unwrap();
    put(&other, "index", &inner).await;
    assert_eq!(layout.manifest(&by_digest(&child)).await.unwrap(), Some(child));
    assert_eq!(aside(&layout), 0);
}

#[tokio::test]
async fn a_child_that_lost_its_blobs_is_asked_for() {
    let (_root, layout, child) = with_image("child", "child").await;
    assert!(layout.delete(&by_digest(&child)).await.unwrap());
    fs::remove_file(files::blob(layout.folder(), &child.blobs()[0].digest)).unwrap();
    let placement = Placement::Tag(tag("index"));
    let error = layout.put_manifest(&placement, &index(&child)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingParts, "{error}");
}

/// The index came after the decision that its child is not needed.
#[tokio::test]
async fn a_child_of_an_index_that_was_just_pushed_stays() {
    let (_root, layout, child) = with_image("child", "child").await;
    age(&layout, &child);
    put(&layout, "index", &index(&child)).await;
    assert!(layout.delete(&by_digest(&child)).await.unwrap());
    assert_eq!(layout.tags().await.unwrap(), Some(vec![tag("index")]));
    assert_eq!(layout.manifest(&by_digest(&child)).await.unwrap(), Some(child.clone()));
    // Later it can be deleted.
    age(&layout, &child);
    assert!(layout.delete(&by_digest(&child)).await.unwrap());
    assert_eq!(layout.manifest(&by_digest(&child)).await.unwrap(), None);
}

#[tokio::test]
async fn deleted_manifests_are_not_kept_for_ever() {
    let (_root, layout, one) = with_image("one", "one").await;
    assert!(layout.delete(&by_digest(&one)).await.unwrap());
    let hour = Duration::from_secs(3600);
    layout.collect_garbage(Timestamp::now(), hour, false).await.unwrap();
    assert_eq!(aside(&layout), 1);
    layout.collect_garbage(Timestamp::now() + 2 * hour, hour, true).await.unwrap();
    assert_eq!(aside(&layout), 1, "a dry run changes nothing");
    layout.collect_garbage(Timestamp::now() + 2 * hour, hour, false).await.unwrap();
    assert_eq!(aside(&layout), 0);
}

/// Nothing is removed while a push looks for blobs.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_while_blobs_are_held() {
    use crate::layout::lock::{Hold, hold};
    let (_root, layout, one) = with_image("one", "one").await;
    let looking = hold(layout.folder(), Hold::Blobs).unwrap();
    let deletion = tokio::spawn({
        let (layout, one) = (layout.clone(), by_digest(&one));
        async move { layout.delete(&one).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(layout.manifest(&by_digest(&one)).await.unwrap().is_some() && !deletion.is_finished());
    drop(looking);
    assert!(deletion.await.unwrap().unwrap());
    assert_eq!(layout.manifest(&by_digest(&one)).await.unwrap(), None);
}
