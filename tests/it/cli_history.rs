//! `tranship history`: what `tranship sync` did can be seen afterwards.

use serde_json::Value;

use crate::support::scripted::Fault;
use crate::support::{Family, Image, Kind, Place, Scripted, Tranship};

fn config(from: &str, to: &str) -> String {
    let rule = |name: &str| {
        format!(
            "[[sync]]\nname = \"{name}\"\nsource = \"{from}/{name}\"\ntarget = \"{to}/{name}\"\n"
        )
    };
    format!(
        "[registry.\"{from}\"]\ninsecure = \"http\"\n[registry.\"{to}\"]\ninsecure = \"http\"\n{}{}",
        rule("good"),
        rule("bad")
    )
}

async fn history(tranship: &Tranship, arguments: &[&str]) -> Value {
    let all = ["history", "--output", "json"].iter().chain(arguments);
    let finished = tranship.run(all).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap()
}

#[tokio::test]
async fn each_rule_of_a_sync_is_a_run_with_its_images() {
    let (source, target) = (Scripted::start(), Scripted::start());
    for repository in ["good", "bad"] {
        Image::single(Family::Oci, "app", &[100]).push(&source, repository, "1").await;
    }
    target.on("PUT", Kind::Manifest).containing("/bad/").fail(Fault::status(403));
    let tranship = Tranship::new();
    tranship.write("tranship.toml", config(source.host(), target.host()));
    let empty = tranship.run(["history"]).await;
    assert_eq!((empty.code, &*empty.stdout), (Some(0), "no runs\n"));
    assert_eq!(tranship.run(["sync", "--dry-run"]).await.code, Some(0));
    assert_eq!(tranship.run(["sync"]).await.code, Some(1));
    assert_eq!(tranship.run(["sync", "--rule", "good"]).await.code, Some(0));

    let all = history(&tranship, &[]).await;
    let runs = all["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3, "{runs:?}");
    assert_eq!((&runs[0]["rule"], &runs[0]["outcome"]), (&"good".into(), &"succeeded".into()));
    assert_eq!(runs[0]["counts"]["unchanged"], 1);
    assert!(runs.iter().all(|run| run["cause"] == "command"));

    let failed = history(&tranship, &["--failed", "--since", "1h"]).await;
    let failed = failed["runs"].as_array().unwrap();
    assert_eq!((failed.len(), &failed[0]["rule"]), (1, &"bad".into()));
    let one = history(&tranship, &[failed[0]["id"].as_str().unwrap()]).await;
    assert_eq!(one["run"], failed[0]);
    let images = one["images"].as_array().unwrap();
    assert_eq!((images.len(), &images[0]["action"]), (1, &"failed".into()));
    assert!(images[0]["errors"][0]["message"].as_str().unwrap().contains("403"));

    let rule = history(&tranship, &["--rule", "good", "--limit", "1"]).await;
    assert_eq!(rule["runs"].as_array().unwrap()[..], runs[..1]);
    let text = tranship.run(["history"]).await.stdout;
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.lines().any(|line| line.contains("bad") && line.contains("FAILED")), "{text}");
    let unknown = tranship.run(["history", "20200101T000000Z-000000"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("there is no run 20200101T000000Z-000000"), "{unknown:?}");
    assert_eq!(tranship.run(["history", "nonsense"]).await.code, Some(2));
}

/// A history that cannot be written is no reason to fail.
#[tokio::test]
async fn a_sync_succeeds_without_a_history() {
    let (source, target) = (Scripted::start(), Scripted::start());
    Image::single(Family::Oci, "app", &[100]).push(&source, "good", "1").await;
    Image::single(Family::Oci, "app", &[100]).push(&source, "bad", "1").await;
    let tranship = Tranship::new();
    tranship.write("tranship.toml", config(source.host(), target.host()));
    tranship.write(".local/state/tranship/history", "in the way");
    let finished = tranship.run(["sync"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let warnings = finished.stderr.matches("the history cannot be written").count();
    assert_eq!(warnings, 1, "{finished:?}");
}

/// The secrets are the daemon's: who only asks what it did, or does, need not have them.
#[tokio::test]
async fn what_only_asks_needs_no_secrets_of_registries() {
    let tranship = Tranship::new();
    let login = "username = \"u\"\npassword = { env = \"TRANSHIP_TEST_NOT_SET\" }\n";
    let rules = config("s.example", "r.example");
    let rules =
        rules.replace("[registry.\"r.example\"]\n", &format!("[registry.\"r.example\"]\n{login}"));
    tranship.write("tranship.toml", format!("[daemon]\nlisten = \"127.0.0.1:1\"\n{rules}"));
    assert_eq!(tranship.succeed(["history"]).await.stdout, "no runs\n");
    assert_eq!(tranship.run(["status"]).await.code, Some(0));
    for command in ["reload", "run good", "cancel good"] {
        let finished = tranship.run(command.split(' ')).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("is `tranship serve` running?"), "{finished:?}");
    }
    let finished = tranship.run(["sync"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("TRANSHIP_TEST_NOT_SET is not set"), "{finished:?}");
}
