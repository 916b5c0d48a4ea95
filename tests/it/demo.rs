//! `tranship demo`: what it shows, that it leaves nothing behind, and that what it keeps works.

use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::process::{Finished, Running};
use crate::support::{Tranship, eventually};

fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap()
}

#[tokio::test]
async fn it_tells_what_happens_and_leaves_nothing_behind() {
    let tranship = Tranship::new();
    let temporary = tranship.home().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    // A proxy that cannot be reached, and a login that nobody may use.
    let login = r#"{"credsStore":"must-not-be-asked"}"#;
    tranship.write(".docker/config.json", login);
    let mut command = tranship.command();
    command.arg("demo").env("TMPDIR", &temporary).env_remove("NO_PROXY");
    for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        command.env(proxy, "http://127.0.0.1:9");
    }
    let Finished { code, stdout, stderr } = Running::new(&mut command).finish().await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    for line in [
        "1. Two registries start",
        "acme/web: 1.0, 1.1, latest",
        "rule acme: 5 copied, 0 unchanged",
        "rule acme: 0 copied, 5 unchanged",
        "rule acme: 1 copied, 4 unchanged",
        "ok: the signature came along",
        "ok: only the new blobs were sent",
        "ok: every image is equal",
        "All of it worked",
        "demo --keep ./demo",
    ] {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
    assert!(!stdout.contains("FAILED"), "{stdout}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    let mut left: Vec<_> = std::fs::read_dir(tranship.home())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, [".docker", "tmp"]);
}

#[tokio::test]
async fn the_document_has_every_step_with_its_numbers() {
    let tranship = Tranship::new();
    let finished = tranship.succeed(["demo", "--output", "json"]).await;
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(report["success"], true);
    assert_eq!(report["next"], serde_json::json!([]));
    assert_eq!(report["source"]["folder"], Value::Null);
    let names: Vec<&str> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["prepare", "first_sync", "second_sync", "moved_tag", "verify"]);
    for step in report["steps"].as_array().unwrap() {
        let checks = step["checks"].as_array().unwrap();
        assert!(!checks.is_empty() && checks.iter().all(|check| check["passed"] == true), "{step}");
    }
    let first = step(&report, "first_sync");
    assert_eq!((&first["images"]["copied"], &first["images"]["unchanged"]), (&6.into(), &0.into()));
    assert_eq!(first["target_requests"]["POST"], 31);
    assert!(first["bytes_sent"].as_u64().unwrap() > 256 << 10);
    let second = step(&report, "second_sync");
    assert_eq!(second["images"]["unchanged"], 6);
    assert_eq!(second["target_requests"], serde_json::json!({ "HEAD": 6 }));
    let moved = step(&report, "moved_tag");
    assert_eq!((&moved["images"]["copied"], &moved["blobs_sent"]), (&1.into(), &8.into()));
    assert!(moved["bytes_sent"].as_u64().unwrap() < 64 << 10);
    assert_eq!(step(&report, "verify")["images"]["verified"], 6);
}

/// The commands are given to a shell as they are printed. The folder's name needs quotes.
#[tokio::test]
async fn the_commands_that_it_prints_work() {
    let tranship = Tranship::new();
    let shown = tranship.succeed(["demo", "--keep", "my demo"]).await.stdout;
    let commands: Vec<&str> = shown
        .lines()
        .skip_while(|line| !line.starts_with("Kept in "))
        .map(str::trim)
        .filter(|line| !line.starts_with("Kept"))
        .filter(|line| line.contains("my demo") || line.contains("://"))
        .collect();
    let shell = |line: &str| {
        let tranship = tranship.command();
        let variables = tranship.as_std().get_envs().filter_map(|(key, value)| Some((key, value?)));
        let mut shell = Command::new("sh");
        shell.env_clear().envs(variables).args(["-c", line]).current_dir("/");
        Running::new(&mut shell)
    };
    let (serving, rest): (Vec<&str>, Vec<&str>) =
        commands.into_iter().partition(|line| line.contains(" serve-layout "));
    assert_eq!((serving.len(), rest.len()), (2, 5), "{shown}");
    let mut servers = Vec::new();
    for line in &serving {
        servers.push(shell(&format!("exec {line}")));
        let address = line.split("--listen ").nth(1).unwrap().split(' ').next().unwrap();
        eventually("the served layouts", Duration::from_secs(10), || async {
            TcpStream::connect(address).await.ok()
        })
        .await;
    }
    let mut outputs = Vec::new();
    for line in rest {
        let finished = shell(line).finish().await;
        assert_eq!(finished.code, Some(0), "{line}: {finished:?}");
        outputs.push(finished.stdout);
    }
    let [config, sync, verify, tags, inspected] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(config.contains("[[sync]]"), "{config}");
    assert!(sync.contains("acme: 0 copied, 5 unchanged"), "{sync}");
    assert!(verify.contains("6 of 6 images equal"), "{verify}");
    let tags: Value = serde_json::from_str(tags).unwrap();
    assert_eq!(tags["name"], "mirror/acme/web");
    let inspected: Value = serde_json::from_str(inspected).unwrap();
    assert_eq!(inspected["Labels"]["org.opencontainers.image.version"], "1.2");
    for server in servers {
        assert_eq!(server.terminate().await.code, Some(0));
    }
}

#[tokio::test]
async fn the_images_are_real_to_others() {
    let tranship = Tranship::new();
    tranship.succeed(["demo", "--keep", "demo", "--quiet"]).await;
    let source = tranship.home().join("demo/source/acme/web");
    let archive = format!("docker-archive:{}", tranship.home().join("web.tar").display());
    // Converting checks digests, sizes and the layers' own digests.
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--override-arch", "arm64"]);
    skopeo.args([&format!("oci:{}:1.1", source.display()), &archive]);
    let finished = Running::new(&mut skopeo).finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn a_folder_with_something_in_it_is_left_alone() {
    let tranship = Tranship::new();
    tranship.write("mine/file", "x");
    let finished = tranship.run(["demo", "--keep", "mine"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""));
    assert!(finished.stderr.contains("mine is not empty"), "{finished:?}");
    assert_eq!(std::fs::read_dir(tranship.home().join("mine")).unwrap().count(), 1);
}
