//! One run after another: what is asked again, what the state is worth, and what is said.

use std::time::Duration;

use crate::mirror_setup::{Counts, Mirror, Report};
use crate::support::{
    DockerRegistry, Family, Image, Kind, LayoutRegistry, Place, assert_same, eventually,
};

async fn two() -> (DockerRegistry, DockerRegistry) {
    tokio::join!(DockerRegistry::start(), DockerRegistry::start())
}

fn mirror(source: &impl Place, target: &impl Place, more: &str) -> Mirror {
    Mirror::new().http(source).http(target).rule(
        "r",
        &format!("source = \"{}/app\"\ntarget = \"{}/app\"\n{more}", source.host(), target.host()),
    )
}

async fn push_tags(source: &impl Place, count: usize) {
    for at in 0..count {
        let image = Image::single(Family::Oci, &format!("app{at}"), &[200]);
        image.push(source, "app", &format!("v{at}")).await;
    }
}

#[tokio::test]
async fn a_second_run_asks_for_each_tag_once_and_the_target_for_its_list() {
    let (source, target) = two().await;
    push_tags(&source, 5).await;
    let mirror = mirror(&source, &target, "");
    mirror.sync().await.assert_copied(5, 0);
    let (at_source, at_target) = (source.mark().await, target.mark().await);
    mirror.sync().await.assert_copied(0, 5);
    let asked = source.requests_since(at_source).await;
    assert_eq!(asked.count("HEAD", Kind::Manifest), 5, "{asked}");
    assert_eq!(asked.count("GET", Kind::Tags), 1, "{asked}");
    // Whether there is a referrers API is found out once; here there is none.
    assert_eq!(asked.count_status("GET", Kind::Referrers, 404), 1, "{asked}");
    assert_eq!(asked.len(), 7, "{asked}");
    let asked = target.requests_since(at_target).await;
    assert_eq!(asked.count("GET", Kind::Tags), 1, "{asked}");
    assert_eq!(asked.len(), 1, "{asked}");
}

#[tokio::test]
async fn few_tags_are_looked_up_at_the_target_one_by_one() {
    let (source, target) = two().await;
    push_tags(&source, 2).await;
    let lines = "referrers = false\ntags = { include = [\"v0\", \"v1\"] }";
    let mirror = mirror(&source, &target, lines);
    mirror.sync().await.assert_copied(2, 0);
    let at_target = target.mark().await;
    let report = mirror.sync().await;
    report.assert_copied(0, 2);
    assert_eq!(report.0["rules"][0]["vouched"], serde_json::json!({ "images": 0 }));
    let asked = target.requests_since(at_target).await;
    assert_eq!((asked.count("HEAD", Kind::Manifest), asked.len()), (2, 2), "{asked}");
}

#[tokio::test]
async fn what_somebody_deleted_at_the_target_is_copied_again() {
    let source = DockerRegistry::start().await;
    let target = LayoutRegistry::start().await;
    push_tags(&source, 5).await;
    let mirror = mirror(&source, &target, "immutable = [\"v4\"]");
    mirror.sync().await.assert_copied(5, 0);
    for tag in ["v1", "v4"] {
        let path = format!("/v2/app/manifests/{tag}");
        let request = target.endpoint().request(reqwest::Method::DELETE, "app", &path);
        assert_eq!(request.send().await.unwrap().status(), 202);
    }
    mirror.sync().await.assert_copied(2, 3);
    assert_same(&source, &target, "app", "v1").await;
    assert_same(&source, &target, "app", "v4").await;
    mirror.sync().await.assert_copied(0, 5);
}

/// A tag that somebody has moved is still in the list: only `recheck` finds that out.
#[tokio::test]
async fn the_report_says_what_was_not_looked_at_and_recheck_looks() {
    let (source, target) = two().await;
    push_tags(&source, 5).await;
    let mirror = mirror(&source, &target, "immutable = [\"v4\"]");
    mirror.sync().await.assert_copied(5, 0);
    for tag in ["v3", "v4"] {
        Image::single(Family::Oci, "theirs", &[200]).push(&target, "app", tag).await;
    }
    let report = mirror.sync().await;
    report.assert_copied(0, 5);
    let vouched = &report.0["rules"][0]["vouched"];
    assert_eq!(vouched["images"], 5);
    let since = vouched["since"].as_str().unwrap();
    let text = mirror.run(&[]).await;
    let minute = since[..16].replace('T', " ");
    let line = format!("r: 0 copied, 5 unchanged (vouched for by the state since {minute} UTC);");
    assert!(text.stdout.contains(&line), "{line}\n{text:?}");
    let report = mirror.report(&["--recheck"], 0).await;
    report.assert_copied(2, 3);
    assert_eq!(report.0["rules"][0]["vouched"], serde_json::json!({ "images": 0 }));
    assert_same(&source, &target, "app", "v4").await;
}

#[tokio::test]
async fn a_target_that_cannot_be_reached_is_noticed_although_nothing_has_changed() {
    let (source, target) = two().await;
    push_tags(&source, 5).await;
    let mirror = mirror(&source, &target, "");
    mirror.sync().await.assert_copied(5, 0);
    let https = mirror.settings(target.host(), "");
    let report = https.fail().await;
    assert_eq!(report.counts().failed, 5, "{report:?}");
}

#[tokio::test]
async fn rechecking_asks_the_target_too_and_immutable_tags_are_not_asked_about() {
    let (source, target) = two().await;
    push_tags(&source, 2).await;
    let lines = "recheck = \"0s\"\nreferrers = false\nimmutable = [\"v1\"]\ntags = { include = [\"v0\", \"v1\"] }";
    let mirror = mirror(&source, &target, lines);
    mirror.sync().await.assert_copied(2, 0);
    let (at_source, at_target) = (source.mark().await, target.mark().await);
    mirror.sync().await.assert_copied(0, 2);
    for asked in [source.requests_since(at_source).await, target.requests_since(at_target).await] {
        assert_eq!(asked.count("HEAD", Kind::Manifest), 1, "{asked}");
        assert_eq!(asked.len(), 1, "{asked}");
    }
}

#[tokio::test]
async fn a_lost_state_is_rebuilt_without_copying_again() {
    let (source, target) = two().await;
    push_tags(&source, 5).await;
    let mirror = mirror(&source, &target, "");
    mirror.sync().await.assert_copied(5, 0);
    std::fs::remove_dir_all(mirror.state()).unwrap();
    let at_target = target.mark().await;
    mirror.sync().await.assert_copied(0, 5);
    let asked = target.requests_since(at_target).await;
    assert_eq!(asked.writes(), 0, "{asked}");
    // And it is worth something again.
    let at_target = target.mark().await;
    mirror.sync().await.assert_copied(0, 5);
    assert_eq!(target.requests_since(at_target).await.len(), 1);
}

#[tokio::test]
async fn a_damaged_state_is_set_aside_and_rebuilt() {
    let (source, target) = two().await;
    push_tags(&source, 2).await;
    let mirror = mirror(&source, &target, "");
    mirror.sync().await.assert_copied(2, 0);
    let database = mirror.state().join("index.sled");
    for entry in std::fs::read_dir(&database).unwrap() {
        let file = entry.unwrap().path();
        if file.is_file() {
            let length = std::fs::metadata(&file).unwrap().len().min(1 << 20) as usize;
            std::fs::write(&file, "garbage ".repeat(length / 8 + 1)).unwrap();
        }
    }
    let finished = mirror.run(&["--output", "json"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    Report::of(&finished).assert_copied(0, 2);
    assert!(finished.stderr.contains("starts anew"), "{finished:?}");
    assert!(mirror.state().join("index.sled.damaged-1").exists());
    // A file in its place is set aside as well.
    std::fs::remove_dir_all(&database).unwrap();
    std::fs::write(&database, "garbage").unwrap();
    mirror.sync().await.assert_copied(0, 2);
    mirror.sync().await.assert_copied(0, 2);
}

#[tokio::test]
async fn a_second_process_with_the_same_state_is_told_so() {
    let source = crate::support::Scripted::start();
    let target = DockerRegistry::start().await;
    Image::single(Family::Oci, "app", &[200]).load(&source, "app", "v1");
    source.on("GET", Kind::Blob).fail(crate::support::Fault::Hang);
    let mirror = mirror(&source, &target, "");
    mirror.configure();
    let first = mirror.tranship.start(["sync"]);
    eventually("the first process at work", Duration::from_secs(20), || async {
        (source.traffic().count("GET", Kind::Blob) > 0).then_some(())
    })
    .await;
    let second = mirror.run(&[]).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("in use by another tranship process"), "{second:?}");
    assert_eq!(second.stdout, "");
    source.clear_rules();
    source.release();
    let first = first.finish().await;
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_same(&source, &target, "app", "v1").await;
}

#[tokio::test]
async fn a_dry_run_only_reads_and_says_what_it_would_do() {
    let (source, target) = two().await;
    push_tags(&source, 2).await;
    let theirs = Image::single(Family::Oci, "theirs", &[200]);
    theirs.push(&target, "app", "v1").await;
    let mirror = mirror(&source, &target, "");
    let (at_source, at_target) = (source.mark().await, target.mark().await);
    let report = mirror.report(&["--dry-run"], 0).await;
    assert_eq!(report.counts(), Counts { copied: 2, ..Counts::default() });
    assert_eq!(report.0["rules"][0]["dry_run"], true);
    for (tag, reason) in [(":v0", "the target lacks it"), (":v1", "the target differs")] {
        let image = report.image(tag);
        assert_eq!((&image["action"], &image["reason"]), (&"would_copy".into(), &reason.into()));
    }
    let text = mirror.run(&["--dry-run"]).await;
    assert!(text.stdout.contains("would copy"), "{text:?}");
    assert!(text.stdout.contains("r: 2 to copy, 0 unchanged"), "{text:?}");
    for asked in [source.requests_since(at_source).await, target.requests_since(at_target).await] {
        assert_eq!(asked.writes(), 0, "{asked}");
        assert_eq!(asked.count("GET", Kind::Blob), 0, "{asked}");
    }
    assert_eq!(target.endpoint().digest("app", "v1").await, Some(theirs.digest));
    // It has not made the real run believe anything.
    mirror.sync().await.assert_copied(2, 0);
    assert_same(&source, &target, "app", "v1").await;
}

#[tokio::test]
async fn tags_changed_by_others_are_overwritten_kept_or_refused() {
    let (source, target) = two().await;
    let rule = |more: &str| {
        format!(
            "source = \"{}/app\"\ntarget = \"{}/app\"\nrecheck = \"0s\"\n{more}",
            source.host(),
            target.host()
        )
    };
    push_tags(&source, 1).await;
    let mut mirror = Mirror::new().http(&source).http(&target).rule("r", &rule(""));
    mirror.sync().await.assert_copied(1, 0);
    let ours = target.endpoint().digest("app", "v0").await.unwrap();
    let theirs = Image::single(Family::Docker, "theirs", &[300]);
    theirs.push(&target, "app", "v0").await;

    mirror.set_rule("r", &rule("on_conflict = \"fail\""));
    let report = mirror.fail().await;
    assert_eq!(report.counts(), Counts { failed: 1, ..Counts::default() });
    let words = report.words();
    assert!(words.contains("changed by someone else"), "{words}");
    assert!(words.contains(&theirs.digest) && words.contains(&ours), "{words}");

    mirror.set_rule("r", &rule("on_conflict = \"keep\""));
    let report = mirror.sync().await;
    assert_eq!(report.counts(), Counts { kept: 1, ..Counts::default() });
    assert_eq!(report.image(":v0")["action"], "kept");
    assert_eq!(target.endpoint().digest("app", "v0").await, Some(theirs.digest));

    // The source moves on; what others did still stands.
    Image::single(Family::Oci, "moved", &[250]).push(&source, "app", "v0").await;
    let report = mirror.sync().await;
    assert_eq!(report.counts(), Counts { kept: 1, ..Counts::default() });

    mirror.set_rule("r", &rule("on_conflict = \"overwrite\""));
    mirror.sync().await.assert_copied(1, 0);
    assert_same(&source, &target, "app", "v0").await;

    // What we put there ourselves is nobody else's, whatever the rule says of conflicts.
    mirror.set_rule("r", &rule("on_conflict = \"fail\""));
    Image::single(Family::Oci, "again", &[260]).push(&source, "app", "v0").await;
    mirror.sync().await.assert_copied(1, 0);
    assert_same(&source, &target, "app", "v0").await;
}

#[tokio::test]
async fn a_moved_tag_brings_only_what_is_new() {
    let (source, target) = tokio::join!(DockerRegistry::start(), LayoutRegistry::start());
    let base = crate::support::Blob::noise("application/vnd.oci.image.layer.v1.tar", "base", 9_000);
    let config = |name: &str| {
        let text = format!("{{\"name\":\"{name}\"}}");
        crate::support::Blob::new("application/vnd.oci.image.config.v1+json", text)
    };
    let one = Image::of_blobs(Family::Oci, config("one"), vec![base.clone()]);
    one.push(&source, "app", "v1").await;
    let mirror = mirror(&source, &target, "");
    mirror.sync().await.assert_copied(1, 0);
    Image::of_blobs(Family::Oci, config("two"), vec![base]).push(&source, "app", "v1").await;
    let at_target = target.mark();
    let report = mirror.sync().await;
    report.assert_copied(1, 0);
    assert_eq!(report.image(":v1")["reason"], "the source has moved");
    let asked = target.requests_since(at_target);
    assert_eq!(asked.count_status("PUT", Kind::Upload, 201), 1, "{asked}");
    assert_same(&source, &target, "app", "v1").await;
}

#[tokio::test]
async fn only_the_rules_that_are_named_run() {
    let (source, target) = two().await;
    push_tags(&source, 1).await;
    let rule = |to: &str| {
        format!("source = \"{}/app\"\ntarget = \"{}/{to}\"", source.host(), target.host())
    };
    let mirror = Mirror::new()
        .http(&source)
        .http(&target)
        .rule("one", &rule("one"))
        .rule("two", &rule("two"))
        .rule("three", &rule("three"));
    let report = mirror.report(&["--rule", "three", "--rule", "one"], 0).await;
    let names: Vec<_> = report.rules().map(|rule| rule["rule"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "three"]);
    assert!(target.endpoint().tags("two").await.is_empty());
    let mark = source.mark().await;
    let unknown = mirror.run(&["--rule", "one", "--rule", "four"]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("there is no [[sync]] rule `four`"), "{unknown:?}");
    assert!(unknown.stderr.contains("one, two, three"), "{unknown:?}");
    assert!(source.requests_since(mark).await.is_empty());
}

#[tokio::test]
async fn without_a_usable_configuration_nothing_is_asked() {
    let (source, target) = two().await;
    push_tags(&source, 1).await;
    let mirror = mirror(&source, &target, "");
    let mark = source.mark().await;
    let run = |arguments: Vec<&'static str>| {
        let tranship = &mirror.tranship;
        async move { tranship.run(arguments).await }
    };
    let missing = run(vec!["sync"]).await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("there is no tranship.toml here"), "{missing:?}");
    let named = run(vec!["sync", "--config", "other.toml"]).await;
    assert_eq!(named.code, Some(2), "{named:?}");
    assert!(named.stderr.contains("other.toml"), "{named:?}");

    mirror.tranship.write("tranship.toml", "[daemon]\nstate = \"state\"\n");
    let empty = run(vec!["sync"]).await;
    assert_eq!(empty.code, Some(2), "{empty:?}");
    assert!(empty.stderr.contains("no [[sync]] rule"), "{empty:?}");

    let good = std::fs::read_to_string(mirror.configure()).unwrap();
    mirror.tranship.write("tranship.toml", format!("{good}on_conflct = \"keep\"\n"));
    let mistaken = run(vec!["sync"]).await;
    assert_eq!(mistaken.code, Some(2), "{mistaken:?}");
    let line = good.lines().count() + 1;
    let place = format!("tranship.toml:{line}:1");
    assert!(mistaken.stderr.contains(&place), "{place}: {mistaken:?}");
    assert!(mistaken.stderr.contains("on_conflict"), "{mistaken:?}");
    assert!(source.requests_since(mark).await.is_empty());
    assert!(!mirror.state().exists());
}
