//! What goes when garbage is collected, and what never does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{image, layout, listed, push, put, set_modified, tag, with_image};
use crate::layout::listing::{Done, Edit, Untagged};
use crate::layout::{Layout, Layouts, files};
use crate::oci::{Descriptor, Digest, Manifest, media_type};
use crate::repository::{ErrorKind, Garbage, Placement, Reference, Repository, UploadStart};

const HOUR: Duration = Duration::from_secs(3600);

/// Two hours from now: everything that is there is old then. Nobody can make a file old, because
/// its change is seen.
fn later() -> Timestamp {
    Timestamp::now() + 2 * HOUR
}

/// Makes a blob's file two hours younger, so that it is young even `later`.
fn keep_young(layout: &Layout, digest: &Digest) {
    set_modified(layout, digest, SystemTime::now() + 2 * HOUR);
}

/// Gives a blob's file the modification time of two hours ago, as `cp -p` may.
fn age(layout: &Layout, digest: &Digest) {
    set_modified(layout, digest, SystemTime::now() - 2 * HOUR);
}

fn age_all(layout: &Layout) {
    for digest in blobs(layout.folder()) {
        age(layout, &digest);
    }
}

/// The blobs that are there.
fn blobs(folder: &Path) -> BTreeSet<Digest> {
    let mut found = BTreeSet::new();
    for algorithm in ["sha256", "sha512"] {
        let Ok(entries) = fs::read_dir(folder.join("blobs").join(algorithm)) else { continue };
        for entry in entries {
            let name = entry.unwrap().file_name().into_string().unwrap();
            found.extend(format!("{algorithm}:{name}").parse::<Digest>());
        }
    }
    found
}

async fn collect(layout: &Layout) -> Garbage {
    layout.collect_garbage(later(), HOUR, false).await.unwrap()
}

/// A layout with an old blob that nothing needs.
async fn with_garbage() -> (tempfile::TempDir, Layout, Digest) {
    let (root, layout) = layout().await;
    let garbage = push(&layout, b"garbage").await;
    (root, layout, garbage)
}

#[tokio::test]
async fn an_unlisted_image_is_removed_with_its_own_blobs() {
    let (_root, layout) = layout().await;
    let one = image(&layout, "one", None).await;
    let other = image(&layout, "other", None).await;
    put(&layout, "one", &one).await;
    put(&layout, "other", &other).await;
    assert_eq!(collect(&layout).await, Garbage::default());
    assert!(layout.delete(&Reference::Tag(tag("one"))).await.unwrap());
    let bytes = one.raw.len() as u64 + 3;
    assert_eq!(collect(&layout).await, Garbage { blobs: 2, bytes, ..Garbage::default() });
    assert_eq!(layout.manifest(&Reference::Digest(one.digest)).await.unwrap(), None);
    assert_eq!(blobs(layout.folder()), [other.digest, Digest::of(b"other")].into());
}

/// More than are removed at a time.
#[tokio::test]
async fn more_garbage_than_one_batch_is_removed() {
    let (_root, layout, _kept) = with_image("kept", "kept").await;
    let now = Timestamp::now() + HOUR;
    for at in 0..1200_u32 {
        let digest = Digest::of(&at.to_le_bytes());
        fs::write(files::blob(layout.folder(), &digest), at.to_le_bytes()).unwrap();
    }
    let garbage = layout.collect_garbage(now, Duration::ZERO, false).await.unwrap();
    assert_eq!(garbage, Garbage { blobs: 1200, bytes: 4800, ..Garbage::default() });
    assert_eq!(blobs(layout.folder()).len(), 2);
}

#[tokio::test]
async fn an_entry_that_is_not_understood_ends_the_collection() {
    let foreign =
        json!({ "mediaType": "application/x-future", "digest": Digest::of(b"x"), "size": 1 });
    let cases: Vec<(Value, &[u8], &str)> = vec![
        (json!({ "size": 1 }), b"", "an entry of index.json is not understood: it has no digest"),
        (json!({ "digest": "blake3:00" }), b"", "digest algorithm `blake3` is not supported"),
        (foreign.clone(), b"x", "it is not a valid manifest"),
        (foreign, b"y", "its content has the digest"),
    ];
    for (entry, content, expected) in cases {
        let (_root, layout, garbage) = with_garbage().await;
        let index = json!({ "schemaVersion": 2, "manifests": [entry] });
        fs::write(layout.folder().join("index.json"), index.to_string()).unwrap();
        if !content.is_empty() {
            fs::write(files::blob(layout.folder(), &Digest::of(b"x")), content).unwrap();
        }
        for dry_run in [true, false] {
            let error = layout.collect_garbage(later(), HOUR, dry_run).await.unwrap_err();
            let error = error.to_string();
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(error.contains("nothing can be removed"), "{error}");
            assert!(error.contains(&format!("collect garbage in {}", layout.name())), "{error}");
        }
        assert!(blobs(layout.folder()).contains(&garbage));
    }
}

/// Something of an unknown type deep in a listed index; it hurts only if it is there.
#[tokio::test]
async fn an_unknown_type_in_an_index_ends_the_collection() {
    let (_root, layout, garbage) = with_garbage().await;
    let unknown = Descriptor::new("application/x", Digest::of(b"{}"), 2);
    let index = Manifest::index_of(&[unknown]).unwrap();
    put(&layout, "t", &index).await;
    let content = push(&layout, b"{}").await;
    let error = layout.collect_garbage(later(), HOUR, false).await.unwrap_err();
    assert!(error.to_string().contains("`application/x` is not one that can be copied"), "{error}");
    fs::remove_file(files::blob(layout.folder(), &content)).unwrap();
    assert_eq!(collect(&layout).await.blobs, 1);
    assert!(!blobs(layout.folder()).contains(&garbage));
}

#[tokio::test]
async fn files_that_are_no_blobs_stay() {
    let (_root, layout, _) = with_garbage().await;
    let folder = layout.folder().join("blobs");
    fs::create_dir_all(folder.join("blake3")).unwrap();
    fs::create_dir_all(folder.join("sha256").join("0".repeat(64))).unwrap();
    let name = Digest::of(b"x").hex();
    for junk in [
        "README".to_owned(),
        format!("sha256/{}", name.to_uppercase()),
        format!("sha256/{name}.tmp"),
        format!("blake3/{name}"),
    ] {
        let file = fs::File::create_new(folder.join(junk)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    assert_eq!(collect(&layout).await, Garbage { blobs: 1, bytes: 7, young: 0, foreign: 5 });
    assert!(folder.join("README").is_file() && folder.join("blake3").join(name).is_file());
}

#[tokio::test]
async fn a_blob_that_was_found_is_young_again() {
    let (_root, layout) = layout().await;
    let found = push(&layout, b"found").await;
    let one = image(&layout, "one", None).await;
    layout.put_manifest(&Placement::Part, &one).await.unwrap();
    let index = Manifest::index_of(&[one.descriptor()]).unwrap();
    // It freshens what it names, and what that names.
    for again in [&one, &index] {
        age_all(&layout);
        let before = Timestamp::now();
        layout.put_manifest(&Placement::Part, again).await.unwrap();
        let garbage = layout.collect_garbage(before, Duration::ZERO, true).await.unwrap();
        assert_eq!((garbage.blobs, garbage.young), (1, blobs(layout.folder()).len() as u64 - 1));
    }
    age_all(&layout);
    let before = Timestamp::now();
    let started = layout.start_upload(&found, None).await.unwrap();
    assert!(matches!(started, UploadStart::Present));
    let garbage = layout.collect_garbage(before, Duration::ZERO, true).await.unwrap();
    assert_eq!((garbage.blobs, garbage.young), (3, 1));
}

#[tokio::test]
async fn a_mounted_blob_is_young() {
    let root = tempfile::tempdir().unwrap();
    let layouts = Layouts::open(root.path()).await.unwrap();
    let one = layouts.get_or_create(&"one".parse().unwrap()).await.unwrap();
    let other = layouts.get_or_create(&"other".parse().unwrap()).await.unwrap();
    let blob = push(&one, b"mounted").await;
    age(&one, &blob);
    let before = Timestamp::now();
    let started = other.start_upload(&blob, Some("one")).await.unwrap();
    assert!(matches!(started, UploadStart::Present));
    let garbage = other.collect_garbage(before, Duration::ZERO, false).await.unwrap();
    assert_eq!(garbage, Garbage { young: 1, ..Garbage::default() });
}

/// The last look is the one under the list's lock: a collector may have been there after the first.
#[tokio::test]
async fn an_image_whose_blob_was_collected_meanwhile_is_not_listed() {
    let (_root, layout) = layout().await;
    let one = image(&layout, "one", None).await;
    assert_eq!(collect(&layout).await.blobs, 1);
    let edit = Edit::Put {
        manifest: Box::new(one.clone()),
        tag: Some(tag("t")),
        untagged: Untagged::Always,
    };
    let done = layout.0.listing.edit(edit).await.unwrap();
    assert_eq!(done, Done::Lacks(Digest::of(b"one")));
    assert!(listed(layout.folder()).is_empty());
    // And a child without its blobs makes an index incomplete, while an absent child does not.
    let index = Manifest::index_of(&[one.descriptor()]).unwrap();
    put(&layout, "sparse", &index).await;
    fs::write(files::blob(layout.folder(), &one.digest), &one.raw).unwrap();
    let error = layout.put_manifest(&Placement::Tag(tag("t")), &index).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingParts, "{error}");
    assert!(error.to_string().contains(&Digest::of(b"one").to_string()), "{error}");
}

/// `rsync -a`, `cp -p` and tar bring files with the times of their originals.
#[tokio::test]
async fn a_file_copied_with_an_old_time_is_young() {
    let (_root, layout, garbage) = with_garbage().await;
    age(&layout, &garbage);
    let collected = layout.collect_garbage(Timestamp::now(), HOUR, false).await.unwrap();
    assert_eq!(collected, Garbage { young: 1, ..Garbage::default() });
    assert_eq!(collect(&layout).await.blobs, 1);
}

/// The blobs of another layout: the list of this one says nothing of the other's needs.
#[tokio::test]
async fn nothing_is_removed_behind_a_link() {
    for linked in ["blobs", "blobs/sha256"] {
        let (root, one) = layout().await;
        let other = Layout::open_or_create(root.path().join("other")).await.unwrap();
        let kept = image(&other, "kept", None).await;
        put(&other, "t", &kept).await;
        let link = one.folder().join(linked);
        let _ = fs::remove_dir(&link);
        std::os::unix::fs::symlink(other.folder().join(linked), &link).unwrap();
        let error = one.collect_garbage(later(), HOUR, false).await.unwrap_err().to_string();
        assert!(error.contains(&format!("{linked} is a link")), "{error}");
        let error = one.delete(&Reference::Digest(kept.digest.clone())).await.unwrap_err();
        assert!(error.to_string().contains("links in a layout are not followed"), "{error}");
        assert_eq!(other.manifest(&Reference::Tag(tag("t"))).await.unwrap(), Some(kept));
        assert_eq!(blobs(other.folder()).len(), 2);
    }
}

/// A random layout: what points at what, backwards only.
#[derive(Debug, Clone)]
struct Node {
    kind: Kind,
    /// Places of earlier nodes, taken modulo their number.
    names: Vec<usize>,
    subject: Option<usize>,
    listed: Listing,
    old: bool,
    absent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Blob,
    Image,
    Index,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Listing {
    No,
    Tagged,
    Untagged,
}

prop_compose! {
    fn node()(
        kind in prop_oneof![3 => Just(Kind::Blob), 3 => Just(Kind::Image), 2 => Just(Kind::Index)],
        names in prop::collection::vec(any::<usize>(), 1..4),
        subject in prop::option::weighted(0.2, any::<usize>()),
        listed in prop_oneof![
            5 => Just(Listing::No), 1 => Just(Listing::Tagged), 1 => Just(Listing::Untagged)
        ],
        old in any::<bool>(),
        absent in prop::bool::weighted(0.1),
    ) -> Node {
        Node { kind, names, subject, listed, old, absent }
    }
}

/// What a node became.
struct Made {
    digest: Digest,
    descriptor: Value,
    content: Vec<u8>,
    /// What it names, by place.
    names: Vec<usize>,
}

fn make(nodes: &[Node]) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let places = |manifests: bool| -> Vec<usize> {
            (0..at).filter(|at| (nodes[*at].kind != Kind::Blob) == manifests).collect()
        };
        let (blobs, manifests) = (places(false), places(true));
        let pick = |from: &[usize], wanted: &[usize]| -> Vec<usize> {
            if from.is_empty() {
                return Vec::new();
            }
            wanted.iter().map(|wanted| from[wanted % from.len()]).collect()
        };
        let mut names = match node.kind {
            Kind::Blob => Vec::new(),
            Kind::Image => pick(&blobs, &node.names),
            Kind::Index => pick(&manifests, &node.names),
        };
        let descriptors: Vec<&Value> = names.iter().map(|at| &made[*at].descriptor).collect();
        let mut json = match (node.kind, descriptors.split_first()) {
            (Kind::Image, Some((config, layers))) => json!({
                "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
                "config": config, "layers": layers, "annotations": { "at": at.to_string() },
            }),
            (Kind::Blob, _) => json!({ "blob": at }),
            // An image of no blobs is none.
            _ => json!({
                "schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
                "manifests": descriptors, "annotations": { "at": at.to_string() },
            }),
        };
        if let (Some(subject), false) = (node.subject, node.kind == Kind::Blob) {
            let subject = pick(&manifests, &[subject]);
            for at in subject {
                json["subject"] = made[at].descriptor.clone();
                names.push(at);
            }
        }
        let content = json.to_string().into_bytes();
        let digest = Digest::of(&content);
        let media_type = json["mediaType"].as_str().unwrap_or("application/x");
        let descriptor =
            json!({ "mediaType": media_type, "digest": digest, "size": content.len() });
        made.push(Made { digest, descriptor, content, names });
    }
    made
}

async fn check(nodes: Vec<Node>) {
    let (_root, layout) = layout().await;
    let made = make(&nodes);
    let folder = layout.folder();
    let mut entries = Vec::new();
    let mut expected = Garbage { foreign: 2, ..Garbage::default() };
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    for junk in ["blobs/junk", "blobs/sha256/junk"] {
        fs::write(folder.join(junk), "junk").unwrap();
    }
    let mut needed = vec![false; nodes.len()];
    // What names something comes behind it, so one way back is enough.
    for (at, (node, made)) in nodes.iter().zip(&made).enumerate().rev() {
        let is_manifest = node.kind != Kind::Blob;
        if is_manifest && node.listed != Listing::No {
            needed[at] = true;
            let mut entry = made.descriptor.clone();
            if node.listed == Listing::Tagged {
                entry["annotations"] =
                    json!({ "org.opencontainers.image.ref.name": format!("t{at}") });
            }
            entries.push(entry);
        }
        if node.absent && is_manifest {
            continue;
        }
        fs::write(files::blob(folder, &made.digest), &made.content).unwrap();
        if !node.old {
            keep_young(&layout, &made.digest);
        }
        if needed[at] {
            made.names.iter().for_each(|at| needed[*at] = true);
        } else if node.old {
            expected.blobs += 1;
            expected.bytes += made.content.len() as u64;
        } else {
            expected.young += 1;
        }
    }
    let index = json!({ "schemaVersion": 2, "manifests": entries }).to_string();
    fs::write(folder.join("index.json"), &index).unwrap();
    let before = blobs(folder);
    let now = later();
    assert_eq!(layout.collect_garbage(now, HOUR, true).await.unwrap(), expected);
    assert_eq!(blobs(folder), before, "a dry run changes nothing");
    assert_eq!(layout.collect_garbage(now, HOUR, false).await.unwrap(), expected);
    let kept: BTreeMap<&Digest, bool> = nodes
        .iter()
        .zip(&made)
        .zip(needed)
        .map(|((node, made), needed)| (&made.digest, needed || !node.old))
        .collect();
    let stays: BTreeSet<Digest> = before.into_iter().filter(|digest| kept[digest]).collect();
    assert_eq!(blobs(folder), stays);
    let again = Garbage { blobs: 0, bytes: 0, ..expected };
    assert_eq!(layout.collect_garbage(now, HOUR, false).await.unwrap(), again);
    assert_eq!(fs::read_to_string(folder.join("index.json")).unwrap(), index);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_old_and_unneeded_blobs_are_removed(
        nodes in prop::collection::vec(node(), 0..30)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(nodes));
    }
}
