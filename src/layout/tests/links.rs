//! Links, pipes and devices in a layout: nothing outside of it is read or written, and nobody waits.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode};

use super::{begin, body, image, layout, push, put, tag, with_image};
use crate::layout::{Layout, Layouts, files};
use crate::oci::{Digest, RepositoryName};
use crate::repository::{Placement, Reference, Repository, UploadStart};

fn pipe(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from(0o600), 0).unwrap();
}

/// Fails where the program would hang.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("it hangs")
}

#[tokio::test]
async fn a_pipe_in_place_of_a_file_hangs_nobody() {
    for name in ["index.json", "oci-layout"] {
        let (_root, layout, _image) = with_image("{}", "t").await;
        let path = layout.folder().join(name);
        fs::remove_file(&path).unwrap();
        pipe(&path);
        let opened = soon(Layout::open(layout.folder())).await;
        let error = match opened {
            Ok(layout) => soon(layout.tags()).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(name), "{error}");
        // Nothing is begun in its place.
        assert!(
            soon(layout.put_manifest(&Placement::Tag(tag("u")), &_image)).await.is_err()
                || name == "oci-layout"
        );
    }
}

#[tokio::test]
async fn a_blob_that_is_no_file_is_not_there_and_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let secret = root.path().join("secret");
    fs::write(&secret, "root:x:0:0").unwrap();
    for is_link in [true, false] {
        let (_root, layout) = layout().await;
        // Even if the link leads to the right content.
        let digest = Digest::of(b"root:x:0:0");
        let path = files::blob(layout.folder(), &digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if is_link {
            symlink(&secret, &path).unwrap()
        } else {
            pipe(&path)
        }
        assert_eq!(soon(layout.blob_size(&digest)).await.unwrap(), None);
        assert!(soon(layout.blob(&digest, 0)).await.is_err());
        let by_digest = Reference::Digest(digest.clone());
        assert_eq!(soon(layout.manifest(&by_digest)).await.unwrap(), None);
        assert_eq!(soon(layout.resolve(&by_digest)).await.unwrap(), None);
        assert_eq!(soon(layout.pushed_at(&digest)).await.unwrap(), None);
        let session = soon(begin(&layout, &digest)).await;
        soon(layout.finish_upload(&session, &digest, body(b"root:x:0:0"))).await.unwrap();
        assert!(path.symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read(&secret).unwrap(), b"root:x:0:0");
    }
}

#[tokio::test]
async fn a_link_where_tranship_writes_is_not_followed() {
    for name in [".tranship", ".tranship/uploads", "blobs", "blobs/sha256"] {
        let (root, layout, one) = with_image("{}", "t").await;
        let (outside, link) = (root.path().join("outside"), layout.folder().join(name));
        fs::rename(&link, &outside).unwrap();
        symlink(&outside, &link).unwrap();
        let before = files_below(&outside);
        let layout = Layout::open(layout.folder()).await.unwrap();
        let digest = Digest::of(b"new");
        let pushed = async {
            let UploadStart::Session(session) = layout.start_upload(&digest, None).await? else {
                panic!("it is not there")
            };
            layout.finish_upload(&session, &digest, body(b"new")).await
        };
        let error = pushed.await.unwrap_err().to_string();
        assert!(error.contains(&format!("{name} is a link, and links")), "{error}");
        let other = Layout::open_or_create(root.path().join("other")).await.unwrap();
        let other = image(&other, "other", None).await;
        assert!(layout.put_manifest(&Placement::Tag(tag("u")), &other).await.is_err(), "{name}");
        let deleted = layout.delete(&Reference::Digest(one.digest.clone())).await;
        assert!(deleted.is_err() || name == ".tranship/uploads", "{name}");
        if name != ".tranship/uploads" {
            assert_eq!(files_below(&outside), before, "{name}");
        }
    }
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The list that is being written may be a link that somebody has put there.
#[tokio::test]
async fn a_link_in_place_of_the_new_list_is_replaced() {
    let (root, layout, one) = with_image("{}", "t").await;
    let outside = root.path().join("outside");
    fs::write(&outside, "kept").unwrap();
    symlink(&outside, layout.folder().join(".tranship/index.json.new")).unwrap();
    put(&layout, "u", &one).await;
    assert_eq!(fs::read(&outside).unwrap(), b"kept");
    assert!(layout.folder().join("index.json").symlink_metadata().unwrap().is_file());
}

/// A repository of a tree that is a link to the outside.
#[tokio::test]
async fn a_repository_that_is_a_link_is_none() {
    let root = tempfile::tempdir().unwrap();
    let outside = Layout::open_or_create(root.path().join("outside")).await.unwrap();
    let digest = push(&outside, b"secret").await;
    let tree = root.path().join("tree");
    let layouts = Layouts::open_or_create(&tree).await.unwrap();
    symlink(outside.folder(), tree.join("linked")).unwrap();
    fs::create_dir(tree.join("team")).unwrap();
    symlink(outside.folder(), tree.join("team/linked")).unwrap();
    symlink(root.path(), tree.join("up")).unwrap();
    let before = files_below(outside.folder());
    let mine = layouts.get_or_create(&"mine".parse().unwrap()).await.unwrap();
    for name in ["linked", "team/linked", "up/outside"] {
        let repository: RepositoryName = name.parse().unwrap();
        assert!(layouts.get(&repository).await.unwrap().is_none(), "{name}");
        assert!(Layout::open_below(&tree, &repository).await.is_err(), "{name}");
        // Nothing is mounted from there.
        let mounted = mine.start_upload(&digest, Some(name)).await.unwrap();
        assert!(matches!(mounted, UploadStart::Session(_)), "{name}");
    }
    for name in ["linked", "linked/new", "team/linked/new", "up/new"] {
        let error = layouts.get_or_create(&name.parse().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("is a link, and links in a layout are not followed"), "{error}");
    }
    assert_eq!(files_below(outside.folder()), before);
    assert!(!root.path().join("new").exists());
}

/// The user's own path to a layout or a tree may lead through links.
#[tokio::test]
async fn the_folder_itself_may_be_reached_through_a_link() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("real")).unwrap();
    symlink(root.path().join("real"), root.path().join("link")).unwrap();
    let link = root.path().join("link");
    let layout = Layout::open_or_create(link.join("app")).await.unwrap();
    let one = image(&layout, "one", None).await;
    put(&layout, "t", &one).await;
    assert_eq!(layout.folder(), root.path().canonicalize().unwrap().join("real/app"));
    let layouts = Layouts::open(&link).await.unwrap();
    assert!(layouts.get(&"app".parse().unwrap()).await.unwrap().is_some());
    layouts.get_or_create(&"new/one".parse().unwrap()).await.unwrap();
    assert!(Layout::open_below(&link, &"app".parse().unwrap()).await.is_ok());
    symlink(link.join("app"), root.path().join("again")).unwrap();
    assert!(Layout::open(root.path().join("again")).await.is_ok());
}
