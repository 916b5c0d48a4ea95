//! Garbage collected from a layout while others write to it, all of them killed in the middle:
//! what was said to be done is whole. And skopeo as the second opinion on what is left.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tranship::layout::Layout;
use tranship::oci::{Digest, Manifest};
use tranship::repository::{ErrorKind, Placement, Reference, Repository};

use crate::conformance::{by_tag, image, index, push_image, tag};
use crate::layout_crash::{FOLDER, WRITER, say, start};
use crate::layout_skopeo::{oci, skopeo};

/// So many contents are shared by all writers, so that they meet each other's blobs.
const CONTENTS: u32 = 16;

/// Not a test of its own: the process that pushes images until it is killed. What the collector
/// took from under it, it pushes again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is started by another test"]
async fn writer() {
    let (Ok(folder), Ok(writer)) = (std::env::var(FOLDER), std::env::var(WRITER)) else { return };
    let layout = Layout::open_or_create(folder).await.unwrap();
    for at in 0_u32.. {
        let name = format!("{writer}-{}", at % 4);
        let content = format!("content {}", (at * 7 + writer.len() as u32) % CONTENTS);
        let is_index = at % 3 == 0;
        loop {
            let image = push_image(&layout, &content).await;
            let placement = Placement::Tag(tag(&name));
            let put = if is_index {
                // A child and the index over it; the child may be taken between the two.
                match layout.put_manifest(&Placement::Part, &image).await {
                    Ok(_) => layout.put_manifest(&placement, &index(&[image.descriptor()])).await,
                    refused => refused,
                }
            } else {
                layout.put_manifest(&placement, &image).await
            };
            match put {
                Ok(_) => break,
                Err(error) => assert_eq!(error.kind(), ErrorKind::MissingParts, "{error}"),
            }
        }
        // At once, because others soon bring the same blobs again.
        let put = layout.manifest(&by_tag(&name)).await.unwrap().expect("it was put");
        assert_whole(&layout, put).await;
        say("done", &name);
        if at % 5 == 4 {
            // What it named is garbage then, unless others name it.
            layout.delete(&by_tag(&name)).await.unwrap();
            say("gone", &name);
        }
    }
}

/// Not a test of its own: the process that collects garbage of any age until it is killed. Its
/// clock is ahead, so that no age protects anything.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is started by another test"]
async fn collector() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let layout = Layout::open_or_create(folder).await.unwrap();
    loop {
        let later = Timestamp::now() + Duration::from_secs(3600);
        let garbage = layout.collect_garbage(later, Duration::ZERO, false).await;
        say("done", &garbage.unwrap().blobs.to_string());
        // Or nobody would ever come to put a manifest.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..40))).await;
    }
}

/// Kills a process after some time; what it said until then, and that it did not end by itself.
async fn kill_after(mut child: Child, time: Duration) -> Vec<String> {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    let sleep = tokio::time::sleep(time);
    tokio::pin!(sleep);
    let mut killed = false;
    loop {
        tokio::select! {
            () = &mut sleep, if !killed => {
                child.start_kill().unwrap();
                killed = true;
            }
            line = lines.next_line() => match line.unwrap() {
                Some(line) => said.push(line),
                None => break,
            },
        }
    }
    child.wait().await.unwrap();
    assert!(killed, "it ended by itself after {said:?}");
    said
}

/// Reads a blob to its end, and compares its digest.
async fn assert_blob(layout: &Layout, digest: &Digest) {
    let mut reader = layout.blob(digest, 0).await.unwrap();
    let mut content = Vec::new();
    while let Some(chunk) = reader.chunks.next().await {
        content.extend_from_slice(&chunk.unwrap());
    }
    assert!(digest.matches(&content), "{digest}");
}

/// Whether an image has all its blobs, and each child of an index that is there has its own.
async fn assert_whole(layout: &Layout, root: Manifest) {
    let mut next = vec![root];
    while let Some(manifest) = next.pop() {
        for blob in manifest.blobs() {
            assert_blob(layout, &blob.digest).await;
        }
        for child in manifest.children() {
            let child = Reference::Digest(child.digest.clone());
            next.extend(layout.manifest(&child).await.unwrap());
        }
    }
}

#[tokio::test]
async fn whatever_is_killed_what_was_done_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("app");
    Layout::open_or_create(&folder).await.unwrap();
    let (mut done, mut collected) = (0, 0);
    for round in 0..6_u64 {
        // Other moments in each round, and in each run of the test.
        let nanos =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
        let time =
            |part: u32| Duration::from_millis(400 + 100 * round + u64::from((nanos >> part) % 300));
        let (one, other) = (format!("a{round}"), format!("bb{round}"));
        let writers = async {
            tokio::join!(
                kill_after(start("layout_garbage::writer", &folder, &one), time(3)),
                kill_after(start("layout_garbage::writer", &folder, &other), time(7)),
                kill_after(start("layout_garbage::collector", &folder, ""), time(5)),
            )
        };
        let (said, more, removed) = writers.await;
        let layout = Layout::open(&folder).await.unwrap();
        let tags = layout.tags().await.unwrap().unwrap_or_default();
        for said in [&said, &more] {
            done += said.iter().filter(|line| line.starts_with("done ")).count();
            let steps = || said.iter().filter_map(|line| line.split_once(' '));
            let mut there: BTreeMap<_, _> = steps().map(|(what, name)| (name, what)).collect();
            // It may have been about to delete the last one.
            if let Some((_, name)) = steps().next_back() {
                there.remove(name);
            }
            for (name, _) in there.into_iter().filter(|(_, what)| *what == "done") {
                assert!(tags.contains(&tag(name)), "{name} was done");
            }
        }
        let removed = removed.iter().filter_map(|line| line.strip_prefix("done "));
        collected += removed.map(|count| count.parse::<usize>().unwrap()).sum::<usize>();
        for tag in tags {
            let image = layout.manifest(&Reference::Tag(tag.clone())).await.unwrap();
            assert_whole(&layout, image.unwrap_or_else(|| panic!("{tag} is there"))).await;
        }
        // Every entry is understood.
        layout.untagged().await.unwrap();
    }
    assert!(done > 10 && collected > 0, "{done} done, {collected} collected");
    // And the next collection has nothing against going on.
    let layout = Layout::open(&folder).await.unwrap();
    layout.collect_garbage(Timestamp::now(), Duration::ZERO, false).await.unwrap();
    let again = layout.collect_garbage(Timestamp::now(), Duration::ZERO, false).await.unwrap();
    assert_eq!((again.blobs, again.young), (0, 0));
}

#[tokio::test]
async fn skopeo_copies_what_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("app");
    let layout = Layout::open_or_create(&folder).await.unwrap();
    for name in ["kept", "goes", "child", "signature"] {
        push_image(&layout, name).await;
    }
    let (kept, goes, child) = (image("kept", None), image("goes", None), image("child", None));
    let multi = index(&[child.descriptor()]);
    layout.put_manifest(&Placement::Part, &child).await.unwrap();
    for (name, manifest) in [("kept", &kept), ("goes", &goes), ("multi", &multi)] {
        layout.put_manifest(&Placement::Tag(tag(name)), manifest).await.unwrap();
    }
    let signature = image("signature", Some(&kept));
    layout.put_manifest(&Placement::Part, &signature).await.unwrap();
    assert!(layout.delete(&by_tag("goes")).await.unwrap());
    let collect = || layout.collect_garbage(Timestamp::now(), Duration::ZERO, false);
    assert_eq!(collect().await.unwrap().blobs, 3);
    assert_eq!(collect().await.unwrap().blobs, 0);
    assert_blob(&layout, &signature.blobs()[0].digest).await;
    assert_eq!(layout.manifest(&Reference::Digest(goes.digest)).await.unwrap(), None);
    for name in ["kept", "multi"] {
        let out = format!("dir:{}", root.path().join(name).display());
        let copy = ["copy", "--all", "--preserve-digests", &oci(&folder, name), &out];
        if skopeo(&copy).await.is_none() {
            return;
        }
    }
    // What skopeo writes is kept, too, and what it no longer lists goes.
    let from = oci(&folder, "kept");
    skopeo(&["copy", "--preserve-digests", &from, &oci(&root.path().join("theirs"), "x")]).await;
    let theirs = Layout::open(root.path().join("theirs")).await.unwrap();
    let collected = theirs.collect_garbage(Timestamp::now(), Duration::ZERO, false).await.unwrap();
    assert_eq!(collected.blobs, 0);
    assert!(theirs.delete(&by_tag("x")).await.unwrap());
    let collected = theirs.collect_garbage(Timestamp::now(), Duration::ZERO, false).await.unwrap();
    assert_eq!(collected.blobs, 3);
    assert!(Path::new(&root.path().join("theirs/index.json")).is_file());
}
