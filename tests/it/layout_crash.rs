//! Layouts written by several processes that are killed in the middle: what was reported as
//! done is there, and nothing is there in part.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tranship::layout::Layout;
use tranship::repository::{Placement, Reference, Repository};

use crate::conformance::{by_tag, push_image, tag};

pub const FOLDER: &str = "TRANSHIP_TEST_LAYOUT";
pub const WRITER: &str = "TRANSHIP_TEST_WRITER";

/// Not a test of its own: the process that `killed_writers_leave_whole_images` starts, which
/// pushes images until it is killed, and says of each when it is done.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is started by another test"]
async fn writer() {
    let (Ok(folder), Ok(writer)) = (std::env::var(FOLDER), std::env::var(WRITER)) else { return };
    let layout = Layout::open_or_create(folder).await.unwrap();
    for at in 0_u32.. {
        let name = format!("{writer}-{at}");
        let image = push_image(&layout, &name).await;
        layout.put_manifest(&Placement::Tag(tag(&name)), &image).await.unwrap();
        say("done", &name);
    }
}

/// Says something in one piece: of a line written in several, a kill could leave a part.
pub fn say(what: &str, of: &str) {
    std::io::stderr().write_all(format!("{what} {of}\n").as_bytes()).unwrap();
}

/// Starts one of the ignored tests as a process.
pub fn start(test: &str, folder: &Path, writer: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(WRITER, writer)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Kills a writer when it has said so many times that it was done; the images it named.
async fn kill_after(mut child: Child, count: usize) -> Vec<String> {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut done = Vec::new();
    let mut killed = false;
    // It may say more before it dies: that is read, too.
    while let Some(line) = lines.next_line().await.unwrap() {
        done.extend(line.strip_prefix("done ").map(str::to_owned));
        if done.len() >= count && !killed {
            child.start_kill().unwrap();
            killed = true;
        }
    }
    child.wait().await.unwrap();
    assert!(killed, "the writer ended by itself after {done:?}");
    done
}

#[tokio::test]
async fn killed_writers_leave_whole_images() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("app");
    let mut done = Vec::new();
    for round in 0..3 {
        let one =
            kill_after(start("layout_crash::writer", &folder, &format!("a{round}")), 5 + round);
        let other =
            kill_after(start("layout_crash::writer", &folder, &format!("b{round}")), 9 - round);
        let both = async { tokio::join!(one, other) };
        let (one, other) =
            tokio::time::timeout(Duration::from_secs(60), both).await.expect("the writers write");
        done.extend([one, other].concat());
        let layout = Layout::open(&folder).await.unwrap();
        let tags = layout.tags().await.unwrap().unwrap();
        for name in &done {
            assert!(tags.contains(&tag(name)), "{name} was done");
        }
        for tag in tags {
            let image = layout.manifest(&Reference::Tag(tag)).await.unwrap().expect("it is there");
            for blob in image.blobs() {
                assert_eq!(layout.blob_size(&blob.digest).await.unwrap(), Some(blob.size));
            }
        }
        assert!(layout.delete(&by_tag(&done.remove(0))).await.unwrap());
    }
}
