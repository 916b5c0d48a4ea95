//! `tranship verify` beside the daemon of the same configuration, which knows what cleanup rules
//! deleted.

use serde_json::{Value, json};

use crate::daemon_beside::{Beside, command, on_request, on_request_sync};
use crate::daemon_cleanup::image;
use crate::daemon_setup::Home;
use crate::support::{Place, Scripted};

/// A daemon that has copied two images, and deleted one of them at the target.
async fn cleaned(source: &Scripted, target: &Scripted) -> Beside {
    for tag in ["1.0.0", "pr-1"] {
        image(tag).load(source, "app", tag);
    }
    let limits = "max_delete = { count = 9, percent = 100 }\nmode = \"apply\"";
    let home = Home::new()
        .registry(source, "")
        .registry(target, "")
        .rule("apps", &on_request_sync(source, target, "app"))
        .cleanup("tidy", &on_request(target, "app", limits));
    let beside = Beside::start(home).await;
    assert_eq!(beside.json(&["run", "apps"], 0).await["sync"][0]["counts"]["copied"], 2);
    beside.json(&["run", "tidy"], 0).await;
    assert_eq!(target.tag("app", "pr-1"), None);
    beside
}

#[tokio::test]
async fn what_a_cleanup_rule_deleted_is_not_missed() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let beside = cleaned(&source, &target).await;
    let mark = target.mark();
    for arguments in [&["verify"][..], &["verify", "--rule", "apps", "--read"]] {
        let verified = beside.json(arguments, 0).await;
        let counts =
            json!({ "equal": 1, "repaired": 0, "different": 0, "failed": 0, "withheld": 1 });
        assert_eq!(verified["counts"], counts, "{verified:#}");
        assert_eq!(verified["notes"], json!([]), "{verified:#}");
    }
    assert_eq!(target.requests_since(mark).writes(), 0);
    // Another image under the same tag is missing.
    image("moved").load(&source, "app", "pr-1");
    let verified = beside.json(&["verify"], 1).await;
    assert_eq!(
        (&verified["counts"]["different"], &verified["counts"]["withheld"]),
        (&json!(1), &json!(0))
    );
}

/// The daemon has another configuration, or is none of this program: the report says what is not known.
#[tokio::test]
async fn a_daemon_that_does_not_know_the_rule_leaves_a_note() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let beside = cleaned(&source, &target).await;
    let file = beside.home.tranship.home().join("cli.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"apps\"", "\"renamed\"")).unwrap();
    let verified = beside.json(&["verify"], 1).await;
    assert_eq!(verified["counts"]["different"], 1, "{verified:#}");
    let note = verified["notes"][0].as_str().unwrap();
    assert!(note.contains("may be taken for missing ones"), "{note}");
    assert!(note.contains("renamed"), "{note}");
}

/// A plan names them, whoever makes it. People see them if they ask for more.
#[tokio::test]
async fn plans_name_what_is_withheld() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let beside = cleaned(&source, &target).await;
    let name = format!("{}/app:pr-1", target.host());
    let check = |document: &Value, key: &str| {
        let rule = &document[key][0];
        assert_eq!(rule["counts"]["withheld"], 1, "{document:#}");
        let images = rule["images"].as_array().unwrap();
        assert_eq!(images.len(), 1, "{document:#}");
        assert_eq!(
            (&images[0]["action"], &images[0]["target"]),
            (&json!("withheld"), &json!(name))
        );
        assert_eq!(images[0]["source_digest"], image("pr-1").digest);
    };
    check(&beside.json(&["plan", "apps"], 0).await, "sync");
    check(&beside.json(&["sync", "--dry-run"], 0).await, "rules");
    let api = beside.daemon.get("/api/v1/rules/apps/plan").await;
    assert_eq!(api["images"][0]["target"], json!(name), "{api:#}");
    let short = beside.run(&["plan", "apps"]).await.stdout;
    assert!(!short.contains(&name) && short.contains("1 withheld (cleaned up)"), "{short}");
    let long = beside.run(&["plan", "apps", "-v"]).await.stdout;
    assert!(long.contains(&format!("withheld {}/app:pr-1 -> {name} (", source.host())), "{long}");
    // A run only counts them.
    let ran = beside.json(&["run", "apps"], 0).await;
    assert_eq!(ran["sync"][0]["counts"]["withheld"], 1, "{ran:#}");
    assert_eq!(ran["sync"][0]["images"], json!([]), "{ran:#}");

    let home = beside.without().await;
    let here = command(&home, &["sync", "--dry-run", "--output", "json"]).finish().await;
    check(&serde_json::from_str(&here.stdout).unwrap(), "rules");
    let here = command(&home, &["plan", "apps", "-v"]).finish().await;
    assert!(here.stdout.contains(&name), "{here:?}");
}
